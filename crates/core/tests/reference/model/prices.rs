//! What usage costs.

use std::collections::BTreeMap;

use fluxori_core::command::{RatesPart, RatesSeal};
use fluxori_core::id::{Model, Provider, RevisionId};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{Card, Price};
use fluxori_core::usage::{Quantities, UsageEvent};

use super::amount::{Amount, ONE};

/// A price of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelPrice {
    provider: Provider,
    pub(crate) model: Model,
    names: Vec<Model>,
    price: Price,
}

/// Every price that was ever put in force, the latest revision last.
#[derive(Clone, Default)]
pub(crate) struct RateCard {
    unsealed: BTreeMap<RevisionId, Card>,
    in_force: Vec<ModelPrice>,
    latest: Option<RevisionId>,
}

/// More than this one event cannot cost.
const MOST: Amount = 1_000_000_000 * ONE;

/// The charge is out of range.
#[derive(Debug)]
pub(crate) struct TooMuch;

impl RateCard {
    pub(crate) fn part(&mut self, part: &RatesPart) {
        self.unsealed.entry(part.revision.clone()).or_default().append(part.card.clone());
    }

    pub(crate) fn latest(&self) -> Option<&RevisionId> {
        self.latest.as_ref()
    }

    pub(crate) fn seal(&mut self, seal: &RatesSeal) {
        self.latest = Some(seal.revision.clone());
        for model in self.unsealed.remove(&seal.revision).unwrap_or_default().models {
            let names: Vec<Model> = model.aliases.iter().chain([&model.model]).cloned().collect();
            for price in model.prices {
                let (provider, model, names) = (model.provider.clone(), model.model.clone(), names.clone());
                self.in_force.push(ModelPrice { provider, model, names, price });
            }
        }
    }

    /// The price of an event: by the model that answered, else by the one that was asked for; for its service tier, else
    /// for plain calls. None: no price, or none is due.
    pub(crate) fn price_of(&self, event: &UsageEvent) -> Option<ModelPrice> {
        if event.own_key || event.served_from_cache {
            return None;
        }
        let tier =
            if event.batch { Some("batch") } else { event.service_tier.as_ref().map(|tier| tier.as_str()) };
        let names = event.response_model.iter().chain([&event.request_model]);
        names.flat_map(|name| [Some(name.clone()), without_date(name)]).flatten().find_map(|name| {
            let latest = |tier: Option<&str>| {
                let named = |priced: &&ModelPrice| {
                    priced.provider == event.provider
                        && priced.names.contains(&name)
                        && priced.price.service_tier.as_ref().map(|tier| tier.as_str()) == tier
                        && priced.price.effective_from <= event.occurred_at
                };
                // Of two that begin at one instant, the later revision holds: `max_by_key` gives the last.
                self.in_force.iter().filter(named).max_by_key(|priced| priced.price.effective_from).cloned()
            };
            latest(tier).or_else(|| latest(None))
        })
    }
}

/// A price whatever other names its model has and whichever revision said it.
pub(crate) fn bare(priced: &ModelPrice) -> (&Provider, &Model, &Price) {
    (&priced.provider, &priced.model, &priced.price)
}

/// `gpt-5` of `gpt-5-2025-08-07` and of `gpt-5-20250807`.
pub(crate) fn without_date(name: &Model) -> Option<Model> {
    let is = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = name.as_str().split('-').collect();
    let stem = match parts.as_slice() {
        [stem @ .., year, month, day] if is(year, 4) && is(month, 2) && is(day, 2) => stem,
        [stem @ .., date] if is(date, 8) => stem,
        _ => return None,
    };
    stem.join("-").parse().ok()
}

/// What quantities cost at a price; nothing without one.
pub(crate) fn charge(price: Option<&ModelPrice>, quantities: &Quantities) -> Result<Amount, TooMuch> {
    let Some(ModelPrice { price, .. }) = price else { return Ok(0) };
    let tokens = &quantities.tokens;
    let long = price.above.iter().rfind(|longer| tokens.input > longer.input_tokens);
    let rate =
        |meter: Meter| long.and_then(|longer| longer.rates.get(meter)).or_else(|| price.rates.get(meter));
    let cached = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h;
    let write_5m = rate(Meter::CacheWrite5m).or(rate(Meter::Input));
    // No model has rates for media here, and no input is of one: what is, is charged as text. What is called both
    // reasoning and of a medium is of the medium.
    let media = tokens.audio_output + tokens.image_output;
    let reasoning = tokens.reasoning.min(tokens.output - media);
    let mut units = 0;
    for (count, rate) in [
        (tokens.input - cached, rate(Meter::Input)),
        (tokens.cache_read, rate(Meter::CacheRead).or(rate(Meter::Input))),
        (tokens.cache_write_5m, write_5m),
        (tokens.cache_write_1h, rate(Meter::CacheWrite1h).or(write_5m)),
        (tokens.output - reasoning, rate(Meter::Output)),
        (reasoning, rate(Meter::Reasoning).or(rate(Meter::Output))),
    ] {
        // Dollars a million tokens, in units of 10^-12: the sum is in units of 10^-18.
        units += i128::from(count) * rate.map_or(0, |rate| rate.to_scaled());
    }
    if let Some(pages) = quantities.units.get("pages") {
        let pages: i128 = pages.0.to_string().parse().unwrap();
        units += pages * 1_000_000 * rate(Meter::Pages).map_or(0, |rate| rate.to_scaled());
    }
    // A thousand credits a dollar: units of 10^-15, rounded half to even to 10^-12.
    let (whole, rest) = (units / 1_000, units % 1_000);
    let charged = whole + i128::from(rest > 500 || (rest == 500 && whole % 2 == 1));
    if charged > MOST { Err(TooMuch) } else { Ok(charged) }
}
