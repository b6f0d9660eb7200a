//! Pure: dated prices of models, in revisions that take effect as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::amount::Usd;
use crate::digest::{Canonical, Digest};
use crate::id::{Model, Provider, RevisionId};
use crate::time::Timestamp;

/// Most decimal places of a price per million tokens, so that a whole number of tokens always has an exact cost in
/// twelve places.
pub const MAX_PRICE_PLACES: u32 = 6;
/// Highest price per million tokens, in US dollars: above it a rate card is taken for wrong.
pub const MAX_PRICE: u32 = 10_000;

/// US dollars per million tokens. What has no price of its own falls back: cache reads and 5-minute writes to input,
/// 1-hour writes to 5-minute writes, reasoning to output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrices {
    /// Input tokens.
    pub input: Usd,
    /// Output tokens; absent for models that have none, such as embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Usd>,
    /// Input tokens read from the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Usd>,
    /// Input tokens written to the cache for 5 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<Usd>,
    /// Input tokens written to the cache for 1 hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<Usd>,
    /// Reasoning tokens of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Usd>,
}

/// The price of one model at one provider from an instant on: a pricing tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Who serves the model.
    pub provider: Provider,
    /// The model's name.
    pub model: Model,
    /// Other names of the same model.
    #[serde(default)]
    pub aliases: Vec<Model>,
    /// Usage from this instant on has this price, until a later price of the same model begins.
    pub effective_from: Timestamp,
    /// US dollars per million tokens.
    pub usd_per_million_tokens: TokenPrices,
}

/// A rate card that cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// A price below zero.
    #[error("{provider}/{model}: the price of {line} is negative")]
    Negative {
        /// Whose price.
        provider: Provider,
        /// Whose price.
        model: Model,
        /// Which line.
        line: &'static str,
    },
    /// A price above [`MAX_PRICE`] or with more than [`MAX_PRICE_PLACES`] places.
    #[error(
        "{provider}/{model}: the price of {line} must be at most {MAX_PRICE} USD per million tokens, with at most {MAX_PRICE_PLACES} decimal places"
    )]
    Absurd {
        /// Whose price.
        provider: Provider,
        /// Whose price.
        model: Model,
        /// Which line.
        line: &'static str,
    },
    /// Two prices of one model (or alias) begin at one instant.
    #[error("{provider}/{model} has two prices from {effective_from}")]
    Overlap {
        /// Whose price.
        provider: Provider,
        /// Whose price.
        model: Model,
        /// From when.
        effective_from: Timestamp,
    },
}

impl Price {
    /// Refuses prices that are negative or absurd.
    pub fn check(&self) -> Result<(), RatesError> {
        let prices = &self.usd_per_million_tokens;
        let lines = [
            ("input", Some(prices.input)),
            ("output", prices.output),
            ("cache_read", prices.cache_read),
            ("cache_write_5m", prices.cache_write_5m),
            ("cache_write_1h", prices.cache_write_1h),
            ("reasoning", prices.reasoning),
        ];
        for (line, price) in lines {
            let Some(price) = price else { continue };
            let (provider, model) = (self.provider.clone(), self.model.clone());
            if price.is_negative() {
                return Err(RatesError::Negative { provider, model, line });
            }
            if price > Usd::from(MAX_PRICE) || price.decimal().scale() > MAX_PRICE_PLACES {
                return Err(RatesError::Absurd { provider, model, line });
            }
        }
        Ok(())
    }

    /// The tier's name for people: provider, model and the instant it begins.
    #[must_use]
    pub fn tier_name(&self) -> String {
        format!("{}/{}@{}", self.provider, self.model, self.effective_from)
    }
}

/// Refuses a card whose prices are wrong or begin twice at one instant. A charge is stored with the name of its tier, so
/// no two tiers of a card may bear one name, as slashes in names could make them.
pub fn check_card(prices: &[Price]) -> Result<(), RatesError> {
    let (mut seen, mut names) = (HashSet::new(), HashSet::new());
    for price in prices {
        price.check()?;
        let overlap = |model: &Model| RatesError::Overlap {
            provider: price.provider.clone(),
            model: model.clone(),
            effective_from: price.effective_from,
        };
        if !names.insert(price.tier_name()) {
            return Err(overlap(&price.model));
        }
        for model in std::iter::once(&price.model).chain(&price.aliases) {
            if !seen.insert((&price.provider, model, price.effective_from)) {
                return Err(overlap(model));
            }
        }
    }
    Ok(())
}

