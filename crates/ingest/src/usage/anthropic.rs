//! Pure: usage as Anthropic's Messages API says it, at Anthropic, on Vertex and on Bedrock (`InvokeModel`).
//!
//! `input_tokens` holds neither cache reads nor writes: the total is the sum of the three. The tokens of a compaction, which
//! stands among `iterations`, are in none of them and are added. (Anthropic's API reference, "Usage"; `BetaUsage` of its SDK)

use fluxori_core::usage::TokenCounts;
use serde_json::Value;

use super::Usage;
use crate::Rejection;
use crate::object::Object;

pub(super) fn read(usage: &Object<'_>) -> Result<Usage, Rejection> {
    let mut tokens = counts(usage)?;
    let iterations = usage.get("iterations").and_then(Value::as_array);
    for (index, iteration) in iterations.into_iter().flatten().enumerate() {
        let Some(iteration) = iteration.as_object() else { continue };
        let iteration = Object::named(iteration, &usage.path_of(&format!("iterations[{index}]")));
        if iteration.text("type") == Some("compaction") {
            let compaction = counts(&iteration)?;
            tokens.input += compaction.input;
            tokens.cache_read += compaction.cache_read;
            tokens.cache_write_5m += compaction.cache_write_5m;
            tokens.cache_write_1h += compaction.cache_write_1h;
            tokens.output += compaction.output;
        }
    }
    let mut read = Usage::of(tokens);
    read.add_units("searches", usage.object("server_tool_use").quantity("web_search_requests")?);
    let fast = usage.text("speed") == Some("fast");
    read.service_tier = if fast { Some("fast") } else { usage.text("service_tier") }.map(str::to_owned);
    read.region = usage.text("inference_geo").filter(|geo| *geo == "us").map(str::to_owned);
    Ok(read)
}

fn counts(usage: &Object<'_>) -> Result<TokenCounts, Rejection> {
    let count = |object: &Object<'_>, name| object.count(name).map(Option::unwrap_or_default);
    let cache_read = count(usage, "cache_read_input_tokens")?;
    let by_lifetime = usage.object("cache_creation");
    let for_1h = count(&by_lifetime, "ephemeral_1h_input_tokens")?;
    let for_5m = count(&by_lifetime, "ephemeral_5m_input_tokens")?;
    // What is not said to be for an hour is for five minutes, the default.
    let for_5m = for_5m.max(count(usage, "cache_creation_input_tokens")? - for_1h);
    Ok(TokenCounts {
        input: count(usage, "input_tokens")? + cache_read + for_5m + for_1h,
        cache_read,
        cache_write_5m: for_5m,
        cache_write_1h: for_1h,
        output: count(usage, "output_tokens")?,
        reasoning: count(&usage.object("output_tokens_details"), "thinking_tokens")?,
        ..TokenCounts::default()
    })
}
