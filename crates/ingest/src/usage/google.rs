//! Pure: usage as Gemini says it (`usageMetadata`), at Google AI and on Vertex, in the JSON of the interface or the snake
//! case of its Python SDK.
//!
//! `promptTokenCount` holds what came from the cache; `candidatesTokenCount` does not hold the thoughts, nor does the
//! prompt hold what tools put into it. (Gemini API reference, `UsageMetadata`)

use fluxori_core::usage::TokenCounts;

use super::{Usage, include_parts, of_medium};
use crate::Rejection;
use crate::object::Object;

/// Fields that only this shape has.
pub(super) const FIELDS: &[&str] = &[
    "promptTokenCount",
    "prompt_token_count",
    "candidatesTokenCount",
    "candidates_token_count",
    "totalTokenCount",
    "total_token_count",
];

pub(super) fn read(usage: &Object<'_>) -> Result<Usage, Rejection> {
    let count = |names: &[&str]| usage.first_count(names).map(Option::unwrap_or_default);
    let thoughts = count(&["thoughtsTokenCount", "thoughts_token_count"])?;
    let answer = count(&[
        "candidatesTokenCount",
        "candidates_token_count",
        "responseTokenCount",
        "response_token_count",
    ])?;
    let prompt = count(&["promptTokenCount", "prompt_token_count"])?;
    let for_tools = count(&["toolUsePromptTokenCount", "tool_use_prompt_token_count"])?;
    let of_prompt = ["promptTokensDetails", "prompt_tokens_details"];
    let of_cache = ["cacheTokensDetails", "cache_tokens_details"];
    let of_answer = [
        "candidatesTokensDetails",
        "candidates_tokens_details",
        "responseTokensDetails",
        "response_tokens_details",
    ];
    let mut tokens = TokenCounts {
        input: prompt + for_tools,
        cache_read: count(&["cachedContentTokenCount", "cached_content_token_count"])?,
        audio_input: of_medium(usage, &of_prompt, "AUDIO")?,
        image_input: of_medium(usage, &of_prompt, "IMAGE")?,
        cache_read_audio: of_medium(usage, &of_cache, "AUDIO")?,
        cache_read_image: of_medium(usage, &of_cache, "IMAGE")?,
        output: answer + thoughts,
        reasoning: thoughts,
        audio_output: of_medium(usage, &of_answer, "AUDIO")?,
        image_output: of_medium(usage, &of_answer, "IMAGE")?,
        ..TokenCounts::default()
    };
    include_parts(&mut tokens, Some(prompt + for_tools + answer + thoughts));
    let mut read = Usage::of(tokens);
    let traffic = usage.text("trafficType").or_else(|| usage.text("traffic_type"));
    read.service_tier = match traffic {
        Some("ON_DEMAND_PRIORITY") => Some("priority".to_owned()),
        Some("ON_DEMAND_FLEX") => Some("flex".to_owned()),
        Some("PROVISIONED_THROUGHPUT") => Some("provisioned".to_owned()),
        _ => None,
    };
    Ok(read)
}
