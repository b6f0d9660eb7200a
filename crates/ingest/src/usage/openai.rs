//! Pure: usage as OpenAI says it (chat completions, Responses, embeddings, images, audio, realtime), as the many
//! interfaces after its model do, and as LiteLLM extends it.
//!
//! `cached_tokens`, `audio_tokens` and the like are parts of their totals. The fields are those of OpenAI's API
//! reference, of `litellm/types/utils.py` (`Usage`, `PromptTokensDetailsWrapper`), and of DeepSeek
//! (`prompt_cache_hit_tokens`), Moonshot (`cached_tokens`), Perplexity (`num_search_queries`) and Mistral
//! (`prompt_audio_seconds`, and `pages_processed` of its OCR).

use fluxori_core::usage::TokenCounts;

use super::{Usage, include_parts};
use crate::Rejection;
use crate::object::Object;

/// Fields of usage that is counted in other units alone.
pub(super) const UNITS: &[&str] =
    &["seconds", "output_image_count", "prompt_audio_seconds", "duration_seconds", "pages_processed"];

pub(super) fn read(usage: &Object<'_>) -> Result<Usage, Rejection> {
    let of_input =
        usage.first_object(&["prompt_tokens_details", "input_tokens_details", "input_token_details"]);
    let of_output =
        usage.first_object(&["completion_tokens_details", "output_tokens_details", "output_token_details"]);
    let count =
        |object: &Object<'_>, names: &[&str]| object.first_count(names).map(Option::unwrap_or_default);
    let first = |parts: &Object<'_>, in_parts: &[&str], at_top: &[&str]| {
        let part = parts.first_count(in_parts)?;
        if part.is_some_and(|part| part > 0) { Ok(part.unwrap_or(0)) } else { count(usage, at_top) }
    };
    let cached = of_input.object("cached_tokens_details");
    let mut tokens = TokenCounts {
        input: count(usage, &["prompt_tokens", "input_tokens"])?,
        output: count(usage, &["completion_tokens", "output_tokens"])?,
        cache_read: first(
            &of_input,
            &["cached_tokens"],
            &["cache_read_input_tokens", "prompt_cache_hit_tokens", "cached_tokens"],
        )?,
        audio_input: count(&of_input, &["audio_tokens"])?,
        image_input: count(&of_input, &["image_tokens"])?,
        cache_read_audio: count(&cached, &["audio_tokens"])?,
        cache_read_image: count(&cached, &["image_tokens"])?,
        reasoning: first(&of_output, &["reasoning_tokens"], &["reasoning_tokens"])?,
        audio_output: count(&of_output, &["audio_tokens"])?,
        image_output: count(&of_output, &["image_tokens"])?,
        ..TokenCounts::default()
    };
    let written = first(
        &of_input,
        &["cache_write_tokens", "cache_creation_tokens"],
        &["cache_creation_input_tokens", "cache_write_tokens"],
    )?;
    let by_lifetime = match of_input.object("cache_creation_token_details") {
        parts if parts.is_empty() => usage.object("cache_creation"),
        parts => parts,
    };
    tokens.cache_write_1h = count(&by_lifetime, &["ephemeral_1h_input_tokens"])?;
    let for_5m = count(&by_lifetime, &["ephemeral_5m_input_tokens"])?;
    tokens.cache_write_5m = for_5m.max(written - tokens.cache_write_1h);
    include_parts(&mut tokens, usage.count("total_tokens")?);
    let mut read = Usage::of(tokens);
    units(usage, &of_input, &mut read)?;
    read.service_tier = usage.text("service_tier").map(str::to_owned);
    Ok(read)
}

fn units(usage: &Object<'_>, of_input: &Object<'_>, read: &mut Usage) -> Result<(), Rejection> {
    if usage.text("type") == Some("duration") || usage.get("input_tokens").is_none() {
        read.add_units("audio_seconds", usage.quantity("seconds")?);
    }
    read.add_units("audio_seconds", usage.quantity("prompt_audio_seconds")?);
    read.add_units("audio_seconds", of_input.quantity("audio_length_seconds")?);
    read.add_units("video_seconds", of_input.quantity("video_length_seconds")?);
    read.add_units("video_seconds", usage.quantity("duration_seconds")?);
    read.add_units("pages", usage.quantity("pages_processed")?);
    read.add_units("characters", of_input.quantity("character_count")?);
    read.add_units("images", of_input.quantity("image_count")?);
    read.add_units("requests", of_input.quantity("query_count")?);
    let searches = match usage.object("server_tool_use").quantity("web_search_requests")? {
        None => of_input.quantity("web_search_requests")?,
        searches => searches,
    };
    read.add_units("searches", searches);
    read.add_units("searches", usage.quantity("num_search_queries")?);
    // Images that are counted in tokens are not counted twice.
    if read.quantities.tokens.output == 0 {
        read.add_units("images", usage.quantity("output_image_count")?);
    }
    Ok(())
}
