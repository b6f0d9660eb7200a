//! Pure: from a usage event and the rates in force to a charge.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::amount::{AmountError, Credits, Usd};
use crate::rates::{PricingTier, Rates, TokenPrices};
use crate::usage::{Quantities, Quantity, TokenCounts, UsageEvent};

/// Credits for one US dollar under rules version 1.
pub const CREDITS_PER_USD: u32 = 1000;
/// Most credits that one event can cost (a million US dollars); above it the event is taken for wrong.
pub const MAX_CHARGE: u32 = 1_000_000_000;

/// What is counted and priced in one line of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Input tokens of text that were neither read from nor written to a cache.
    Input,
    /// Input tokens read from the provider's cache.
    CacheRead,
    /// Input tokens written to the cache for 5 minutes.
    #[serde(rename = "cache_write_5m")]
    CacheWrite5m,
    /// Input tokens written to the cache for 1 hour.
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    /// Output tokens of text other than reasoning.
    Output,
    /// Reasoning tokens.
    Reasoning,
    /// Input tokens that are audio.
    AudioInput,
    /// Input tokens that are images.
    ImageInput,
    /// Output tokens that are audio.
    AudioOutput,
    /// Output tokens that are images.
    ImageOutput,
}

impl Meter {
    /// The name in postings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioInput => "audio_input",
            Self::ImageInput => "image_input",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
        }
    }
}

/// One line of a charge: a quantity times a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeLine {
    /// What was counted.
    pub meter: Meter,
    /// How many tokens.
    pub quantity: i64,
    /// US dollars per million tokens; none where the tier has no rate for this line.
    pub usd_per_million: Option<Usd>,
}

/// Whether all of a usage event has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// Every line has a rate.
    Complete,
    /// A line or a variant of a priced model has no rate.
    Partial,
    /// The model has no price.
    Unpriced,
    /// Costs nothing: own key, or served from a local cache.
    Waived,
}

impl ChargeStatus {
    /// The name in tables and digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Unpriced => "unpriced",
            Self::Waived => "waived",
        }
    }
}

impl fmt::Display for ChargeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a usage event costs, and how that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Whether all of it has a price.
    pub status: ChargeStatus,
    /// The tier that priced it.
    pub tier: Option<Arc<PricingTier>>,
    /// Whether the call was of a variant that the tier has no rate for, and so is charged the model's plain rate.
    pub variant: bool,
    /// Quantities and rates.
    pub lines: Vec<ChargeLine>,
    /// The exact cost at the provider.
    pub cost: Usd,
    /// What is debited: the cost in credits, rounded once.
    pub credits: Credits,
}

/// Prices an event with the rates in force, as of when it occurred.
///
/// # Errors
/// The amount is out of range.
pub fn price(event: &UsageEvent, rates: &Rates) -> Result<Charge, AmountError> {
    if event.own_key || event.served_from_cache {
        return Ok(nothing(ChargeStatus::Waived));
    }
    let models = [event.response_model.as_ref(), Some(&event.request_model)];
    let Some(tier) = rates.find(&event.provider, models, event.occurred_at) else {
        return Ok(nothing(ChargeStatus::Unpriced));
    };
    charge(tier, is_variant(event), &event.tokens(), has_units(&event.units))
}

/// What other quantities would have cost at the prices of the original: nothing where that cost nothing (no price, own
/// key, local cache), else by its tier.
///
/// # Errors
/// The amount is out of range.
pub fn price_again(original: &Charge, quantities: &Quantities) -> Result<Charge, AmountError> {
    let Some(tier) = &original.tier else { return Ok(nothing(original.status)) };
    charge(tier, original.variant, &quantities.tokens, has_units(&quantities.units))
}

/// The charge of usage that did not take place, at the prices of the original.
#[must_use]
pub fn void(original: &Charge) -> Charge {
    Charge { lines: Vec::new(), cost: Usd::ZERO, credits: Credits::ZERO, ..original.clone() }
}

fn charge(
    tier: &Arc<PricingTier>,
    variant: bool,
    tokens: &TokenCounts,
    has_units: bool,
) -> Result<Charge, AmountError> {
    let lines = lines(tokens, &tier.price.usd_per_million_tokens);
    let mut cost = Usd::ZERO;
    for line in &lines {
        if let Some(rate) = line.usd_per_million {
            cost = cost.plus(rate.for_part_of_million(line.quantity)?)?;
        }
    }
    let credits = cost.to_credits(Decimal::from(CREDITS_PER_USD))?;
    if credits > Credits::from(MAX_CHARGE) {
        return Err(AmountError::OutOfRange);
    }
    let without_rate = lines.iter().any(|line| line.usd_per_million.is_none());
    let partial = variant || has_units || without_rate;
    let status = if partial { ChargeStatus::Partial } else { ChargeStatus::Complete };
    Ok(Charge { status, tier: Some(Arc::clone(tier)), variant, lines, cost, credits })
}

/// Whether anything was used that no tier has a rate for.
fn has_units(units: &BTreeMap<String, Quantity>) -> bool {
    units.values().any(|quantity| !quantity.0.is_zero())
}

fn is_variant(event: &UsageEvent) -> bool {
    let plain = |tier: &str| matches!(tier, "default" | "standard" | "auto");
    event.batch || event.service_tier.as_ref().is_some_and(|tier| !plain(tier.as_str()))
}

