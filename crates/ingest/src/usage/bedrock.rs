//! Pure: usage as Bedrock's Converse API says it.
//!
//! `inputTokens` holds neither cache reads nor writes. (Bedrock's API reference, `TokenUsage`)

use fluxori_core::usage::TokenCounts;
use serde_json::Value;

use super::Usage;
use crate::Rejection;
use crate::object::Object;

pub(super) fn read(usage: &Object<'_>) -> Result<Usage, Rejection> {
    let count = |names: &[&str]| usage.first_count(names).map(Option::unwrap_or_default);
    let cache_read = count(&["cacheReadInputTokens", "cacheReadInputTokenCount"])?;
    let written = count(&["cacheWriteInputTokens", "cacheWriteInputTokenCount"])?;
    let mut for_1h = 0;
    let details = usage.get("cacheDetails").and_then(Value::as_array);
    for (index, detail) in details.into_iter().flatten().enumerate() {
        let Some(detail) = detail.as_object() else { continue };
        let detail = Object::named(detail, &usage.path_of(&format!("cacheDetails[{index}]")));
        if detail.text("ttl") == Some("1h") {
            for_1h += detail.count("inputTokens")?.unwrap_or(0);
        }
    }
    let for_5m = (written - for_1h).max(0);
    Ok(Usage::of(TokenCounts {
        input: count(&["inputTokens"])? + cache_read + for_5m + for_1h,
        cache_read,
        cache_write_5m: for_5m,
        cache_write_1h: for_1h,
        output: count(&["outputTokens"])?,
        ..TokenCounts::default()
    }))
}
