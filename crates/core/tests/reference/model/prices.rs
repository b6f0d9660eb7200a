//! What usage costs.

use std::collections::BTreeMap;

use fluxori_core::command::{RatesPart, RatesSeal};
use fluxori_core::id::{Model, RevisionId};
use fluxori_core::rates::Price;
use fluxori_core::usage::{Quantities, UsageEvent};

use super::amount::{Amount, ONE};

/// Every price that was ever put in force, the latest revision last.
#[derive(Clone, Default)]
pub(crate) struct RateCard {
    unsealed: BTreeMap<RevisionId, Vec<Price>>,
    in_force: Vec<Price>,
}

/// More than this one event cannot cost.
const MOST: Amount = 1_000_000_000 * ONE;

/// The charge is out of range.
#[derive(Debug)]
pub(crate) struct TooMuch;

impl RateCard {
    pub(crate) fn part(&mut self, part: &RatesPart) {
        self.unsealed.entry(part.revision.clone()).or_default().extend(part.prices.iter().cloned());
    }

    pub(crate) fn seal(&mut self, seal: &RatesSeal) {
        self.in_force.extend(self.unsealed.remove(&seal.revision).unwrap_or_default());
    }

    /// The price of an event: by the model that answered, else by the one that was asked for. None: no price, or none is
    /// due.
    pub(crate) fn price_of(&self, event: &UsageEvent) -> Option<Price> {
        if event.own_key || event.served_from_cache {
            return None;
        }
        let names = event.response_model.iter().chain([&event.request_model]);
        names.flat_map(|name| [Some(name.clone()), without_date(name)]).flatten().find_map(|name| {
            let named = |price: &&Price| {
                price.provider == event.provider
                    && (price.model == name || price.aliases.contains(&name))
                    && price.effective_from <= event.occurred_at
            };
            // Of two that begin at one instant, the later revision holds: `max_by_key` gives the last.
            self.in_force.iter().filter(named).max_by_key(|price| price.effective_from).cloned()
        })
    }
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
pub(crate) fn charge(price: Option<&Price>, quantities: &Quantities) -> Result<Amount, TooMuch> {
    let Some(price) = price else { return Ok(0) };
    let rates = &price.usd_per_million_tokens;
    let tokens = &quantities.tokens;
    let cached = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h;
    let plain_input = (tokens.input - cached - tokens.audio_input - tokens.image_input).max(0);
    let plain_output = (tokens.output - tokens.reasoning - tokens.audio_output - tokens.image_output).max(0);
    let mut units = 0;
    for (count, rate) in [
        (plain_input, Some(rates.input)),
        (tokens.cache_read, rates.cache_read.or(Some(rates.input))),
        (tokens.cache_write_5m, rates.cache_write_5m.or(Some(rates.input))),
        (tokens.cache_write_1h, rates.cache_write_1h.or(rates.cache_write_5m).or(Some(rates.input))),
        (plain_output, rates.output),
        (tokens.reasoning, rates.reasoning.or(rates.output)),
    ] {
        // Dollars a million tokens, in units of 10^-12, times 1,000 credits a dollar. Rates have at most 6 places, so
        // nothing is lost.
        let rate = rate.map_or(0, |rate| rate.to_scaled());
        units += i128::from(count) * rate / 1_000_000 * 1_000;
    }
    if units > MOST { Err(TooMuch) } else { Ok(units) }
}
