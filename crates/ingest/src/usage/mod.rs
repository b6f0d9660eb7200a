//! Pure: a provider's own `usage` object, as it stands in its responses, read into quantities.

mod anthropic;
mod bedrock;
mod cohere;
mod google;
mod openai;

use fluxori_core::usage::{Quantities, Quantity, TokenCounts};
use serde_json::Value;

use crate::Rejection;
use crate::object::Object;

/// What a usage object says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) quantities: Quantities,
    /// The tier that served the call, where that stands in the usage.
    pub(crate) service_tier: Option<String>,
    /// The region that prices know, where that stands in the usage.
    pub(crate) region: Option<String>,
}

/// Reads a usage object; `None` where it has none of the fields of any provider.
///
/// Its fields tell the shape. The provider decides where two shapes have the same fields: `input_tokens` and
/// `output_tokens` are OpenAI's (Responses API, images, audio), where cached tokens are part of the input, and
/// Anthropic's, where they are not. So a provider that speaks another's dialect (Claude on Vertex, an OpenAI-compatible
/// interface of Gemini) is read right, too.
pub(crate) fn read(usage: &Object<'_>, provider: &str) -> Result<Option<Usage>, Rejection> {
    let has = |names: &[&str]| names.iter().any(|name| usage.get(name).is_some());
    let read = if has(&["prompt_tokens", "completion_tokens"]) {
        openai::read(usage)?
    } else if has(&["billed_units"]) {
        cohere::read(usage)?
    } else if has(google::FIELDS) {
        google::read(usage)?
    } else if has(&["inputTokens", "outputTokens"]) {
        bedrock::read(usage)?
    } else if has(&["input_tokens", "output_tokens"]) {
        let openai = has(&["input_tokens_details", "input_token_details"]);
        let anthropic = has(&["cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"]);
        if !openai && (anthropic || provider == "anthropic") {
            anthropic::read(usage)?
        } else {
            openai::read(usage)?
        }
    } else if has(openai::UNITS) {
        openai::read(usage)?
    } else {
        return Ok(None);
    };
    Ok(Some(read))
}

/// Puts parts into their wholes, where these do not hold them: some interfaces count cached tokens beside the input, and
/// reasoning beside the output. That a part is more than its whole tells it, or the `total` of all tokens.
///
/// Where the total says that the output holds the reasoning, and yet that is more, it was estimated (LiteLLM counts the
/// thoughts of Claude with a tokenizer): then it is all of the output.
pub(crate) fn include_parts(tokens: &mut TokenCounts, total: Option<i64>) {
    let cached = cached(tokens);
    let (wholes, reasoning) = (tokens.input + tokens.output, tokens.reasoning);
    let is = |sum| total == Some(sum);
    let (beside_output, beside_input) = if is(wholes) {
        (false, false)
    } else if is(wholes + reasoning) {
        (true, false)
    } else if is(wholes + cached) {
        (false, true)
    } else if is(wholes + cached + reasoning) {
        (true, true)
    } else {
        (total.is_none() && reasoning > tokens.output, false)
    };
    if beside_output {
        tokens.output += reasoning;
    }
    if beside_input || cached > tokens.input {
        tokens.input += cached;
    }
    clamp_parts(tokens);
}

/// Tokens of the input that were read from a cache or written to it.
pub(crate) fn cached(tokens: &TokenCounts) -> i64 {
    tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h
}

/// No part by medium, and no reasoning, is more than its whole: details that are odd must not cost an event whose totals
/// are known.
fn clamp_parts(tokens: &mut TokenCounts) {
    let clamp = |part: &mut i64, whole: i64| *part = (*part).min(whole);
    clamp(&mut tokens.audio_input, tokens.input);
    clamp(&mut tokens.image_input, tokens.input - tokens.audio_input);
    clamp(&mut tokens.cache_read_audio, tokens.audio_input.min(tokens.cache_read));
    let left = tokens.cache_read - tokens.cache_read_audio;
    clamp(&mut tokens.cache_read_image, tokens.image_input.min(left));
    clamp(&mut tokens.reasoning, tokens.output);
    clamp(&mut tokens.audio_output, tokens.output);
    clamp(&mut tokens.image_output, tokens.output - tokens.audio_output);
}

impl Usage {
    fn of(mut tokens: TokenCounts) -> Self {
        clamp_parts(&mut tokens);
        Self { quantities: Quantities { tokens, ..Quantities::default() }, ..Self::default() }
    }

    /// Adds to a named unit; nothing where there is nothing.
    pub(crate) fn add_units(&mut self, name: &str, quantity: Option<Quantity>) {
        if let Some(quantity) = quantity.filter(|quantity| !quantity.0.is_zero()) {
            let units = &mut self.quantities.units;
            units.entry(name.to_owned()).or_insert(Quantity::ZERO).0 += quantity.0;
        }
    }
}

/// Sums counts by a medium: `[{"modality": "AUDIO", "tokenCount": 12}]`.
fn of_medium(usage: &Object<'_>, lists: &[&str], medium: &str) -> Result<i64, Rejection> {
    let found = lists.iter().find_map(|list| Some((*list, usage.get(list)?.as_array()?)));
    let Some((list, items)) = found else { return Ok(0) };
    let mut sum = 0;
    for (index, item) in items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_object()?)))
    {
        let item = Object::named(item, &format!("{}[{index}]", usage.path_of(list)));
        let is = item
            .get("modality")
            .and_then(Value::as_str)
            .is_some_and(|name| name.eq_ignore_ascii_case(medium));
        if is {
            sum += item.first_count(&["tokenCount", "token_count"])?.unwrap_or(0);
        }
    }
    Ok(sum)
}
