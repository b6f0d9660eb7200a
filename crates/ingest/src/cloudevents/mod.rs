//! Pure: CloudEvents 1.0 in JSON, structured or binary, read into usage by a configured [`Mapping`].
//!
//! An event's identity is what CloudEvents says it is, `source` and `id`, within its org. Its `time` is when the usage
//! occurred; without one it is when the request came, which does not matter to a retry, because the id is a foreign one.

mod fields;
mod mapping;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fluxori_core::record::MAX_RECORD_BYTES;
use fluxori_core::usage::UsageEvent;
use serde_json::{Map, Value};

use crate::{Reason, Rejection, RequestContext, json};

pub use mapping::{Mapping, MappingProblem, Rule};

/// A CloudEvent: its attributes, extensions among them, and its data.
#[derive(Debug, Clone)]
struct CloudEvent {
    attributes: Map<String, Value>,
    data: Value,
}

/// Reads an event in structured mode (`application/cloudevents+json`), or an element of a batch.
///
/// # Errors
/// Every reason there is.
pub fn read(bytes: &[u8], mapping: &Mapping, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    check_size(bytes.len())?;
    let Value::Object(mut attributes) = json::read(bytes)? else {
        return Err(Rejection::new(Reason::NotAnObject, "a CloudEvent is a JSON object"));
    };
    let id = attributes.get("id").and_then(Value::as_str).map(str::to_owned);
    let event = take_data(&mut attributes).map(|data| CloudEvent { attributes, data });
    let event = event.and_then(|event| map(&event, mapping, context));
    event.map_err(|rejection| rejection.of_event(id.as_deref()))
}

/// Reads an event in binary mode: its attributes as the headers `ce-NAME` say them, name and value, and its data as the
/// body of `content_type`.
///
/// # Errors
/// As [`read`].
pub fn read_binary<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    content_type: &str,
    body: &[u8],
    mapping: &Mapping,
    context: &RequestContext<'_>,
) -> Result<UsageEvent, Rejection> {
    check_size(body.len())?;
    let mut attributes = Map::new();
    for (name, value) in headers {
        let value = percent_decoded(value)
            .ok_or_else(|| Rejection::new(Reason::Invalid, format!("ce-{name} is no UTF-8")).at(name))?;
        if attributes.insert(name.to_owned(), Value::String(value)).is_some() {
            return Err(Rejection::new(Reason::Invalid, format!("ce-{name} comes twice")).at(name));
        }
    }
    let id = attributes.get("id").and_then(Value::as_str).map(str::to_owned);
    let data = match body {
        [] => Ok(Value::Null),
        body if is_json(content_type) => json::read(body).map_err(in_data),
        _ => Err(not_json(content_type)),
    };
    let event = data.and_then(|data| map(&CloudEvent { attributes, data }, mapping, context));
    event.map_err(|rejection| rejection.of_event(id.as_deref()))
}

fn map(event: &CloudEvent, mapping: &Mapping, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let version = event.required("specversion")?;
    if version != "1.0" {
        let detail = format!("specversion is {version:?}; version 1.0 of CloudEvents is read here");
        return Err(Rejection::new(Reason::Invalid, detail).at("specversion"));
    }
    event.required("type")?;
    let usage = mapping.rule(event)?.read(event, context)?;
    usage.check_time(context.now).map_err(|violation| {
        let rejection = Rejection::of_violation(&violation);
        Rejection { field: Some("time".to_owned()), ..rejection }
    })?;
    Ok(usage)
}

impl CloudEvent {
    /// An attribute that every event must have.
    fn required(&self, name: &str) -> Result<&str, Rejection> {
        let reason = if matches!(name, "id" | "source") { Reason::NoIdentity } else { Reason::Invalid };
        match self.attributes.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            None | Some(Value::Null | Value::String(_)) => {
                Err(Rejection::new(reason, format!("{name} is missing: every CloudEvent has one")).at(name))
            }
            Some(_) => Err(Rejection::new(reason, format!("{name} is no text")).at(name)),
        }
    }
}

/// Takes the data out of an event in structured mode.
fn take_data(attributes: &mut Map<String, Value>) -> Result<Value, Rejection> {
    let data = attributes.remove("data").unwrap_or_default();
    let content_type = match attributes.get("datacontenttype") {
        Some(Value::String(text)) => text.clone(),
        _ => "application/json".to_owned(),
    };
    match attributes.remove("data_base64") {
        None | Some(Value::Null) => Ok(data),
        Some(_) if !data.is_null() => {
            Err(Rejection::new(Reason::Invalid, "data and data_base64 are both there; send one of them")
                .at("data_base64"))
        }
        Some(_) if !is_json(&content_type) => Err(not_json(&content_type)),
        Some(Value::String(text)) => {
            let bytes = BASE64_STANDARD.decode(text.as_bytes()).map_err(|error| {
                Rejection::new(Reason::Invalid, format!("data_base64 is no base64: {error}"))
                    .at("data_base64")
            })?;
            json::read(&bytes).map_err(in_data)
        }
        Some(_) => Err(Rejection::new(Reason::Invalid, "data_base64 is no text").at("data_base64")),
    }
}

fn in_data(rejection: Rejection) -> Rejection {
    let field = rejection.field.map_or_else(|| "data".to_owned(), |field| format!("data.{field}"));
    Rejection { field: Some(field), detail: format!("data: {}", rejection.detail), ..rejection }
}

fn not_json(content_type: &str) -> Rejection {
    let detail = format!("the data is {content_type:?}; usage is read from JSON only");
    Rejection::new(Reason::Invalid, detail).at("datacontenttype")
}

/// True for JSON and what is built on it; CloudEvents without a content type carry JSON.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.is_empty() || media_type.ends_with("/json") || media_type.ends_with("+json")
}

/// Header values are percent-encoded UTF-8 (CloudEvents' HTTP binding, 3.1.3.2).
fn percent_decoded(value: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    loop {
        rest = match rest {
            [] => return String::from_utf8(decoded).ok(),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                decoded.push(u8::from_str_radix(digits, 16).ok()?);
                rest
            }
            [byte, rest @ ..] => {
                decoded.push(*byte);
                rest
            }
        };
    }
}

fn check_size(bytes: usize) -> Result<(), Rejection> {
    if bytes <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let detail = format!("{bytes} bytes; an event has at most {MAX_RECORD_BYTES}");
    Err(Rejection::new(Reason::TooLarge, detail))
}

#[cfg(test)]
mod tests;
