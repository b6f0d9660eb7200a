//! Pure: usage in our own JSON, as the gateway and the CLI take it.

use fluxori_core::id::{EventId, Label, OrgId};
use fluxori_core::record::MAX_RECORD_BYTES;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{Reason, Rejection, RequestContext, json, provider_usage};

/// Reads one usage event, whose usage may be a provider's own object ([`provider_usage::expand`]), takes from the context what it does not say, and judges its time.
///
/// # Errors
/// Every reason there is.
pub fn usage_from_bytes(bytes: &[u8], context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    if bytes.len() > MAX_RECORD_BYTES {
        let detail = format!("{} bytes of JSON; an event has at most {MAX_RECORD_BYTES}", bytes.len());
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    let mut value = json::read(bytes)?;
    if let Value::Object(object) = &mut value {
        take_from(context, object);
    }
    let event_id = named_id(&value);
    let value = provider_usage::expand(value).map_err(|rejection| rejection.of_event(event_id.as_deref()))?;
    let event = usage_from_json(value, context.now)?;
    event
        .check_time(context.now)
        .map_err(|violation| Rejection::of_violation(&violation).of_event(event_id.as_deref()))?;
    Ok(event)
}

/// What an API key stands for, where the object says nothing.
fn take_from(context: &RequestContext<'_>, object: &mut Map<String, Value>) {
    let known = [
        ("org_id", context.org.map(OrgId::as_str)),
        ("module", context.module.map(fluxori_core::id::Module::as_str)),
        ("source", context.source.map(Label::as_str)),
    ];
    for (field, known) in known {
        let is_said = object.get(field).is_some_and(|value| !value.is_null());
        if let (Some(known), false) = (known, is_said) {
            object.insert(field.to_owned(), Value::String(known.to_owned()));
        }
    }
}

/// Reads a usage event.
///
/// `event_id` is a UUIDv7 or any other text, which becomes a deterministic id of org, source and text. `occurred_at` may
/// be left out: then it is the time in the UUIDv7, so that a retry is the same event, or `now` for a foreign id.
///
/// # Errors
/// [`Reason::NotAnObject`], [`Reason::NoIdentity`] or [`Reason::Invalid`].
pub fn usage_from_json(value: Value, now: Timestamp) -> Result<UsageEvent, Rejection> {
    let event_id = named_id(&value);
    read(value, now).map_err(|rejection| rejection.of_event(event_id.as_deref()))
}

fn named_id(value: &Value) -> Option<String> {
    value.get("event_id").and_then(Value::as_str).map(str::to_owned)
}

fn read(value: Value, now: Timestamp) -> Result<UsageEvent, Rejection> {
    let Value::Object(mut object) = value else {
        return Err(Rejection::new(Reason::NotAnObject, "a usage event is a JSON object"));
    };
    let Some(Value::String(id)) = object.get("event_id").cloned() else { return Err(no_id()) };
    let native = Uuid::try_parse(&id).ok();
    let event_id = match native {
        Some(uuid) if uuid.get_version_num() == 7 => EventId(uuid),
        Some(uuid) if uuid.get_version_num() == 8 => {
            let detail =
                "event_id is a UUIDv8, which is derived from foreign ids: give the foreign id itself";
            return Err(Rejection::new(Reason::NoIdentity, detail).at("event_id"));
        }
        _ => foreign_id(&object, &id)?,
    };
    object.insert("event_id".to_owned(), Value::String(event_id.to_string()));
    if object.get("occurred_at").is_none_or(Value::is_null) {
        let time = native.filter(|_| event_id.is_native()).and_then(|uuid| uuid.get_timestamp());
        let occurred_at = time.map_or(now, |time| {
            let (seconds, nanos) = time.to_unix();
            let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            Timestamp::from_micros(micros.saturating_add(i64::from(nanos / 1000)))
        });
        object.insert("occurred_at".to_owned(), Value::String(occurred_at.to_string()));
    }
    let fields: UsageFields = serde_json::from_value(Value::Object(object)).map_err(|error| {
        let detail = error.to_string();
        let rejection = Rejection::new(Reason::Invalid, detail.as_str());
        match named_field(&detail) {
            Some(field) => rejection.at(field),
            None => rejection,
        }
    })?;
    UsageEvent::new(fields).map_err(|violation| Rejection::of_violation(&violation))
}

fn no_id() -> Rejection {
    let detail = "event_id is missing: a UUIDv7, or any text that names the call at its source, the same on every retry";
    Rejection::new(Reason::NoIdentity, detail).at("event_id")
}

fn foreign_id(object: &Map<String, Value>, id: &str) -> Result<EventId, Rejection> {
    if id.is_empty() {
        return Err(no_id());
    }
    let text = |name: &str, default: &'static str| {
        object.get(name).and_then(Value::as_str).map_or_else(|| default.to_owned(), str::to_owned)
    };
    let refused = |field: &str, error: fluxori_core::id::IdError| {
        Rejection::new(Reason::Invalid, error.to_string()).at(field)
    };
    let org = OrgId::new(&text("org_id", "")).map_err(|error| refused("org_id", error))?;
    let source = Label::new(&text("source", "default")).map_err(|error| refused("source", error))?;
    Ok(EventId::from_foreign(&org, &source, id))
}

