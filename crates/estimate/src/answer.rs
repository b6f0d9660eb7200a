//! What is answered. Amounts are exact decimals, as text.

use fluxori_core::estimate::Estimate;
use fluxori_core::pricing::Charge;
use fluxori_core::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::request::ModelName;

/// What a call costs with each of its models.
#[derive(Debug, Serialize, ToSchema)]
pub struct Estimates {
    /// Who would pay.
    #[schema(example = "acme")]
    pub org_id: String,
    /// As of when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The latest revision of the rates in force.
    pub rates_revision: Option<String>,
    /// The cheapest first, by what is expected; those without a price last.
    pub estimates: Vec<Line>,
    /// Models for which there is no estimate, and why.
    pub refused: Vec<Refused>,
}

/// What the call costs with one model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Line {
    /// Who serves it.
    pub provider: String,
    /// Its name, as it was asked for.
    pub model: String,
    /// `complete`, `partial`, `provisional` or `unpriced`.
    #[schema(example = "complete")]
    pub status: String,
    /// The tier that prices it, and how its name led there; null without a price.
    pub priced_by: Option<String>,
    /// Without a price: the names most like it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// Input tokens.
    pub input_tokens: Range,
    /// What the count of the input rests on, and its parts; null where it was given.
    #[schema(value_type = Option<Object>)]
    pub counted_by: Option<Value>,
    /// Output tokens.
    pub output_tokens: Range,
    /// With the expected tokens and part from the cache.
    pub expected: Cost,
    /// With the most tokens, and none from the cache.
    pub at_most: Cost,
    /// Most tokens of the model's context, where that is known.
    pub context_window: Option<i64>,
    /// Whether input and output fit into it; null where it is not known.
    pub fits_context: Option<bool>,
    /// When the provider withdraws the model.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deprecated_at: Option<Timestamp>,
}

/// A number of tokens to expect, and one that there will hardly be more of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenRange)]
pub struct Range {
    /// To be expected.
    pub expected: i64,
    /// Hardly more.
    pub at_most: i64,
}

/// What a call costs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cost {
    /// At the provider, in US dollars.
    #[schema(example = "0.002575")]
    pub cost_usd: String,
    /// For the org, by its terms.
    #[schema(example = "2.575")]
    pub credits: String,
}

/// A model for which there is no estimate.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// Who serves it.
    pub provider: String,
    /// Its name.
    pub model: String,
    /// Why, and how to mend it.
    pub reason: String,
}

pub(crate) fn line(name: &ModelName, counted_by: Option<Value>, estimate: Estimate) -> Line {
    let cost =
        |charge: &Charge| Cost { cost_usd: charge.cost.to_string(), credits: charge.credits.to_string() };
    let range = |range: fluxori_core::estimate::TokenRange| Range {
        expected: range.expected,
        at_most: range.at_most,
    };
    Line {
        provider: name.provider.to_string(),
        model: name.model.to_string(),
        status: estimate.expected.status.to_string(),
        priced_by: estimate.matched,
        nearest: estimate.nearest.iter().map(ToString::to_string).collect(),
        input_tokens: range(estimate.input),
        counted_by,
        output_tokens: range(estimate.output),
        expected: cost(&estimate.expected),
        at_most: cost(&estimate.at_most),
        context_window: estimate.facts.context_window,
        fits_context: estimate.fits_context,
        deprecated_at: estimate.facts.deprecated_at,
    }
}
