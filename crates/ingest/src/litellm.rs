//! Pure: LiteLLM's log of a call (`StandardLoggingPayload`), as its generic API logger posts it.

use fluxori_core::usage::UsageEvent;
use serde_json::Value;

use crate::{Reason, Rejection, RequestContext};

/// Reads one payload: an element of the array, or a line, that LiteLLM's `generic_api` logger posts.
///
/// # Errors
/// What makes it no event; a field that is not known is none of that.
pub fn read(payload: &Value, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let _ = (payload, context);
    Err(Rejection {
        event_id: None,
        reason: Reason::Invalid,
        field: None,
        detail: "is not read yet".to_owned(),
    })
}
