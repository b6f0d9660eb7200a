//! Pure: what a call will cost, before it is made.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::amount::AmountError;
use crate::id::{Feature, Model, Module, OrgId, Provider};
use crate::pricing::{Call, CallKind, Charge, ChargeStatus, PricingTrace, price_call};
use crate::rates::{Audience, ModelFacts, Rates, Subject};
use crate::time::Timestamp;
use crate::usage::{MAX_QUANTITY, Quantities, Quantity, TokenCounts, Violation};

/// A call that somebody means to make, whatever the model.
#[derive(Debug, Clone)]
pub struct PlannedCall {
    /// Who pays.
    pub org: OrgId,
    /// Which module makes it.
    pub module: Option<Module>,
    /// For which feature.
    pub feature: Option<Feature>,
    /// Its service tier and region.
    pub kind: CallKind,
    /// When.
    pub at: Timestamp,
    /// Which part of the input the provider will have in its cache, from 0 to 1.
    pub cache_share: Decimal,
    /// Output tokens to expect; none: as many as there can be.
    pub expected_output_tokens: Option<i64>,
    /// Most output tokens; none: as many as the model can make.
    pub max_output_tokens: Option<i64>,
    /// Other units that it uses.
    pub units: BTreeMap<String, Quantity>,
}

/// A range of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRange {
    /// As many as to be expected.
    pub expected: i64,
    /// There will hardly be more.
    pub at_most: i64,
}

/// What a call of one model will cost.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// With the expected tokens and part from the cache.
    pub expected: Charge,
    /// With the most tokens, none of them from the cache, and at the dearest rates that they can have: written to the cache
    /// for 5 minutes, or spent on reasoning.
    pub at_most: Charge,
    /// Input tokens.
    pub input: TokenRange,
    /// Output tokens.
    pub output: TokenRange,
    /// What is known of the model.
    pub facts: ModelFacts,
    /// Whether input and output may be more than the model's context holds; none where that is not known.
    pub fits_context: Option<bool>,
    /// How the model's name led to its price, for people; none where it has none.
    pub matched: Option<String>,
    /// Where it has none: the names most like it.
    pub nearest: Vec<Model>,
}

/// Why a call cannot be estimated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EstimateError {
    /// Neither the call nor the rate card says how much output there can be.
    #[error("how much {0} can put out is not known: give max_output_tokens")]
    UnknownOutput(Model),
    /// The expected output is more than the most.
    #[error("expected_output_tokens ({expected}) is more than the most output tokens of {model} ({at_most})")]
    ExpectedAboveMost {
        /// Whose.
        model: Model,
        /// The expected output.
        expected: i64,
        /// The most output.
        at_most: i64,
    },
    /// Quantities that no call can have.
    #[error(transparent)]
    Impossible(#[from] Violation),
    /// The share is not between 0 and 1.
    #[error("cache_share must be from 0 to 1, and is {0}")]
    CacheShare(Decimal),
    /// It would cost more than any call can.
    #[error("the cost of {0} is out of range")]
    OutOfRange(Model),
}

impl PlannedCall {
    /// What the call costs if this model serves it, with so many input tokens.
    ///
    /// # Errors
    /// The output is not known, or quantities are not possible.
    pub fn estimate(
        &self,
        provider: &Provider,
        model: &Model,
        input: TokenRange,
        rates: &Rates,
    ) -> Result<Estimate, EstimateError> {
        if !(Decimal::ZERO..=Decimal::ONE).contains(&self.cache_share) {
            return Err(EstimateError::CacheShare(self.cache_share));
        }
        let known = rates.model(provider, model, Audience::Org(&self.org));
        let facts = known.map(|(entry, _)| entry.facts.clone()).unwrap_or_default();
        let output = self.output(model, &facts)?;
        let subject = Subject {
            org: &self.org,
            module: self.module.as_ref(),
            feature: self.feature.as_ref(),
            provider,
            response_model: None,
            request_model: model,
            at: self.at,
        };
        let call = Call { subject, kind: &self.kind };
        let price = |tokens: TokenCounts| {
            let quantities = Quantities { tokens, units: self.units.clone() };
            quantities.check()?;
            let out_of_range = |_: AmountError| EstimateError::OutOfRange(model.clone());
            price_call(&call, &quantities, rates).map_err(out_of_range)
        };
        let expected = price(TokenCounts {
            input: input.expected,
            cache_read: self.cached(input.expected),
            output: output.expected,
            ..TokenCounts::default()
        })?;
        let mut at_most = expected.clone();
        let most = TokenCounts { input: input.at_most, output: output.at_most, ..TokenCounts::default() };
        for (cache_write_5m, reasoning) in
            [(0, 0), (most.input, 0), (0, most.output), (most.input, most.output)]
        {
            let dearer = price(TokenCounts { cache_write_5m, reasoning, ..most })?;
            if dearer.credits > at_most.credits {
                at_most = dearer;
            }
        }
        let trace = PricingTrace::of(&call, &expected, rates);
        let needed = input.at_most.saturating_add(output.at_most);
        Ok(Estimate {
            expected,
            at_most,
            input,
            output,
            fits_context: facts.context_window.map(|window| needed <= window),
            facts,
            matched: trace.found.map(|found| format!("{} ({})", found.tier.name, found.matched)),
            nearest: trace.nearest,
        })
    }

    fn output(&self, model: &Model, facts: &ModelFacts) -> Result<TokenRange, EstimateError> {
        let at_most = self.max_output_tokens.or(facts.max_output_tokens);
        let at_most = match (at_most, self.expected_output_tokens) {
            (Some(at_most), _) => at_most,
            (None, Some(expected)) => expected,
            (None, None) => return Err(EstimateError::UnknownOutput(model.clone())),
        };
        let expected = self.expected_output_tokens.unwrap_or(at_most);
        if expected > at_most {
            return Err(EstimateError::ExpectedAboveMost { model: model.clone(), expected, at_most });
        }
        Ok(TokenRange { expected, at_most })
    }

