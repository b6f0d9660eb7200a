//! Pure: values of a CloudEvent as fields of a usage event.

use fluxori_core::id::{EventId, IdError, Label, Model, Module, OrgId, Provider};
use fluxori_core::usage::{MAX_RAW_USAGE_BYTES, MAX_TAGS, UsageEvent, UsageFields};
use serde_json::{Map, Value};

use super::CloudEvent;
use super::mapping::CompiledRule;
use crate::object::Object;
use crate::{Reason, Rejection, RequestContext};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Tokens: what makes an event worth something.
    Tokens,
    Count,
    Flag,
    /// JSON as it is.
    Raw,
}

/// The fields that may be mapped. Identity is not among them: it is the event's `source` and `id`.
pub(super) const FIELDS: [(&str, Kind); 40] = [
    ("occurred_at", Kind::Text),
    ("org_id", Kind::Text),
    ("user_id", Kind::Text),
    ("team_id", Kind::Text),
    ("module", Kind::Text),
    ("feature", Kind::Text),
    ("run_id", Kind::Text),
    ("operation", Kind::Text),
    ("provider", Kind::Text),
    ("provider_account", Kind::Text),
    ("request_model", Kind::Text),
    ("response_model", Kind::Text),
    ("region", Kind::Text),
    ("service_tier", Kind::Text),
    ("measurement", Kind::Text),
    ("certainty", Kind::Text),
    ("outcome", Kind::Text),
    ("reservation_id", Kind::Text),
    ("request_id", Kind::Text),
    ("response_id", Kind::Text),
    ("trace_id", Kind::Text),
    ("batch", Kind::Flag),
    ("own_key", Kind::Flag),
    ("served_from_cache", Kind::Flag),
    ("reservation_final", Kind::Flag),
    ("input_tokens", Kind::Tokens),
    ("cache_read_input_tokens", Kind::Tokens),
    ("cache_write_5m_input_tokens", Kind::Tokens),
    ("cache_write_1h_input_tokens", Kind::Tokens),
    ("audio_input_tokens", Kind::Tokens),
    ("image_input_tokens", Kind::Tokens),
    ("cache_read_audio_input_tokens", Kind::Tokens),
    ("cache_read_image_input_tokens", Kind::Tokens),
    ("output_tokens", Kind::Tokens),
    ("reasoning_output_tokens", Kind::Tokens),
    ("audio_output_tokens", Kind::Tokens),
    ("image_output_tokens", Kind::Tokens),
    ("latency_ms", Kind::Count),
    ("time_to_first_token_ms", Kind::Count),
    ("raw_usage", Kind::Raw),
];

/// Other names under which the built-in rules look for a field.
pub(super) const ALIASES: [(&str, &str); 12] = [
    ("occurred_at", "time"),
    ("request_model", "data.model"),
    ("input_tokens", "data.prompt_tokens"),
    ("input_tokens", "data.inputTokens"),
    ("input_tokens", "data.promptTokens"),
    ("output_tokens", "data.completion_tokens"),
    ("output_tokens", "data.outputTokens"),
    ("output_tokens", "data.completionTokens"),
    ("cache_read_input_tokens", "data.cached_input_tokens"),
    ("cache_read_input_tokens", "data.cachedInputTokens"),
    ("reasoning_output_tokens", "data.reasoning_tokens"),
    ("reasoning_output_tokens", "data.reasoningTokens"),
];

pub(super) fn is_field(name: &str) -> bool {
    let named = ["tags.", "units."].iter().find_map(|prefix| name.strip_prefix(prefix));
    named.is_some_and(|name| !name.is_empty()) || kind(name).is_some()
}

fn kind(name: &str) -> Option<Kind> {
    FIELDS.iter().find(|(field, _)| *field == name).map(|(_, kind)| *kind)
}

/// What is wrong with a configured default, if anything is.
pub(super) fn check_default(field: &str, value: &str) -> Result<(), String> {
    let mut found = Found::default();
    found.put(field, &Value::String(value.to_owned()))?;
    let mut object = found.into_object();
    // The rest of a usage event is of no account here, so that only this field can be wrong.
    for (name, value) in [
        ("event_id", "00000000-0000-7000-8000-000000000000"),
        ("occurred_at", "2026-01-01T00:00:00Z"),
        ("org_id", "x"),
        ("module", "x"),
        ("provider", "x"),
        ("request_model", "x"),
    ] {
        object.entry(name).or_insert_with(|| Value::String(value.to_owned()));
    }
    serde_json::from_value::<UsageFields>(Value::Object(object)).map(drop).map_err(|error| error.to_string())
}

