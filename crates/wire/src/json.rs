//! Usage in JSON, as the gateway and the CLI take it.

use fluxori_core::id::{EventId, Label, OrgId};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields, Violation};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Why a JSON object is no usage event.
#[derive(Debug, thiserror::Error)]
pub enum JsonUsageError {
    /// Not a JSON object.
    #[error("a usage event is a JSON object")]
    NotAnObject,
    /// Without identity, a retry would count twice.
    #[error(
        "event_id is missing: a UUIDv7, or any text that names the call at its source, the same on every retry"
    )]
    NoId,
    /// A UUID of version 8 is derived, never given.
    #[error("event_id is a UUIDv8, which is derived from foreign ids: give the foreign id itself")]
    DerivedId,
    /// A field is missing, unknown or of a wrong type.
    #[error("{0}")]
    Field(#[from] serde_json::Error),
    /// A field cannot be.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// Reads a usage event.
///
/// `event_id` is a UUIDv7 or any other text, which becomes a deterministic id of org, source and text. `occurred_at` may
/// be left out: then it is the time in the UUIDv7, so that a retry is the same event, or `now` for a foreign id.
pub fn usage_from_json(value: Value, now: Timestamp) -> Result<UsageEvent, JsonUsageError> {
    let Value::Object(mut object) = value else { return Err(JsonUsageError::NotAnObject) };
    let Some(Value::String(id)) = object.get("event_id").cloned() else { return Err(JsonUsageError::NoId) };
    let native = Uuid::try_parse(&id).ok();
    let event_id = match native {
        Some(uuid) if uuid.get_version_num() == 7 => EventId(uuid),
        Some(uuid) if uuid.get_version_num() == 8 => return Err(JsonUsageError::DerivedId),
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
    let fields: UsageFields = serde_json::from_value(Value::Object(object))?;
    Ok(UsageEvent::new(fields)?)
}

fn foreign_id(object: &Map<String, Value>, id: &str) -> Result<EventId, JsonUsageError> {
    if id.is_empty() {
        return Err(JsonUsageError::NoId);
    }
    let text = |name: &str, default: &'static str| {
        object.get(name).and_then(Value::as_str).map_or_else(|| default.to_owned(), str::to_owned)
    };
    let custom = |error: fluxori_core::id::IdError| <serde_json::Error as serde::de::Error>::custom(error);
    let org = OrgId::new(&text("org_id", "")).map_err(custom)?;
    let source = Label::new(&text("source", "default")).map_err(custom)?;
    Ok(EventId::from_foreign(&org, &source, id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<UsageEvent, JsonUsageError> {
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
}
