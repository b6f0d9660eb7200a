//! Pure: from a usage event and the rates in force to a charge.

mod lines;
mod trace;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::amount::{AmountError, Credits, Factor, Rate, Rounding, RoundingRule, Usd, product};
use crate::id::{Label, OrgId};
use crate::meter::Meter;
use crate::rates::{AppliedTerms, Currency, Price, PricingTier, Rates, Subject, Variant};
use crate::usage::{Quantities, Quantity, UsageEvent};

pub use trace::PricingTrace;

use lines::Used;

/// Most credits that one event can cost; above it the event is taken for wrong.
pub const MAX_CHARGE: u32 = 1_000_000_000;

/// One line of a charge: a quantity times a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeLine {
    /// What was counted.
    pub meter: Meter,
    /// How much.
    pub quantity: Quantity,
    /// What it is charged; none where there is no rate for it.
    pub rate: Option<LineRate>,
}

/// The rate of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRate {
    /// For a million tokens, or for one of any other unit, in the currency of the price.
    pub rate: Rate,
    /// Whose rate it is: the line's own, or that of the nearest parent that has one.
    pub of: Meter,
}

/// Whether all of a usage event has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// Every line has a rate.
    Complete,
    /// A line of a priced model has no rate, or its service tier none.
    Partial,
    /// The model has no price; it is charged what its terms say for the meantime.
    Provisional,
    /// The model has no price.
    Unpriced,
    /// Costs nothing: own key, or served from a local cache.
    Waived,
    /// A correction said that it did not take place.
    Voided,
}

impl ChargeStatus {
    /// The name in tables and digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Provisional => "provisional",
            Self::Unpriced => "unpriced",
            Self::Waived => "waived",
            Self::Voided => "voided",
        }
    }
}

impl fmt::Display for ChargeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of call, as far as prices depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallKind {
    /// The provider's service tier, `batch` for its batch interface; none for a plain call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<Label>,
    /// The provider's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Label>,
}

impl CallKind {
    /// Of a usage event.
    #[must_use]
    pub fn of(event: &UsageEvent) -> Self {
        Self::new(event.batch, event.service_tier.as_ref(), event.region.as_ref())
    }

    /// Of what is said of a call.
    #[must_use]
    pub fn new(batch: bool, service_tier: Option<&Label>, region: Option<&Label>) -> Self {
        let plain = |tier: &Label| matches!(tier.as_str(), "default" | "standard" | "auto");
        let service_tier =
            if batch { Label::new("batch").ok() } else { service_tier.filter(|tier| !plain(tier)).cloned() };
        Self { service_tier, region: region.cloned() }
    }

    /// The variant of prices that it asks for.
    #[must_use]
    pub const fn variant<'call>(&'call self, org: &'call OrgId) -> Variant<'call> {
        Variant { org: Some(org), service_tier: self.service_tier.as_ref(), region: self.region.as_ref() }
    }
}

/// What a usage event costs, and how that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Whether all of it has a price.
    pub status: ChargeStatus,
    /// The tier that priced it.
    pub tier: Option<Arc<PricingTier>>,
    /// The kind of call.
    pub call: CallKind,
    /// Quantities and rates. Of usage without a price they have no rates; of waived and voided usage there are none.
    pub lines: Vec<ChargeLine>,
    /// What turned the cost into credits.
    pub terms: Arc<AppliedTerms>,
    /// The cost at the provider in US dollars, rounded half to even to twelve places.
    pub cost: Usd,
    /// What is debited: the exact cost in credits, rounded once by the rule of the terms.
    pub credits: Credits,
}

/// What decides the price of a call.
#[derive(Debug, Clone, Copy)]
pub struct Call<'usage> {
    /// Whose, what, when.
    pub subject: Subject<'usage>,
    /// Its kind.
    pub kind: &'usage CallKind,
}

/// Prices an event with the rates in force, as of when it occurred.
///
/// # Errors
/// The amount is out of range.
pub fn price(event: &UsageEvent, rates: &Rates) -> Result<Charge, AmountError> {
    if event.own_key || event.served_from_cache {
        return Ok(waived());
    }
    let kind = CallKind::of(event);
    let call = Call { subject: Subject::of(event), kind: &kind };
    price_used(&call, lines::of(&event.tokens(), &event.units), rates)
}