/// The digest of the prices of one part of a revision.
#[must_use]
pub fn part_digest(prices: &[Price]) -> Digest {
    let mut canonical = Canonical::new("fluxori.rates.part.v1");
    canonical.count(prices.len());
    for price in prices {
        let lines = &price.usd_per_million_tokens;
        canonical.text(price.provider.as_str()).text(price.model.as_str()).count(price.aliases.len());
        for alias in &price.aliases {
            canonical.text(alias.as_str());
        }
        canonical.number(price.effective_from.micros()).amount(lines.input.to_scaled());
        for line in
            [lines.output, lines.cache_read, lines.cache_write_5m, lines.cache_write_1h, lines.reasoning]
        {
            canonical.flag(line.is_some());
            canonical.amount(line.unwrap_or_default().to_scaled());
        }
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

/// A price in force, and the revision that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricingTier {
    /// The price.
    pub price: Price,
    /// The revision of the rates.
    pub revision: RevisionId,
    /// The tier's name for people.
    pub name: Arc<str>,
}

/// All prices in force at one place of the log.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    by_model: HashMap<Provider, HashMap<Model, Vec<Arc<PricingTier>>>>,
    /// Every tier there ever was, by its name and revision: corrections are priced by the tier of the original.
    by_name: HashMap<(Arc<str>, RevisionId), Arc<PricingTier>>,
    revisions: Vec<RevisionId>,
}

impl Rates {
    /// Puts a sealed revision in force. A price replaces an earlier revision's price of the same model that begins at
    /// the same instant; all others stay, so that the past keeps its prices.
    pub fn put_in_force(&mut self, revision: &RevisionId, prices: Vec<Price>) {
        for price in prices {
            let names: Vec<Model> = std::iter::once(&price.model).chain(&price.aliases).cloned().collect();
            let models = self.by_model.entry(price.provider.clone()).or_default();
            let name: Arc<str> = price.tier_name().into();
            let tier = Arc::new(PricingTier { price, revision: revision.clone(), name });
            self.by_name.insert((Arc::clone(&tier.name), revision.clone()), Arc::clone(&tier));
            for model in names {
                let tiers = models.entry(model).or_default();
                let from = tier.price.effective_from;
                tiers.retain(|other| other.price.effective_from != from);
                let index = tiers.partition_point(|other| other.price.effective_from < from);
                tiers.insert(index, Arc::clone(&tier));
            }
        }
        self.revisions.push(revision.clone());
    }

    /// The sealed revisions, in the order in which they took effect.
    #[must_use]
    pub fn revisions(&self) -> &[RevisionId] {
        &self.revisions
    }

    /// The tier of this name in a revision, in force or replaced since.
    #[must_use]
    pub fn tier(&self, name: &str, revision: &RevisionId) -> Option<&Arc<PricingTier>> {
        self.by_name.get(&(Arc::from(name), revision.clone()))
    }

    /// Every tier in force by name, each once, sorted by provider, model and date.
    #[must_use]
    pub fn tiers(&self) -> Vec<Arc<PricingTier>> {
        let mut tiers: Vec<_> = self
            .by_model
            .values()
            .flat_map(|models| models.iter())
            .flat_map(|(name, tiers)| tiers.iter().filter(move |tier| tier.price.model == *name))
            .cloned()
            .collect();
        tiers.sort_by(|a, b| a.name.cmp(&b.name));
        tiers
    }

    /// The tier for the first of `models` that has one at `at`. A name matches exactly, as an alias, or without a
    /// trailing date (`gpt-5-2025-08-07`, `claude-sonnet-4-20250514`); never by a guess.
    #[must_use]
    pub fn find(
        &self,
        provider: &Provider,
        models: [Option<&Model>; 2],
        at: Timestamp,
    ) -> Option<&Arc<PricingTier>> {
        let known = self.by_model.get(provider)?;
        models.into_iter().flatten().find_map(|model| {
            let tiers = known.get(model).or_else(|| known.get(&without_date(model)?))?;
            let after = tiers.partition_point(|tier| tier.price.effective_from <= at);
            tiers.get(after.checked_sub(1)?)
        })
    }
}