    /// The part of so many tokens that comes from the cache, rounded down.
    fn cached(&self, input: i64) -> i64 {
        let cached = Decimal::from(input.clamp(0, MAX_QUANTITY)).checked_mul(self.cache_share);
        cached.and_then(|cached| i64::try_from(cached.floor()).ok()).unwrap_or(0)
    }
}

/// Puts what costs least first; what has a price in part comes later, and what has none last.
pub fn sort_by_price<T>(estimates: &mut [T], charge: impl Fn(&T) -> &Charge) {
    estimates.sort_by_key(|estimate| {
        let Charge { status, credits, .. } = charge(estimate);
        let known = match status {
            ChargeStatus::Complete | ChargeStatus::Waived | ChargeStatus::Voided => 0,
            ChargeStatus::Partial => 1,
            ChargeStatus::Provisional | ChargeStatus::Unpriced => 2,
        };
        (known, *credits)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use crate::rates::tests::{card, price};

    fn rates() -> Rates {
        let mut gpt5 = price("gpt-5", "2025-08-07T00:00:00Z", "1.25", "10");
        gpt5.prices[0].rates.set(Meter::CacheRead, "0.125".parse().unwrap());
        gpt5.facts.context_window = Some(2000);
        gpt5.facts.max_output_tokens = Some(1000);
        let cheap = price("nano", "2025-08-07T00:00:00Z", "0.05", "0.4");
        let mut rates = Rates::default();
        rates.put_in_force(&"r1".parse().unwrap(), card([gpt5, cheap])).unwrap();
        rates
    }

    fn planned() -> PlannedCall {
        PlannedCall {
            org: "acme".parse().unwrap(),
            module: None,
            feature: None,
            kind: CallKind::default(),
            at: "2026-11-22T12:00:00Z".parse().unwrap(),
            cache_share: Decimal::ZERO,
            expected_output_tokens: None,
            max_output_tokens: Some(200),
            units: BTreeMap::new(),
        }
    }

    fn estimate(call: &PlannedCall, model: &str) -> Result<Estimate, EstimateError> {
        let input = TokenRange { expected: 1000, at_most: 1100 };
        call.estimate(&"openai".parse().unwrap(), &model.parse().unwrap(), input, &rates())
    }

    #[test]
    fn a_call_costs_between_what_is_expected_and_what_is_possible() {
        let call = PlannedCall {
            cache_share: "0.6".parse().unwrap(),
            expected_output_tokens: Some(100),
            ..planned()
        };
        let estimate = estimate(&call, "gpt-5").unwrap();
        // 400 in, 600 from the cache, 100 out; 1,100 in and 200 out.
        assert_eq!(estimate.expected.credits.to_string(), "1.575");
        assert_eq!(estimate.at_most.credits.to_string(), "3.375");
        assert_eq!(estimate.fits_context, Some(true));
        assert_eq!(estimate.matched.as_deref(), Some("openai/gpt-5@2025-08-07T00:00:00Z (exact)"));
    }

    #[test]
    fn the_most_is_at_the_dearest_rates_that_tokens_can_have() {
        let mut model = price("thinks", "2025-08-07T00:00:00Z", "1", "2");
        for (meter, rate) in [(Meter::CacheWrite5m, "1.25"), (Meter::Reasoning, "8")] {
            model.prices[0].rates.set(meter, rate.parse().unwrap());
        }
        let mut rates = Rates::default();
        rates.put_in_force(&"r1".parse().unwrap(), card([model])).unwrap();
        let input = TokenRange { expected: 1000, at_most: 1000 };
        let call = planned();
        let estimate =
            call.estimate(&"openai".parse().unwrap(), &"thinks".parse().unwrap(), input, &rates).unwrap();
        assert_eq!(estimate.expected.credits.to_string(), "1.4");
        assert_eq!(estimate.at_most.credits.to_string(), "2.85");
    }

    #[test]
    fn the_models_own_limit_stands_in_for_one_that_is_not_given() {
        let call = PlannedCall { max_output_tokens: None, ..planned() };
        let found = estimate(&call, "gpt-5").unwrap();
        assert_eq!((found.output.at_most, found.fits_context), (1000, Some(false)));
        assert!(matches!(estimate(&call, "nano"), Err(EstimateError::UnknownOutput(_))));
    }

    #[test]
    fn a_model_without_a_price_is_not_free_and_comes_last() {
        let names = ["gpt-55", "gpt-5", "nano"];
        let mut estimates: Vec<_> = names.iter().map(|name| estimate(&planned(), name).unwrap()).collect();
        assert_eq!(estimates[0].expected.status, ChargeStatus::Unpriced);
        assert_eq!(estimates[0].nearest[0].as_str(), "gpt-5");
        sort_by_price(&mut estimates, |estimate| &estimate.expected);
        let credits: Vec<String> = estimates.iter().map(|one| one.expected.credits.to_string()).collect();
        assert_eq!(credits, ["0.13", "3.25", "0"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let share = PlannedCall { cache_share: "1.1".parse().unwrap(), ..planned() };
        assert!(matches!(estimate(&share, "gpt-5"), Err(EstimateError::CacheShare(_))));
        let more = PlannedCall { expected_output_tokens: Some(201), ..planned() };
        assert!(matches!(estimate(&more, "gpt-5"), Err(EstimateError::ExpectedAboveMost { .. })));
        let negative = PlannedCall { max_output_tokens: Some(-1), ..planned() };
        assert!(matches!(estimate(&negative, "gpt-5"), Err(EstimateError::Impossible(_))));
    }
}
