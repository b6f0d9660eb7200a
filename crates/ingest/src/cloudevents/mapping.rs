//! Pure: the rules by which a CloudEvent is read as usage.

use std::collections::BTreeMap;

use serde_json::Value;

use super::CloudEvent;
use super::fields::{ALIASES, FIELDS, is_field};
use crate::{Reason, Rejection};

/// A rule as it is configured. A path is the name of an attribute or extension (`subject`), or `data` and names inside it
/// (`data.usage.total`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Whether the rule is for an event: every path must hold one of its values; a value that ends in `*` stands for all
    /// that begin so. Empty: for all events.
    pub when: BTreeMap<String, Vec<String>>,
    /// Fields of the usage event, with `tags.NAME` and `units.NAME`, and where they come from: the first path that holds
    /// something.
    pub fields: BTreeMap<String, Vec<String>>,
    /// What a field is where none of its paths holds anything.
    pub defaults: BTreeMap<String, String>,
}

/// What is wrong with a configured rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rules[{rule}].{key}: {problem}")]
pub struct MappingProblem {
    /// Which rule, from 0.
    pub rule: usize,
    /// Its key.
    pub key: String,
    /// What is wrong, and how to mend it.
    pub problem: String,
}

/// Rules in force: the first that is for an event reads it.
#[derive(Debug, Clone)]
pub struct Mapping {
    rules: Vec<CompiledRule>,
}

#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    when: Vec<(Path, Vec<String>)>,
    pub(super) fields: BTreeMap<String, Vec<Path>>,
    pub(super) defaults: BTreeMap<String, String>,
}

/// Where something lies in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    /// Inside the data; none for an attribute.
    inside: Option<Vec<String>>,
}

impl Mapping {
    /// Configured rules come first; what none of them is for is read by the rules that are built in.
    ///
    /// # Errors
    /// Everything that is wrong with the rules.
    pub fn new(rules: &[Rule]) -> Result<Self, Vec<MappingProblem>> {
        let mut problems = Vec::new();
        let mut compiled = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match CompiledRule::new(rule, true) {
                Ok(rule) => compiled.push(rule),
                Err(found) => problems.extend(found.into_iter().map(|(key, problem)| MappingProblem {
                    rule: index,
                    key,
                    problem,
                })),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        compiled.extend(built_in().iter().filter_map(|rule| CompiledRule::new(rule, false).ok()));
        Ok(Self { rules: compiled })
    }

    pub(super) fn rule(&self, event: &CloudEvent) -> Result<&CompiledRule, Rejection> {
        self.rules
            .iter()
            .find(|rule| rule.is_for(event))
            .ok_or_else(|| Rejection::new(Reason::Invalid, "no rule is for this type of event").at("type"))
    }
}

/// One event per kind of token, as OpenMeter counts them (`type` says which, `tokens` how many), or all counts in one event
/// under the names of OpenTelemetry or of the providers' APIs. The subject is the org.
fn built_in() -> [Rule; 3] {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let common = |without: &[&str]| {
        let fields = FIELDS.iter().filter(|(field, _)| !without.contains(field)).map(|(field, _)| {
            let aliases = ALIASES.iter().filter(|(of, _)| of == field).map(|(_, path)| (*path).to_owned());
            ((*field).to_owned(), std::iter::once(format!("data.{field}")).chain(aliases).collect())
        });
        let mut fields: BTreeMap<String, Vec<String>> = fields.collect();
        fields.insert("org_id".to_owned(), paths(&["subject"]));
        fields
    };
    let split = |kinds: &[&str], counts: &str, other: &str| {
        let mut fields = common(&[other]);
        fields.insert(counts.to_owned(), paths(&["data.tokens"]));
        let when = BTreeMap::from([
            ("data.type".to_owned(), paths(kinds)),
            ("data.tokens".to_owned(), paths(&["*"])),
        ]);
        Rule { when, fields, defaults: BTreeMap::new() }
    };
    [
        split(&["input", "prompt", "system"], "input_tokens", "output_tokens"),
        split(&["output", "completion"], "output_tokens", "input_tokens"),
        Rule { fields: common(&[]), ..Rule::default() },
    ]
}

impl CompiledRule {
    /// A rule that could never make an event is refused where it is `complete`, that is, all there is for its events.
    fn new(rule: &Rule, complete: bool) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let mut when = Vec::new();
        for (path, values) in &rule.when {
            match Path::parse(path) {
                Ok(_) if values.is_empty() => {
                    problems.push((format!("when.{path}"), "names no value; write at least one".to_owned()));
                }
                Ok(path) => when.push((path, values.clone())),
                Err(problem) => problems.push((format!("when.{path}"), problem)),
            }
        }
        let mut fields = BTreeMap::new();
        for (field, paths) in &rule.fields {
            let key = format!("fields.{field}");
            if !is_field(field) {
                problems.push((key, unknown_field(field)));
                continue;
            }
            if paths.is_empty() {
                problems.push((key.clone(), "names no path; write at least one".to_owned()));
            }
            match paths.iter().map(|path| Path::parse(path)).collect() {
                Ok(paths) => _ = fields.insert(field.clone(), paths),
                Err(problem) => problems.push((key, problem)),
            }
        }
        for (field, value) in &rule.defaults {
            let key = format!("defaults.{field}");
            if !is_field(field) {
                problems.push((key, unknown_field(field)));
            } else if let Err(problem) = super::fields::check_default(field, value) {
                problems.push((key, problem));
            }
        }
        for needed in ["provider", "request_model"] {
            if complete && !rule.fields.contains_key(needed) && !rule.defaults.contains_key(needed) {
                problems.push((
                    "fields".to_owned(),
                    format!("{needed} is missing, and every usage event has one; say where it comes from, or set defaults.{needed}"),
                ));
            }
        }
        if problems.is_empty() {
            Ok(Self { when, fields, defaults: rule.defaults.clone() })
        } else {
            Err(problems)
        }
    }

    fn is_for(&self, event: &CloudEvent) -> bool {
        self.when.iter().all(|(path, values)| {
            let Some(found) = path.find(event) else { return false };
            let text = match found {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            values.iter().any(|value| match value.strip_suffix('*') {
                Some(prefix) => text.starts_with(prefix),
                None => text == *value,
            })
        })
    }
}

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        let owned = text.to_owned();
        let mut steps = text.split('.');
        let first = steps.next().unwrap_or_default();
        let inside: Vec<String> = steps.map(str::to_owned).collect();
        if first == "data" && inside.iter().all(|step| !step.is_empty()) {
            return Ok(Self { text: owned, inside: Some(inside) });
        }
        let is_attribute =
            !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_attribute && inside.is_empty() {
            return Ok(Self { text: owned, inside: None });
        }
        Err(format!(
            "{text:?} is no path; write an attribute or extension such as subject, or data and names inside it such \
             as data.usage.total"
        ))
    }

    /// What lies there; null and empty texts count as nothing.
    pub(super) fn find<'e>(&self, event: &'e CloudEvent) -> Option<&'e Value> {
        let found = match &self.inside {
            None => event.attributes.get(&self.text),
            Some(steps) => steps.iter().try_fold(&event.data, |value, step| value.as_object()?.get(step)),
        };
        found.filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn unknown_field(field: &str) -> String {
    let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
    format!(
        "{field:?} is no field of a usage event; the fields are {}, tags.NAME and units.NAME",
        names.join(", ")
    )
}