/// The model's name without a trailing `-YYYY-MM-DD` or `-YYYYMMDD`, if it has one.
#[must_use]
pub fn without_date(model: &Model) -> Option<Model> {
    let name = model.as_str();
    let is_date = |suffix: &str| {
        let digits = suffix.bytes().filter(u8::is_ascii_digit).count();
        let dashes = suffix.bytes().filter(|byte| *byte == b'-').count();
        digits == 8 && matches!((suffix.len(), dashes), (9, 1) | (11, 3))
    };
    for length in [11, 9] {
        let Some(split) = name.len().checked_sub(length) else { continue };
        if let Some((stem, suffix)) = name.split_at_checked(split)
            && suffix.starts_with('-')
            && is_date(suffix)
        {
            return Model::new(stem).ok();
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn price(model: &str, from: &str, input: &str, output: &str) -> Price {
        Price {
            provider: Provider::new("openai").unwrap(),
            model: Model::new(model).unwrap(),
            aliases: vec![],
            effective_from: from.parse().unwrap(),
            usd_per_million_tokens: TokenPrices {
                input: input.parse().unwrap(),
                output: Some(output.parse().unwrap()),
                cache_read: None,
                cache_write_5m: None,
                cache_write_1h: None,
                reasoning: None,
            },
        }
    }

    #[test]
    fn a_price_holds_from_its_date_until_the_next() {
        let mut rates = Rates::default();
        let card = vec![
            price("o3", "2025-06-10T00:00:00Z", "2", "8"),
            price("o3", "2025-04-16T00:00:00Z", "10", "40"),
        ];
        rates.put_in_force(&RevisionId::new("r1").unwrap(), card);
        let model = Model::new("o3-2025-04-16").unwrap();
        let input = |at: &str| {
            rates
                .find(&Provider::new("openai").unwrap(), [None, Some(&model)], at.parse().unwrap())
                .map(|tier| tier.price.usd_per_million_tokens.input.to_string())
        };
        assert_eq!(input("2025-06-09T23:59:59.999999Z").as_deref(), Some("10"));
        assert_eq!(input("2025-06-10T00:00:00Z").as_deref(), Some("2"));
        assert_eq!(input("2025-04-15T00:00:00Z"), None);
    }

    #[test]
    fn a_wrong_card_is_refused_as_a_whole() {
        let same = price("o3", "2025-06-10T00:00:00Z", "2", "8");
        assert!(matches!(check_card(&[same.clone(), same.clone()]), Err(RatesError::Overlap { .. })));
        let mut routed = same.clone();
        (routed.provider, routed.model) = ("router/openai".parse().unwrap(), "gpt-5".parse().unwrap());
        let mut other = same;
        (other.provider, other.model) = ("router".parse().unwrap(), "openai/gpt-5".parse().unwrap());
        assert!(matches!(check_card(&[routed, other]), Err(RatesError::Overlap { .. })));
        let negative = price("o3", "2025-06-10T00:00:00Z", "-2", "8");
        assert!(matches!(check_card(&[negative]), Err(RatesError::Negative { line: "input", .. })));
        let absurd = price("o3", "2025-06-10T00:00:00Z", "2", "10001");
        assert!(matches!(check_card(&[absurd]), Err(RatesError::Absurd { line: "output", .. })));
    }

    #[test]
    fn only_a_date_is_cut_off_a_name() {
        let stem = |name: &str| without_date(&Model::new(name).unwrap()).map(String::from);
        assert_eq!(stem("gpt-5-2025-08-07").as_deref(), Some("gpt-5"));
        assert_eq!(stem("claude-sonnet-4-20250514").as_deref(), Some("claude-sonnet-4"));
        assert_eq!(stem("gpt-5-mini"), None);
        assert_eq!(stem("gpt-12345678x"), None);
    }
}
