//! Pure: why one item is not taken, for the caller.

use fluxori_core::usage::UsageEvent;
use fluxori_emitter::EmitError;
use fluxori_ingest::{Reason, Rejection};
use fluxori_runtime::auth::Caller;
use serde::{Serialize, Serializer};

const NOT_ACKNOWLEDGED: &str = "The event was not acknowledged";

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

impl ItemProblem {
    /// An event that the caller's key is not for.
    pub(super) fn of_scope(event: &UsageEvent, caller: &Caller) -> Option<Self> {
        let checks = [
            (
                "org-not-allowed",
                "This API key is not for this org",
                &caller.orgs,
                "org_id",
                event.org_id.as_str(),
            ),
            (
                "module-not-allowed",
                "This API key is not for this module",
                &caller.modules,
                "module",
                event.module.as_str(),
            ),
            (
                "source-not-allowed",
                "This API key is not for this source",
                &caller.sources,
                "source",
                event.source.as_str(),
            ),
        ];
        let (kind, title, _, field, value) = checks.into_iter().find(|check| !check.2.holds(check.4))?;
        let detail = format!("the key {:?} may not post events with {field} {value:?}", caller.name);
        Some(Self { kind, title, detail, field: Some(field.to_owned()) })
    }

    /// What is wrong with an event that the emitter did not take and will never take; none if it may do so later.
    pub(super) fn of_event(error: &EmitError) -> Option<Self> {
        let (kind, title) = match error {
            EmitError::TooLarge { .. } => ("too-large", "The event is too large"),
            EmitError::Encoding(_) => ("invalid", "The event is not valid"),
            _ => return None,
        };
        Some(Self { kind, title, detail: error.to_string(), field: None })
    }

    /// That neither disk nor broker took the event, or that the broker did not say so.
    pub(super) fn unacknowledged(error: &EmitError) -> Self {
        Self { kind: "not-acknowledged", title: NOT_ACKNOWLEDGED, detail: error.to_string(), field: None }
    }

    /// That the broker said nothing for too long.
    pub(super) fn too_slow() -> Self {
        let detail = "the broker did not acknowledge it in time; the event may or may not come into the log";
        Self { kind: "not-acknowledged", title: NOT_ACKNOWLEDGED, detail: detail.to_owned(), field: None }
    }

    /// True if the key is not for the event.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self.kind, "org-not-allowed" | "module-not-allowed" | "source-not-allowed")
    }
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

fn as_urn<S: Serializer>(slug: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:fluxori:problem:{slug}"))
}