/// Prices quantities of a call with the rates in force, as of when it occurred.
///
/// # Errors
/// The amount is out of range.
pub fn price_call(call: &Call<'_>, quantities: &Quantities, rates: &Rates) -> Result<Charge, AmountError> {
    price_used(call, lines::used(quantities), rates)
}

/// What the usage of a charge costs with the rates in force, as of when it occurred. Waived and voided usage stays so.
///
/// # Errors
/// The amount is out of range.
pub fn reprice(original: &Charge, subject: Subject<'_>, rates: &Rates) -> Result<Charge, AmountError> {
    if matches!(original.status, ChargeStatus::Waived | ChargeStatus::Voided) {
        return Ok(original.clone());
    }
    // A call is one request, whether that was said or not: it is counted anew, where requests have a rate.
    let used =
        original.lines.iter().filter(|line| !line.is_one_request()).map(|line| (line.meter, line.quantity));
    price_used(&Call { subject, kind: &original.call }, used.collect(), rates)
}

/// What other quantities would have cost at the prices and terms of the original: nothing where that cost nothing (no
/// price, own key, local cache), else by its tier.
///
/// # Errors
/// The amount is out of range.
pub fn price_again(original: &Charge, quantities: &Quantities) -> Result<Charge, AmountError> {
    if original.status == ChargeStatus::Waived {
        return Ok(original.clone());
    }
    let used = lines::used(quantities);
    let (kind, terms) = (original.call.clone(), Arc::clone(&original.terms));
    match &original.tier {
        Some(tier) => charge(tier, kind, used, terms),
        None => without_price(kind, used, terms),
    }
}

/// The charge of usage that did not take place. It keeps the tier, by which a later correction may price it.
#[must_use]
pub fn void(original: &Charge) -> Charge {
    let waived = original.status == ChargeStatus::Waived;
    let status = if waived { ChargeStatus::Waived } else { ChargeStatus::Voided };
    Charge { status, lines: Vec::new(), cost: Usd::ZERO, credits: Credits::ZERO, ..original.clone() }
}

/// The lines of quantities that no rate is known of: what [`reprice`] needs.
#[must_use]
pub fn lines_without_rates(quantities: &Quantities) -> Vec<ChargeLine> {
    to_lines(lines::used(quantities), |_| None)
}

impl Charge {
    /// Whether another charge of the same usage came about in the same way: the same price and terms, whatever revision
    /// said them last, and the same amounts. Lines are not compared: of the same usage they follow from that.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        // Where the price is from decides nothing.
        let price = |charge: &Self| {
            charge.tier.as_ref().map(|tier| {
                let price = Price { source: None, ..tier.price.clone() };
                (tier.provider.clone(), tier.model.clone(), price)
            })
        };
        (self.status, self.cost, self.credits) == (other.status, other.cost, other.credits)
            && self.terms == other.terms
            && price(self) == price(other)
    }
}

impl<'usage> Subject<'usage> {
    /// Of a usage event.
    #[must_use]
    pub fn of(event: &'usage UsageEvent) -> Self {
        Self {
            org: &event.org_id,
            module: Some(&event.module),
            feature: event.feature.as_ref(),
            provider: &event.provider,
            response_model: event.response_model.as_ref(),
            request_model: &event.request_model,
            at: event.occurred_at,
        }
    }
}

fn price_used(call: &Call<'_>, used: Used, rates: &Rates) -> Result<Charge, AmountError> {
    let Call { subject, kind } = call;
    let found = rates.find(subject.provider, subject.models(), kind.variant(subject.org), subject.at);
    let tier = found.map(|found| found.tier);
    let exchange = tier.map(|tier| tier.price.currency).filter(|currency| *currency != Currency::USD);
    let exchange = exchange.and_then(|currency| Some((currency, rates.exchange_rate(currency, subject.at)?)));
    let terms = rates.apply_terms(subject, tier.map(|tier| &**tier), exchange);
    let kind = (*kind).clone();
    match tier {
        Some(tier) => charge(tier, kind, used, terms),
        None => without_price(kind, used, terms),
    }
}