impl CompiledRule {
    /// The usage that the event says.
    pub(super) fn read(
        &self,
        event: &CloudEvent,
        context: &RequestContext<'_>,
    ) -> Result<UsageEvent, Rejection> {
        let found = self.find(event)?;
        let text = |field: &str| found.fields.get(field).and_then(Value::as_str);
        let org = match (text("org_id"), context.org) {
            (Some(org), _) => OrgId::new(org).map_err(|error| self.wrong(event, "org_id", &error))?,
            (None, Some(org)) => org.clone(),
            (None, None) => return Err(self.nobody("org_id", "orgs")),
        };
        let module = match (text("module"), context.module) {
            (Some(module), _) => Module::new(module).map_err(|error| self.wrong(event, "module", &error))?,
            (None, Some(module)) => module.clone(),
            (None, None) => return Err(self.nobody("module", "modules")),
        };
        let needed = |field: &str| text(field).ok_or_else(|| self.missing(field));
        let provider = needed("provider")?;
        let provider = Provider::new(provider).map_err(|error| self.wrong(event, "provider", &error))?;
        let model = needed("request_model")?;
        let model = Model::new(model).map_err(|error| self.wrong(event, "request_model", &error))?;
        let refused = |error: IdError| Rejection::new(Reason::Invalid, error.to_string()).at("source");
        let source = Label::new(event.required("source")?).map_err(refused)?;
        let event_id = EventId::from_foreign(&org, &source, event.required("id")?);
        let mut object = found.into_object();
        let occurred_at = match object.remove("occurred_at") {
            Some(Value::String(text)) => text
                .parse()
                .map_err(|_| self.wrong(event, "occurred_at", &"is no time such as 2026-01-31T12:00:00Z"))?,
            _ => context.now,
        };
        self.check_quantities(&object)?;
        let fields =
            UsageFields { source, ..UsageFields::new(event_id, occurred_at, org, module, provider, model) };
        self.complete(event, fields, object)
    }

    /// Puts the optional fields in, all at once; if that fails, one by one, to name the one that is wrong.
    fn complete(
        &self,
        event: &CloudEvent,
        fields: UsageFields,
        mut object: Map<String, Value>,
    ) -> Result<UsageEvent, Rejection> {
        for settled in ["org_id", "module", "provider", "request_model"] {
            object.remove(settled);
        }
        let internal = |error: serde_json::Error| Rejection::new(Reason::Invalid, error.to_string());
        let Value::Object(base) = serde_json::to_value(&fields).map_err(internal)? else {
            return Err(Rejection::new(Reason::Invalid, "the event cannot be built"));
        };
        let with = |more: &mut dyn Iterator<Item = (String, Value)>| {
            let mut all = base.clone();
            all.extend(more);
            serde_json::from_value::<UsageFields>(Value::Object(all))
        };
        let fields = with(&mut object.clone().into_iter()).map_err(|error| {
            for (name, value) in &object {
                if let Err(error) = with(&mut std::iter::once((name.clone(), value.clone()))) {
                    return self.wrong(event, name, &error);
                }
            }
            internal(error)
        })?;
        UsageEvent::new(fields).map_err(|violation| {
            let rejection = Rejection::of_violation(&violation);
            let field = rejection.field.as_deref().map(|field| self.path(event, field));
            Rejection { field, ..rejection }
        })
    }

    /// What the event holds of the fields.
    fn find(&self, event: &CloudEvent) -> Result<Found, Rejection> {
        let mut found = Found::default();
        for (field, paths) in &self.fields {
            let Some((path, value)) = paths.iter().find_map(|path| Some((path, path.find(event)?))) else {
                continue;
            };
            found.put(field, value).map_err(|problem| {
                let detail = format!("{} {problem}", path.text());
                Rejection::new(Reason::Invalid, detail).at(path.text())
            })?;
        }
        for (field, value) in &self.defaults {
            if !found.holds(field) {
                let problem =
                    |problem| Rejection::new(Reason::Invalid, format!("{field} {problem}")).at(field);
                found.put(field, &Value::String(value.clone())).map_err(problem)?;
            }
        }
        Ok(found)
    }

    /// An event that says nothing of how much was used would pass for one that used nothing.
    fn check_quantities(&self, object: &Map<String, Value>) -> Result<(), Rejection> {
        let is_quantity = |name: &str| name == "units" || kind(name) == Some(Kind::Tokens);
        if object.keys().any(|name| is_quantity(name)) {
            return Ok(());
        }
        let wanted: Vec<&str> = ["input_tokens", "output_tokens"]
            .iter()
            .filter_map(|field| self.fields.get(*field)?.first().map(super::mapping::Path::text))
            .collect();
        let detail = format!("it says no quantity: neither {} nor any other is there", wanted.join(" nor "));
        let rejection = Rejection::new(Reason::Invalid, detail);
        Err(match wanted.first() {
            Some(path) => rejection.at(*path),
            None => rejection,
        })
    }

    /// Where a field was found, or else would be looked for first.
    fn path(&self, event: &CloudEvent, field: &str) -> String {
        let paths = self.fields.get(field).map(Vec::as_slice).unwrap_or_default();
        let found = paths.iter().find(|path| path.find(event).is_some()).or(paths.first());
        found.map_or_else(|| field.to_owned(), |path| path.text().to_owned())
    }

