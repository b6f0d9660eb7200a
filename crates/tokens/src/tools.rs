//! Tokens of the definitions of tools.

use serde_json::{Map, Value};

use crate::chat::{Function, Tool};
use crate::limits::{Error, MAX_DEPTH};
use crate::model::{Maker, Model};
use crate::total::{Rule, Tally};

/// Tokens of tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Of their text.
    pub(crate) text: u64,
    /// Of what is around it.
    pub(crate) fixed: u64,
}

/// The tools of a call, once as JSON and once as OpenAI's rule takes them apart.
pub(crate) struct Written {
    json: Vec<String>,
    rows: Rows,
}

/// Function definitions by OpenAI's rule.
#[derive(Default)]
struct Rows {
    lines: Vec<String>,
    functions: i64,
    /// What properties and enumerations add.
    extra: i64,
    nested: bool,
}

/// Writes tools down.
///
/// # Errors
///
/// [`Error::TooDeep`].
pub(crate) fn check_and_write(tools: &[Tool]) -> Result<Written, Error> {
    let mut written = Written { json: Vec::with_capacity(tools.len()), rows: Rows::default() };
    for Tool { function } in tools {
        if function.parameters.as_ref().is_some_and(|schema| !shallow(schema, MAX_DEPTH)) {
            return Err(Error::TooDeep { tool: function.name.clone() });
        }
        written.json.push(json(function));
        written.rows.add(function);
    }
    Ok(written)
}

fn shallow(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return false };
    match value {
        Value::Array(items) => items.iter().all(|item| shallow(item, below)),
        Value::Object(fields) => fields.values().all(|field| shallow(field, below)),
        _ => true,
    }
}

/// The definition as the APIs take it, without blanks.
fn json(function: &Function) -> String {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), function.name.clone().into());
    if let Some(description) = &function.description {
        fields.insert("description".to_owned(), description.clone().into());
    }
    if let Some(parameters) = &function.parameters {
        fields.insert("parameters".to_owned(), parameters.clone());
    }
    Value::Object(fields).to_string()
}

impl Written {
    /// The texts whose bytes are limited.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.json.iter().map(String::as_str)
    }

    /// Their tokens; none without tools. `forced`: the model must call one.
    pub(crate) fn count(&self, model: &Model, forced: bool) -> Option<(Counted, Rule)> {
        if self.json.is_empty() {
            return None;
        }
        let mut text = Tally::new(model.tokenizer());
        Some(match model.maker() {
            Maker::OpenAi => {
                self.rows.lines.iter().for_each(|line| text.add(line));
                let (each, checked) = openai(model.name());
                let fixed = self.rows.functions * each + self.rows.extra + 12;
                let rule = if checked && !self.rows.nested { Rule::Documented } else { Rule::Assumed };
                (Counted { text: text.tokens(), fixed: u64::try_from(fixed).unwrap_or(0) }, rule)
            }
            // Elsewhere definitions are put into the prompt as JSON, or something as long.
            maker => {
                self.json.iter().for_each(|definition| text.add(definition));
                let fixed = if maker == Maker::Anthropic { anthropic(model.name(), forced) } else { 0 };
                (Counted { text: text.tokens(), fixed }, Rule::Assumed)
            }
        })
    }
}

/// OpenAI's cookbook, "How to count tokens with tiktoken", section 7: for each function so many; for its properties three and
/// three each; for an enumeration three less, and three for each of its items; at the end twelve. Given there for these
/// families.
fn openai(name: &str) -> (i64, bool) {
    if name.starts_with("gpt-4o") {
        (7, true)
    } else if name.starts_with("gpt-3.5")
        || name.starts_with("gpt-35")
        || name == "gpt-4"
        || name.starts_with("gpt-4-")
    {
        (10, true)
    } else {
        (7, false)
    }
}

impl Rows {
    fn add(&mut self, function: &Function) {
        self.functions += 1;
        let description = function.description.as_deref().unwrap_or_default();
        self.lines.push(format!("{}:{}", function.name, without_stop(description)));
        let properties = function.parameters.as_ref().and_then(|schema| schema.get("properties"));
        self.properties(properties);
    }

    /// The cookbook's rule is for flat schemas; what is nested is counted by the same rule again.
    fn properties(&mut self, properties: Option<&Value>) {
        let Some(properties) = properties.and_then(Value::as_object).filter(|fields| !fields.is_empty())
        else {
            return;
        };
        self.extra += 3;
        for (name, schema) in properties {
            self.extra += 3;
            let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
            if let Some(items) = schema.get("enum").and_then(Value::as_array) {
                self.extra -= 3;
                for item in items {
                    self.extra += 3;
                    self.lines.push(item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                }
            }
            self.lines.push(format!("{name}:{}:{}", text("type"), without_stop(text("description"))));
            let below =
                [schema.get("properties"), schema.get("items").and_then(|items| items.get("properties"))];
            for inner in below.into_iter().flatten() {
                self.nested = true;
                self.properties(Some(inner));
            }
            self.nested |= ["anyOf", "oneOf", "allOf", "$ref"].iter().any(|key| schema.get(key).is_some());
        }
    }
}

fn without_stop(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}

/// Anthropic, "Tool use with Claude", pricing: the prompt that is added if there are tools, when the model may call one
/// (`auto`) and when it must (`any`, `tool`). The newest stored table; an older one gave 346 and 313 for Claude 3.5 to 4.5.
/// Models that it does not name are taken as the newest.
fn anthropic(name: &str, forced: bool) -> u64 {
    const PROMPTS: [(&[&str], u64, u64); 12] = [
        (&["opus-4-8", "opus-4.8"], 290, 410),
        (&["opus-4-7", "opus-4.7"], 675, 804),
        (&["opus-4-6", "opus-4.6", "sonnet-4-6", "sonnet-4.6"], 497, 589),
        (&["opus-4-5", "opus-4.5", "sonnet-4-5", "sonnet-4.5", "haiku-4-5", "haiku-4.5"], 496, 588),
        (&["opus-4", "sonnet-4"], 313, 315),
        (&["sonnet-5"], 354, 474),
        (&["3-5-haiku", "3.5-haiku"], 264, 355),
        (&["3-haiku"], 264, 340),
        (&["3-5-sonnet-20240620"], 294, 261),
        (&["3-opus"], 530, 281),
        (&["3-sonnet"], 159, 235),
        (&["3-7-sonnet", "3.7-sonnet", "3-5-sonnet", "3.5-sonnet"], 346, 313),
    ];
    let known = PROMPTS.iter().find(|(names, ..)| names.iter().any(|known| name.contains(known)));
    let (_, auto, any) = known.copied().unwrap_or((&[], 354, 474));
    if forced { any } else { auto }
}
