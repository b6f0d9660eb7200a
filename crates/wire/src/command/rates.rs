//! The entries of a revision of the rates.

use fluxori_core::amount::{Credits, Factor, Rounding};
use fluxori_core::command::RatesPart;
use fluxori_core::id::{Feature, Label, Model, Module, OrgId, Provider, RevisionId};
use fluxori_core::rates::{
    Card, Currency, DailyWindow, ExchangeRate, LongContext, ModelFacts, ModelRates, NamePattern, Price,
    ProviderNames, RateTable, Terms,
};
use fluxori_core::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "RatesPart")]
pub(super) struct RatesPartRecord {
    revision: RevisionId,
    index: i32,
    providers: Vec<ProviderNamesRecord>,
    models: Vec<ModelRatesRecord>,
    terms: Vec<TermsRecord>,
    exchange_rates: Vec<ExchangeRateRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "ProviderNames")]
struct ProviderNamesRecord {
    provider: Provider,
    aliases: Vec<Provider>,
    falls_back_to: Vec<Provider>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "ModelRates")]
struct ModelRatesRecord {
    provider: Provider,
    model: Model,
    aliases: Vec<Model>,
    patterns: Vec<NamePattern>,
    context_window: Option<i64>,
    max_output_tokens: Option<i64>,
    deprecated_at: Option<Timestamp>,
    capabilities: Vec<Label>,
    prices: Vec<PriceRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Price")]
struct PriceRecord {
    org: Option<OrgId>,
    service_tier: Option<Label>,
    region: Option<Label>,
    hours: Option<DailyWindow>,
    effective_from: Timestamp,
    currency: Currency,
    source: Option<Label>,
    rates: RateTable,
    above: Vec<LongContext>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Terms")]
struct TermsRecord {
    effective_from: Timestamp,
    org: Option<OrgId>,
    model: Option<Model>,
    provider: Option<Provider>,
    feature: Option<Feature>,
    module: Option<Module>,
    credits_per_usd: Option<Factor>,
    markup: Option<Factor>,
    minimum: Option<Credits>,
    rounding: Option<RoundingRecord>,
    provisional: Option<RateTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Rounding")]
struct RoundingRecord {
    rule: fluxori_core::amount::RoundingRule,
    places: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "ExchangeRate")]
struct ExchangeRateRecord {
    currency: Currency,
    usd: Factor,
    effective_from: Timestamp,
}

impl From<&RatesPart> for RatesPartRecord {
    fn from(part: &RatesPart) -> Self {
        let Card { providers, models, terms, exchange_rates } = part.card.clone();
        Self {
            revision: part.revision.clone(),
            index: part.index,
            providers: providers.into_iter().map(Into::into).collect(),
            models: models.into_iter().map(Into::into).collect(),
            terms: terms.into_iter().map(Into::into).collect(),
            exchange_rates: exchange_rates.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RatesPartRecord> for RatesPart {
    fn from(record: RatesPartRecord) -> Self {
        let card = Card {
            providers: record.providers.into_iter().map(Into::into).collect(),
            models: record.models.into_iter().map(Into::into).collect(),
            terms: record.terms.into_iter().map(Into::into).collect(),
            exchange_rates: record.exchange_rates.into_iter().map(Into::into).collect(),
        };
        Self { revision: record.revision, index: record.index, card }
    }
}

/// Conversions between two structs with the same fields.
macro_rules! same_fields {
    ($core:ident, $record:ident { $($field:ident),+ }) => {
        impl From<$core> for $record {
            fn from($core { $($field),+ }: $core) -> Self {
                Self { $($field),+ }
            }
        }

        impl From<$record> for $core {
            fn from($record { $($field),+ }: $record) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

same_fields!(ProviderNames, ProviderNamesRecord { provider, aliases, falls_back_to });
same_fields!(ExchangeRate, ExchangeRateRecord { currency, usd, effective_from });
same_fields!(
    Price,
    PriceRecord { org, service_tier, region, hours, effective_from, currency, source, rates, above }
);

impl From<ModelRates> for ModelRatesRecord {
    fn from(model: ModelRates) -> Self {
        let ModelRates { provider, model, aliases, patterns, facts, prices } = model;
        let ModelFacts { context_window, max_output_tokens, deprecated_at, capabilities } = facts;
        let prices = prices.into_iter().map(Into::into).collect();
        Self {
            provider,
            model,
            aliases,
            patterns,
            context_window,
            max_output_tokens,
            deprecated_at,
            capabilities,
            prices,
        }
    }
}

impl From<ModelRatesRecord> for ModelRates {
    fn from(record: ModelRatesRecord) -> Self {
        let ModelRatesRecord { provider, model, aliases, patterns, .. } = record;
        let facts = ModelFacts {
            context_window: record.context_window,
            max_output_tokens: record.max_output_tokens,
            deprecated_at: record.deprecated_at,
            capabilities: record.capabilities,
        };
        let prices = record.prices.into_iter().map(Into::into).collect();
        Self { provider, model, aliases, patterns, facts, prices }
    }
}

impl From<Terms> for TermsRecord {
    fn from(terms: Terms) -> Self {
        let rounding = |Rounding { rule, places }: Rounding| RoundingRecord {
            rule,
            places: i32::try_from(places).unwrap_or(i32::MAX),
        };
        Self {
            effective_from: terms.effective_from,
            org: terms.org,
            model: terms.model,
            provider: terms.provider,
            feature: terms.feature,
            module: terms.module,
            credits_per_usd: terms.credits_per_usd,
            markup: terms.markup,
            minimum: terms.minimum,
            rounding: terms.rounding.map(rounding),
            provisional: terms.provisional,
        }
    }
}

impl From<TermsRecord> for Terms {
    fn from(record: TermsRecord) -> Self {
        // Places below zero become more than twelve, which no card may have.
        let rounding = |RoundingRecord { rule, places }: RoundingRecord| Rounding {
            rule,
            places: u32::try_from(places).unwrap_or(u32::MAX),
        };
        Self {
            effective_from: record.effective_from,
            org: record.org,
            model: record.model,
            provider: record.provider,
            feature: record.feature,
            module: record.module,
            credits_per_usd: record.credits_per_usd,
            markup: record.markup,
            minimum: record.minimum,
            rounding: record.rounding.map(rounding),
            provisional: record.provisional,
        }
    }
}