/// Prices what was used by a tier.
fn charge(
    tier: &Arc<PricingTier>,
    call: CallKind,
    used: Used,
    terms: Arc<AppliedTerms>,
) -> Result<Charge, AmountError> {
    let price = &tier.price;
    let used = lines::with_request(used, price.rate(Meter::Requests, 0).is_some());
    let context =
        used.iter().filter(|(meter, _)| meter.is_input_tokens()).filter_map(|(_, count)| count.whole()).sum();
    let rate = |meter| price.rate(meter, context).map(|(of, rate)| LineRate { rate, of });
    let lines = to_lines(used, rate);
    let without_rate = lines.iter().any(|line| line.rate.is_none() && line.meter != Meter::Requests);
    let other_tier = price.service_tier != call.service_tier;
    let status = if without_rate || other_tier { ChargeStatus::Partial } else { ChargeStatus::Complete };
    let (cost, credits) = total(&lines, &terms)?;
    Ok(Charge { status, tier: Some(Arc::clone(tier)), call, lines, terms, cost, credits })
}

/// What usage without a price is charged: what the terms say for the meantime, or nothing.
fn without_price(call: CallKind, used: Used, terms: Arc<AppliedTerms>) -> Result<Charge, AmountError> {
    let meantime = terms.provisional.as_ref();
    let rate =
        |meter: Meter| meter.with_parents().find_map(|of| Some(LineRate { rate: meantime?.get(of)?, of }));
    let have_rate = meantime.is_some_and(|rates| rates.get(Meter::Requests).is_some());
    let lines = to_lines(lines::with_request(used, have_rate), rate);
    let status = if meantime.is_some() { ChargeStatus::Provisional } else { ChargeStatus::Unpriced };
    let (cost, credits) = total(&lines, &terms)?;
    Ok(Charge { status, tier: None, call, lines, terms, cost, credits })
}

fn waived() -> Charge {
    Charge {
        status: ChargeStatus::Waived,
        tier: None,
        call: CallKind::default(),
        lines: Vec::new(),
        terms: AppliedTerms::standard(),
        cost: Usd::ZERO,
        credits: Credits::ZERO,
    }
}

fn to_lines(used: Used, rate: impl Fn(Meter) -> Option<LineRate>) -> Vec<ChargeLine> {
    used.into_iter().map(|(meter, quantity)| ChargeLine { meter, quantity, rate: rate(meter) }).collect()
}

/// The sum of the lines in US dollars and in credits, each rounded once from the exact sum.
fn total(lines: &[ChargeLine], terms: &AppliedTerms) -> Result<(Usd, Credits), AmountError> {
    let mut exact: i128 = 0;
    for line in lines {
        exact = exact.checked_add(line.exact_cost()?).ok_or(AmountError::OutOfRange)?;
    }
    let exchange = terms.exchange.map_or(Factor::ONE, |(_, usd)| usd);
    let cost = product(exact, &[exchange], Rounding::default()).and_then(Usd::from_scaled)?;
    let factors = [exchange, terms.credits_per_usd, terms.markup];
    let mut credits = product(exact, &factors, terms.rounding).and_then(Credits::from_scaled)?;
    let used = lines.iter().any(|line| line.rate.is_some() && !line.quantity.0.is_zero());
    if used {
        let up = Rounding { rule: RoundingRule::Up, ..terms.rounding };
        let minimum =
            product(terms.minimum.to_scaled() * 1_000_000, &[], up).and_then(Credits::from_scaled)?;
        credits = credits.max(minimum);
    }
    if credits > Credits::from(MAX_CHARGE) {
        return Err(AmountError::OutOfRange);
    }
    Ok((cost, credits))
}

impl ChargeLine {
    /// What the line costs in the currency of its price, in units of 10^-18.
    ///
    /// # Errors
    /// Out of range.
    pub fn exact_cost(&self) -> Result<i128, AmountError> {
        self.rate.map_or(Ok(0), |rate| rate.rate.times(self.meter, self.quantity))
    }

    fn is_one_request(&self) -> bool {
        self.meter == Meter::Requests && self.quantity == Quantity::ONE && self.rate.is_some()
    }
}

#[cfg(test)]
mod tests;
