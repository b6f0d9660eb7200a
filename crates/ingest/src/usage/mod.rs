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
    let beside = total == Some(tokens.input + tokens.output + tokens.reasoning);
    if tokens.reasoning > 0 && beside || tokens.reasoning > tokens.output && total.is_none() {
        tokens.output += tokens.reasoning;
    }
    tokens.reasoning = tokens.reasoning.min(tokens.output);
    let cached = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h;
    if cached > tokens.input {
        tokens.input += cached;
    }
}

impl Usage {
    fn of(tokens: TokenCounts) -> Self {
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
