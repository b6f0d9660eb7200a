//! Pure: from the bytes of an item to an event, or to the reason why it is none.

use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageEvent;
use fluxori_emitter::EmitError;
use fluxori_ingest::{Reason, Rejection, RequestContext, usage_from_bytes};
use fluxori_runtime::auth::Caller;
use serde::{Serialize, Serializer};

/// What is wrong with one item: an RFC 9457 problem without a status of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ItemProblem {
    #[serde(rename = "type", serialize_with = "as_urn")]
    pub(super) kind: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: String,
    /// The field, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
}

/// An item that is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RejectedItem {
    /// As the caller gave it.
    pub(super) event_id: Option<String>,
    pub(super) problem: ItemProblem,
}

/// The kind of an event for an org that the key is not for.
pub(super) const ORG_NOT_ALLOWED: &str = "org-not-allowed";

/// Reads an event that `caller` may post and that can be admitted at `now`.
pub(super) fn read(bytes: &[u8], caller: &Caller, now: Timestamp) -> Result<UsageEvent, RejectedItem> {
    let context = RequestContext { org: None, module: None, source: None, now };
    let event = usage_from_bytes(bytes, &context).map_err(|rejection| RejectedItem {
        event_id: rejection.event_id.clone(),
        problem: rejection.into(),
    })?;
    if !caller.may(event.org_id.as_str()) {
        let detail = format!("the key {:?} may not post for org {:?}", caller.name, event.org_id.as_str());
        let problem = problem(ORG_NOT_ALLOWED, "This API key is not for this org", detail).field("org_id");
        return Err(RejectedItem { event_id: Some(event.event_id.to_string()), problem });
    }
    Ok(event)
}

impl From<Rejection> for ItemProblem {
    fn from(rejection: Rejection) -> Self {
        let (kind, title) = match rejection.reason {
            Reason::NotJson => ("not-json", "The item is no JSON"),
            Reason::NotAnObject => ("not-an-object", "The item is no JSON object"),
            Reason::TooLarge => ("too-large", "The event is too large"),
            Reason::NoIdentity => ("invalid", "The event has no usable id"),
            Reason::Invalid => ("invalid", "The event is not valid"),
            Reason::NoAttribution => ("no-attribution", "Nothing says whom the event is for"),
            Reason::OccurredInFuture => ("occurred-in-future", "The event is in the future"),
            Reason::TooLate => ("too-late", "The event is too old"),
        };
        Self { kind, title, detail: rejection.detail, field: rejection.field }
    }
}

fn problem(kind: &'static str, title: &'static str, detail: impl Into<String>) -> ItemProblem {
    ItemProblem { kind, title, detail: detail.into(), field: None }
}

impl ItemProblem {
    /// What is wrong with an event that the emitter did not take and will never take; none if it may do so later.
    pub(super) fn of_event(error: &EmitError) -> Option<Self> {
        match error {
            EmitError::TooLarge { .. } => {
                Some(problem("too-large", "The event is too large", error.to_string()))
            }
            EmitError::Encoding(_) => Some(problem("invalid", "The event is not valid", error.to_string())),
            _ => None,
        }
    }

    /// That the broker does not have the event, or did not say so.
    pub(super) fn unacknowledged(error: &EmitError) -> Self {
        problem("not-acknowledged", "The broker did not acknowledge the event", error.to_string())
    }

    fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }
}

fn as_urn<S: Serializer>(slug: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:fluxori:problem:{slug}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use fluxori_core::record::MAX_RECORD_BYTES;
    use fluxori_runtime::auth::Orgs;
    use serde_json::{Value, json};

    use super::*;

    fn refused(change: impl FnOnce(&mut Value)) -> (&'static str, Option<String>) {
        let mut value = json!({"event_id": "call-1", "occurred_at": "2026-11-22T12:00:00Z", "org_id": "acme",
            "module": "pim", "provider": "openai", "request_model": "gpt-5", "input_tokens": 10,
            "output_tokens": 2});
        change(&mut value);
        let orgs = Orgs::Only(BTreeSet::from(["acme".to_owned()]));
        let caller = Caller { name: "test".into(), orgs: Arc::new(orgs) };
        match read(value.to_string().as_bytes(), &caller, "2026-11-22T12:00:00Z".parse().unwrap()) {
            Ok(event) => panic!("{event:?}"),
            Err(rejected) => (rejected.problem.kind, rejected.problem.field),
        }
    }

    #[test]
    fn every_kind_of_bad_item_has_a_named_reason_and_its_field() {
        let named = |kind, field: &str| (kind, Some(field.to_owned()));
        assert_eq!(refused(|v| v["output_tokens"] = json!(-1)), named("invalid", "output_tokens"));
        assert_eq!(refused(|v| v["input_tokens"] = json!(2_000_000_000)), named("invalid", "input_tokens"));
        assert_eq!(refused(|v| v["cache_read_input_tokens"] = json!(11)), named("invalid", "input_tokens"));
        assert_eq!(refused(|v| v["input_token"] = json!(1)), named("invalid", "input_token"));
        assert_eq!(refused(|v| v["event_id"] = json!("")), named("invalid", "event_id"));
        assert_eq!(
            refused(|v| drop(v.as_object_mut().unwrap().remove("module"))),
            named("invalid", "module")
        );
        assert_eq!(refused(|v| v["org_id"] = json!("globex")), named("org-not-allowed", "org_id"));
        let future = "2026-11-22T12:05:00.1Z";
        assert_eq!(refused(|v| v["occurred_at"] = json!(future)), named("occurred-in-future", "occurred_at"));
        let past = "2026-10-18T11:59:59Z";
        assert_eq!(refused(|v| v["occurred_at"] = json!(past)), named("too-late", "occurred_at"));
        assert_eq!(refused(|v| *v = json!([1])), ("not-an-object", None));
        assert_eq!(refused(|v| v["raw_usage"] = json!("x".repeat(MAX_RECORD_BYTES))), ("too-large", None));
        assert_eq!(refused(|v| v["raw_usage"] = json!("x".repeat(5_000))), ("invalid", None));
    }
}
