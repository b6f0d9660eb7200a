//! Pure: the digests of rates.

use super::card::{Card, ExchangeRate, ModelRates, Price, ProviderNames, RateTable, Terms};
use crate::digest::{Canonical, Digest};
use crate::id::RevisionId;

/// The digest of one part of a revision.
#[must_use]
pub fn part_digest(part: &Card) -> Digest {
    let mut canonical = Canonical::new("fluxori.rates.part.v1");
    let Card { providers, models, terms, exchange_rates } = part;
    canonical.count(providers.len());
    for names in providers {
        provider(&mut canonical, names);
    }
    canonical.count(models.len());
    for rates in models {
        model(&mut canonical, rates);
    }
    canonical.count(terms.len());
    for one in terms {
        term(&mut canonical, one);
    }
    canonical.count(exchange_rates.len());
    for ExchangeRate { currency, usd, effective_from } in exchange_rates {
        canonical.text(currency.as_str()).text(&usd.to_string()).number(effective_from.micros());
    }
    canonical.digest()
}

/// The digest of a whole revision, which its seal names.
#[must_use]
pub fn revision_digest(revision: &RevisionId, parts: &[Digest]) -> Digest {
    let mut canonical = Canonical::new("fluxori.rates.revision.v1");
    canonical.text(revision.as_str()).count(parts.len());
    for part in parts {
        canonical.bytes(&part.0);
    }
    canonical.digest()
}

fn provider(canonical: &mut Canonical, names: &ProviderNames) {
    let ProviderNames { provider, aliases, falls_back_to } = names;
    canonical.text(provider.as_str());
    for list in [aliases, falls_back_to] {
        canonical.count(list.len());
        for name in list {
            canonical.text(name.as_str());
        }
    }
}

fn model(canonical: &mut Canonical, rates: &ModelRates) {
    let ModelRates { provider, model, aliases, patterns, facts, prices } = rates;
    canonical.text(provider.as_str()).text(model.as_str()).count(aliases.len());
    for alias in aliases {
        canonical.text(alias.as_str());
    }
    canonical.count(patterns.len());
    for pattern in patterns {
        canonical.text(&pattern.to_string());
    }
    canonical
        .optional_number(facts.context_window)
        .optional_number(facts.max_output_tokens)
        .optional_number(facts.deprecated_at.map(|at| at.micros()))
        .count(facts.capabilities.len());
    for capability in &facts.capabilities {
        canonical.text(capability.as_str());
    }
    canonical.count(prices.len());
    for one in prices {
        price(canonical, one);
    }
}

fn price(canonical: &mut Canonical, price: &Price) {
    let Price { org, service_tier, region, hours, effective_from, currency, source, rates, above } = price;
    canonical
        .optional_text(org.as_ref().map(|org| org.as_str()))
        .optional_text(service_tier.as_ref().map(|tier| tier.as_str()))
        .optional_text(region.as_ref().map(|region| region.as_str()))
        .optional_text(hours.map(|hours| hours.to_string()).as_deref())
        .number(effective_from.micros())
        .text(currency.as_str())
        .optional_text(source.as_ref().map(|source| source.as_str()));
    table(canonical, rates);
    canonical.count(above.len());
    for longer in above {
        canonical.number(longer.input_tokens);
        table(canonical, &longer.rates);
    }
}

fn table(canonical: &mut Canonical, rates: &RateTable) {
    canonical.count(rates.len());
    for (meter, rate) in rates.iter() {
        canonical.text(meter.as_str()).amount(rate.to_scaled());
    }
}

fn term(canonical: &mut Canonical, terms: &Terms) {
    let Terms { effective_from, credits_per_usd, markup, minimum, rounding, provisional, .. } = terms;
    canonical.number(effective_from.micros());
    for condition in terms.conditions() {
        canonical.optional_text(condition);
    }
    canonical
        .optional_text(credits_per_usd.map(|factor| factor.to_string()).as_deref())
        .optional_text(markup.map(|factor| factor.to_string()).as_deref())
        .flag(minimum.is_some())
        .amount(minimum.unwrap_or_default().to_scaled())
        .optional_text(rounding.map(|rounding| rounding.rule.as_str()))
        .optional_number(rounding.map(|rounding| i64::from(rounding.places)))
        .flag(provisional.is_some());
    table(canonical, provisional.as_ref().unwrap_or(&RateTable::default()));
}