const fn nothing(status: ChargeStatus) -> Charge {
    Charge { status, tier: None, variant: false, lines: Vec::new(), cost: Usd::ZERO, credits: Credits::ZERO }
}

/// Every token in one line. What is audio or image is taken from the plain text; where the parts overlap (cached audio),
/// the cache's rate holds and the text's part is not below zero.
fn lines(tokens: &TokenCounts, prices: &TokenPrices) -> Vec<ChargeLine> {
    let cached = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h;
    let input = (tokens.input - cached - tokens.audio_input - tokens.image_input).max(0);
    let output = (tokens.output - tokens.reasoning - tokens.audio_output - tokens.image_output).max(0);
    let write_5m = prices.cache_write_5m.unwrap_or(prices.input);
    let write_1h = prices.cache_write_1h.unwrap_or(write_5m);
    [
        (Meter::Input, input, Some(prices.input)),
        (Meter::CacheRead, tokens.cache_read, Some(prices.cache_read.unwrap_or(prices.input))),
        (Meter::CacheWrite5m, tokens.cache_write_5m, Some(write_5m)),
        (Meter::CacheWrite1h, tokens.cache_write_1h, Some(write_1h)),
        (Meter::Output, output, prices.output),
        (Meter::Reasoning, tokens.reasoning, prices.reasoning.or(prices.output)),
        (Meter::AudioInput, tokens.audio_input, None),
        (Meter::ImageInput, tokens.image_input, None),
        (Meter::AudioOutput, tokens.audio_output, None),
        (Meter::ImageOutput, tokens.image_output, None),
    ]
    .into_iter()
    .filter(|(_, quantity, _)| *quantity > 0)
    .map(|(meter, quantity, usd_per_million)| ChargeLine { meter, quantity, usd_per_million })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RevisionId;
    use crate::rates::tests::price as tier;
    use crate::usage::tests::event;
    use crate::usage::{Quantity, UsageFields};

    fn charge(change: impl FnOnce(&mut UsageFields)) -> Charge {
        let mut gpt5 = tier("gpt-5", "2025-08-07T00:00:00Z", "1.25", "10");
        gpt5.usd_per_million_tokens.cache_read = Some("0.125".parse().unwrap());
        let mut rates = Rates::default();
        rates.put_in_force(&RevisionId::new("r1").unwrap(), vec![gpt5]);
        let mut fields = event();
        change(&mut fields);
        price(&UsageEvent::new(fields).unwrap(), &rates).unwrap()
    }

    #[test]
    fn cached_tokens_are_charged_once_at_their_own_rate() {
        let charge = charge(|e| e.cache_read_input_tokens = 600);
        assert_eq!(charge.cost.to_string(), "0.002575");
        assert_eq!(charge.credits.to_string(), "2.575");
        assert_eq!(charge.status, ChargeStatus::Complete);
    }

    #[test]
    fn reasoning_is_a_part_of_the_output_and_falls_back_to_its_rate() {
        let with = charge(|e| e.reasoning_output_tokens = 150);
        let without = charge(|_| ());
        assert_eq!(with.cost, without.cost);
        assert_eq!(with.lines.len(), 3);
    }

    #[test]
    fn an_unknown_model_is_unpriced_and_not_free() {
        let charge = charge(|e| e.request_model = crate::id::Model::new("gpt-99").unwrap());
        assert_eq!((charge.status, charge.credits), (ChargeStatus::Unpriced, Credits::ZERO));
    }

    #[test]
    fn a_unit_without_a_rate_makes_the_charge_partial() {
        let charge = charge(|e| {
            e.units.insert("pages".into(), Quantity(Decimal::ONE));
        });
        assert_eq!(charge.status, ChargeStatus::Partial);
        assert!(charge.credits.is_positive());
    }

    #[test]
    fn audio_and_variants_without_a_rate_make_the_charge_partial() {
        let audio = charge(|e| e.audio_input_tokens = 400);
        assert_eq!((audio.status, audio.credits.to_string().as_str()), (ChargeStatus::Partial, "2.75"));
        assert_eq!(charge(|e| e.batch = true).status, ChargeStatus::Partial);
        let tier = |name: &str| charge(|e| e.service_tier = Some(name.parse().unwrap())).status;
        assert_eq!((tier("priority"), tier("default")), (ChargeStatus::Partial, ChargeStatus::Complete));
    }

    #[test]
    fn other_quantities_are_priced_by_the_tier_of_the_original() {
        let original = charge(|e| e.batch = true);
        let mut quantities = Quantities::default();
        quantities.tokens.input = 400;
        let again = price_again(&original, &quantities).unwrap();
        assert_eq!((again.credits.to_string().as_str(), again.status), ("0.5", ChargeStatus::Partial));
        assert_eq!(void(&original).credits, Credits::ZERO);
        let waived = charge(|e| e.own_key = true);
        assert_eq!(price_again(&waived, &quantities).unwrap().credits, Credits::ZERO);
    }

    #[test]
    fn own_key_and_local_cache_cost_nothing() {
        assert_eq!(charge(|e| e.own_key = true).status, ChargeStatus::Waived);
        assert_eq!(charge(|e| e.served_from_cache = true).credits, Credits::ZERO);
    }
}