/// serde names missing and unknown fields in backticks.
fn named_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("unknown field `"))?;
    rest.split_once('`').map(|(field, _)| field)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<UsageEvent, Rejection> {
        usage_from_json(value, "2026-11-22T12:00:00Z".parse().unwrap())
    }

    fn minimal() -> Value {
        json!({"event_id": "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b", "org_id": "acme", "module": "pim",
               "provider": "openai", "request_model": "gpt-5", "input_tokens": 10, "output_tokens": 2})
    }

    #[test]
    fn the_time_of_a_native_id_stands_in_for_a_missing_one() {
        let event = read(minimal()).unwrap();
        let (seconds, _) = event.event_id.0.get_timestamp().unwrap().to_unix();
        assert_eq!(event.occurred_at.micros() / 1_000_000, i64::try_from(seconds).unwrap());
        assert_eq!(event.billing_digest(), read(minimal()).unwrap().billing_digest());
    }

    #[test]
    fn a_foreign_id_is_the_same_event_on_every_retry() {
        let mut value = minimal();
        value["event_id"] = json!("chatcmpl-123");
        let event = read(value.clone()).unwrap();
        assert_eq!(event.event_id, read(value.clone()).unwrap().event_id);
        value["org_id"] = json!("other");
        assert_ne!(event.event_id, read(value).unwrap().event_id);
    }

    #[test]
    fn unknown_missing_and_impossible_fields_are_named() {
        let error = |change: &dyn Fn(&mut Value)| {
            let mut value = minimal();
            change(&mut value);
            read(value).unwrap_err().to_string()
        };
        assert!(error(&|v| v["input_token"] = json!(1)).contains("input_token"));
        assert!(error(&|v| drop(v.as_object_mut().unwrap().remove("module"))).contains("module"));
        assert!(error(&|v| v["output_tokens"] = json!(-1)).contains("output_tokens is negative"));
        assert!(error(&|v| v["org_id"] = json!("")).contains("org id"));
        assert!(error(&|v| v["event_id"] = json!("")).contains("event_id is missing"));
    }

    #[test]
    fn what_the_key_stands_for_fills_what_is_not_said_and_nothing_else() {
        let (org, module, source) =
            (OrgId::new("of-key").unwrap(), "chat".parse().unwrap(), Label::new("gateway").unwrap());
        let context = RequestContext {
            org: Some(&org),
            module: Some(&module),
            source: Some(&source),
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        let mut value = minimal();
        value["event_id"] = json!("call-1");
        let said = usage_from_bytes(value.to_string().as_bytes(), &context).unwrap();
        assert_eq!((said.org_id.as_str(), said.module.as_str()), ("acme", "pim"));
        assert_eq!(said.source.as_str(), "gateway");
        value.as_object_mut().unwrap().retain(|name, _| name != "org_id" && name != "module");
        let filled = usage_from_bytes(value.to_string().as_bytes(), &context).unwrap();
        assert_eq!((filled.org_id.as_str(), filled.module.as_str()), ("of-key", "chat"));
        assert_eq!(filled.event_id, EventId::from_foreign(&org, &source, "call-1"));
    }

    #[test]
    fn a_rejection_bears_the_id_that_the_caller_gave() {
        let context = RequestContext {
            org: None,
            module: None,
            source: None,
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        let mut value = minimal();
        value["event_id"] = json!("call-1");
        value["occurred_at"] = json!("2026-11-22T13:00:00Z");
        let rejection = usage_from_bytes(value.to_string().as_bytes(), &context).unwrap_err();
        assert_eq!(rejection.reason, Reason::OccurredInFuture);
        assert_eq!(rejection.event_id.as_deref(), Some("call-1"));
        assert_eq!(rejection.field.as_deref(), Some("occurred_at"));
    }
}