    fn wrong(&self, event: &CloudEvent, field: &str, problem: &dyn std::fmt::Display) -> Rejection {
        let path = self.path(event, field);
        Rejection::new(Reason::Invalid, format!("{path}: {problem}")).at(path)
    }

    fn looked_for(&self, field: &str) -> Option<String> {
        let paths: Vec<_> = self.fields.get(field)?.iter().map(super::mapping::Path::text).collect();
        Some(paths.join(" or "))
    }

    fn missing(&self, field: &str) -> Rejection {
        let places = self.looked_for(field).unwrap_or_else(|| field.to_owned());
        let first = self.fields.get(field).and_then(|paths| paths.first());
        let detail =
            format!("{field} is missing: send it as {places}, or configure defaults.{field} in a rule");
        Rejection::new(Reason::Invalid, detail).at(first.map_or(field, super::mapping::Path::text))
    }

    fn nobody(&self, field: &str, of_key: &str) -> Rejection {
        let places =
            self.looked_for(field).map(|places| format!("send it as {places}, ")).unwrap_or_default();
        let detail = format!(
            "{field} is missing: {places}configure defaults.{field} in a rule, or use an API key with one of {of_key}"
        );
        let first = self.fields.get(field).and_then(|paths| paths.first());
        Rejection::new(Reason::NoAttribution, detail).at(first.map_or(field, super::mapping::Path::text))
    }
}

/// What was found for an event, in the form of our own JSON.
#[derive(Debug, Default)]
struct Found {
    fields: Map<String, Value>,
    tags: Map<String, Value>,
    units: Map<String, Value>,
}

impl Found {
    fn holds(&self, field: &str) -> bool {
        match field.split_once('.') {
            Some(("tags", name)) => self.tags.contains_key(name),
            Some(("units", name)) => self.units.contains_key(name),
            _ => self.fields.contains_key(field),
        }
    }

    /// Takes a value in the form that the field has.
    fn put(&mut self, field: &str, value: &Value) -> Result<(), String> {
        if let Some(name) = field.strip_prefix("tags.") {
            // More tags than an event holds, or longer ones, must not cost the event: the first in the order of names stay.
            let value = text(value)?;
            if self.tags.len() < MAX_TAGS && name.len() <= 64 && value.len() <= 256 {
                self.tags.insert(name.to_owned(), Value::String(value));
            }
            return Ok(());
        }
        if let Some(name) = field.strip_prefix("units.") {
            self.units.insert(name.to_owned(), Value::String(quantity(value)?));
            return Ok(());
        }
        let value = match kind(field) {
            Some(Kind::Tokens | Kind::Count) => Value::from(count(value)?),
            Some(Kind::Flag) => match value {
                Value::Bool(flag) => Value::Bool(*flag),
                Value::String(text) if text == "true" => Value::Bool(true),
                Value::String(text) if text == "false" => Value::Bool(false),
                _ => return Err("is neither true nor false".to_owned()),
            },
            // Evidence that does not fit is left out: it has no bearing on the price.
            Some(Kind::Raw) => match value.to_string() {
                raw if raw.len() <= MAX_RAW_USAGE_BYTES => Value::String(raw),
                _ => return Ok(()),
            },
            Some(Kind::Text) | None => Value::String(text(value)?),
        };
        self.fields.insert(field.to_owned(), value);
        Ok(())
    }

    fn into_object(self) -> Map<String, Value> {
        let Self { mut fields, tags, units } = self;
        for (name, group) in [("tags", tags), ("units", units)] {
            if !group.is_empty() {
                fields.insert(name.to_owned(), Value::Object(group));
            }
        }
        fields
    }
}

/// A quantity of a unit; as a text it may have any form that a decimal has.
fn quantity(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        other => {
            let quantity = of_object(other, |object| object.quantity("value"))?;
            quantity.map(|quantity| quantity.0.to_string()).ok_or_else(|| "is missing".to_owned())
        }
    }
}

/// A text; numbers and truth values as they are written.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!("is {} where a text should stand", crate::object::kind(other))),
    }
}

/// A count, also where it is written as a text: producers for OpenMeter often do.
fn count(value: &Value) -> Result<i64, String> {
    let number = match value {
        Value::String(text) => {
            let parsed = text.trim().parse::<i64>();
            Value::from(parsed.map_err(|_| format!("is {text:?}, which is no whole number"))?)
        }
        other => other.clone(),
    };
    of_object(&number, |object| object.count("value"))?.ok_or_else(|| "is missing".to_owned())
}

fn of_object<T>(value: &Value, read: impl FnOnce(&Object<'_>) -> Result<T, Rejection>) -> Result<T, String> {
    let map = Map::from_iter([("value".to_owned(), value.clone())]);
    read(&Object::named(&map, "")).map_err(|rejection| {
        let detail = rejection.detail;
        detail.strip_prefix("value ").map_or_else(|| detail.clone(), str::to_owned)
    })
}
