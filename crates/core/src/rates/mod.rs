//! Pure: dated prices of models, in revisions that take effect as a whole.
//!
//! A [`Card`] says what a revision brings, [`check_card`] what it must hold, [`Rates`] is all that is in force at one
//! place of the log. `docs/rates.md` explains the rules with examples.

mod canonical;
mod card;
mod check;
mod models;
mod shared;
mod terms;

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use foldhash::HashMap;
use smol_str::SmolStr;

use crate::amount::{Factor, Rate};
use crate::id::{Label, Model, OrgId, Provider, RevisionId};
use crate::meter::Meter;
use crate::time::Timestamp;

pub use canonical::{part_digest, revision_digest};
pub use card::{
    Card, Currency, CurrencyError, DailyWindow, ExchangeRate, LongContext, ModelFacts, ModelRates,
    NamePattern, PatternError, Price, ProviderNames, RateTable, Terms, WindowError, earliest, is_earliest,
};
pub use check::{MAX_FOREIGN_RATE, MAX_RATE, Problem, RatesError, check_card};
pub use models::{Audience, Matched, ModelEntry, without_date};
pub use shared::SharedRates;
pub(crate) use shared::history_after;
pub use terms::{AppliedTerms, Subject};

use models::ProviderRates;
use terms::TermsInForce;

/// Credits for one US dollar where no terms say otherwise, under rules version 1.
pub const CREDITS_PER_USD: NonZeroU16 = NonZeroU16::new(1000).unwrap();

/// Which of a model's prices holds for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variant<'price> {
    /// Whose call.
    pub org: Option<&'price OrgId>,
    /// Its service tier; none for a plain call.
    pub service_tier: Option<&'price Label>,
    /// The provider's region.
    pub region: Option<&'price Label>,
}

impl Price {
    /// For which calls it holds.
    #[must_use]
    pub const fn variant(&self) -> Variant<'_> {
        Variant {
            org: self.org.as_ref(),
            service_tier: self.service_tier.as_ref(),
            region: self.region.as_ref(),
        }
    }

    /// The tier's name for people: provider, model, what it is for, and the instant it begins.
    #[must_use]
    pub fn tier_name(&self, model: &ModelRates) -> String {
        TierName { provider: &model.provider, model: &model.model, price: self }.to_string()
    }

    /// The rate of a meter in a context of that many input tokens, and whose rate it is: its own, or that of the nearest
    /// parent that has one.
    #[must_use]
    pub fn rate(&self, meter: Meter, context: i128) -> Option<(Meter, Rate)> {
        meter.with_parents().find_map(|meter| {
            let longer = self.above.iter().rev().filter(|longer| context > i128::from(longer.input_tokens));
            let rate =
                longer.map(|longer| &longer.rates).chain([&self.rates]).find_map(|rates| rates.get(meter));
            rate.map(|rate| (meter, rate))
        })
    }
}

struct TierName<'price> {
    provider: &'price Provider,
    model: &'price Model,
    price: &'price Price,
}

impl fmt::Display for TierName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Price { org, service_tier, region, hours, effective_from, .. } = self.price;
        write!(f, "{}/{}", self.provider, self.model)?;
        if !is_earliest(effective_from) {
            write!(f, "@{effective_from}")?;
        }
        let texts = [("tier", service_tier.as_ref().map(|tier| tier.as_str()))]
            .into_iter()
            .chain([("region", region.as_ref().map(|region| region.as_str()))])
            .chain([("org", org.as_ref().map(|org| org.as_str()))]);
        for (name, value) in texts {
            if let Some(value) = value {
                write!(f, ";{name}={value}")?;
            }
        }
        hours.map_or(Ok(()), |hours| write!(f, ";hours={hours}"))
    }
}

/// A price in force, and the revision that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricingTier {
    /// Who serves the model.
    pub provider: Provider,
    /// The model's name.
    pub model: Model,
    /// Its other names at the time.
    pub aliases: Arc<[Model]>,
    /// The price.
    pub price: Price,
    /// The revision of the rates.
    pub revision: RevisionId,
    /// The tier's name for people.
    pub name: Arc<str>,
}

/// The tier for a call.
#[derive(Debug, Clone)]
pub struct Found<'rates> {
    /// The tier.
    pub tier: &'rates Arc<PricingTier>,
    /// Whether it is for calls of that service tier; if not, it is the model's price for plain calls.
    pub is_of_service_tier: bool,
    /// How the name led to the model.
    pub matched: Matched<'rates>,
    /// The name that did.
    pub name: SmolStr,
}

/// All rates in force at one place of the log.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// By the name under which the models stand in cards.
    providers: HashMap<Provider, ProviderRates>,
    /// Which provider another name means.
    provider_aliases: HashMap<Provider, Provider>,
    terms: TermsInForce,
    /// Every tier there ever was, by its name and revision: corrections are priced by the tier of the original.
    tiers: HashMap<(Arc<str>, RevisionId), Arc<PricingTier>>,
    revisions: Vec<RevisionId>,
}

impl Rates {
    /// Puts a revision in force. Its prices replace earlier revisions' prices of the same variant of a model that begin at
    /// the same instant, its names and facts of a model or provider those before; all else stays, so that the past keeps
    /// its prices.
    ///
    /// # Errors
    /// The card cannot hold, in itself or beside what is in force; then nothing has changed.
    pub fn put_in_force(&mut self, revision: &RevisionId, card: Card) -> Result<(), RatesError> {
        self.check(&card)?;
        self.put(revision, card);
        Ok(())
    }

    /// Refuses a card that cannot hold, in itself or beside what is in force.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn check(&self, card: &Card) -> Result<(), RatesError> {
        check_card(card)?;
        self.check_beside(card)
    }

    /// Puts a revision in force that was checked.
    pub(crate) fn put(&mut self, revision: &RevisionId, card: Card) {
        for names in card.providers {
            self.provider_aliases.retain(|_, provider| *provider != names.provider);
            for alias in names.aliases {
                self.provider_aliases.insert(alias, names.provider.clone());
            }
            self.providers.entry(names.provider).or_default().falls_back_to = names.falls_back_to;
        }
        // All names that models give up are free before others take them.
        for model in &card.models {
            self.providers.entry(model.provider.clone()).or_default().forget_names(&model.model);
        }
        for model in card.models {
            let aliases: Arc<[Model]> = model.aliases.as_slice().into();
            let tiers: Vec<Arc<PricingTier>> = model
                .prices
                .iter()
                .map(|price| {
                    Arc::new(PricingTier {
                        provider: model.provider.clone(),
                        model: model.model.clone(),
                        aliases: Arc::clone(&aliases),
                        price: price.clone(),
                        revision: revision.clone(),
                        name: price.tier_name(&model).into(),
                    })
                })
                .collect();
            for tier in &tiers {
                self.tiers.insert((Arc::clone(&tier.name), revision.clone()), Arc::clone(tier));
            }
            self.providers.entry(model.provider.clone()).or_default().put(model, tiers);
        }
        self.terms.add(card.terms, card.exchange_rates);
        self.revisions.push(revision.clone());
    }

    /// Refuses names that mean something else in force, and currencies without a worth.
    fn check_beside(&self, card: &Card) -> Result<(), RatesError> {
        let error = |entry: String, problem| RatesError { entry, problem };
        let renamed = |provider: &Provider| card.providers.iter().any(|names| names.provider == *provider);
        for names in &card.providers {
            let taken = self.provider_aliases.get(&names.provider).filter(|other| !renamed(other));
            if let Some(other) = taken {
                let problem = Problem::Name(names.provider.to_string(), other.to_string());
                return Err(error(names.provider.to_string(), problem));
            }
            for alias in &names.aliases {
                let has_models = self.providers.contains_key(alias)
                    || card.models.iter().any(|model| model.provider == *alias);
                let other = if has_models {
                    Some(alias)
                } else {
                    self.provider_aliases
                        .get(alias)
                        .filter(|other| **other != names.provider && !renamed(other))
                };
                if let Some(other) = other {
                    let problem = Problem::Name(alias.to_string(), other.to_string());
                    return Err(error(names.provider.to_string(), problem));
                }
            }
        }
        for model in &card.models {
            let entry = || format!("{}/{}", model.provider, model.model);
            if let Some(provider) = self.provider_aliases.get(&model.provider).filter(|other| !renamed(other))
            {
                let problem = Problem::Name(model.provider.to_string(), provider.to_string());
                return Err(error(entry(), problem));
            }
            if let Some(known) = self.providers.get(&model.provider) {
                let restated = |name: &Model| {
                    card.models.iter().any(|other| other.provider == model.provider && other.model == *name)
                };
                known.check_names(model, restated).map_err(|problem| error(entry(), problem))?;
            }
            for price in &model.prices {
                let worth = |at| {
                    self.terms.exchange_rate(price.currency, at).is_some()
                        || card
                            .exchange_rates
                            .iter()
                            .any(|rate| rate.currency == price.currency && rate.effective_from <= at)
                };
                if price.currency != Currency::USD && !worth(price.effective_from) {
                    let gap = format!("{} has no exchange rate at {}", price.currency, price.effective_from);
                    return Err(error(entry(), Problem::Gap(gap)));
                }
            }
        }
        Ok(())
    }

    /// The sealed revisions, in the order in which they took effect.
    #[must_use]
    pub fn revisions(&self) -> &[RevisionId] {
        &self.revisions
    }

    /// The tier of this name in a revision, in force or replaced since.
    #[must_use]
    pub fn tier(&self, name: &str, revision: &RevisionId) -> Option<&Arc<PricingTier>> {
        self.tiers.get(&(Arc::from(name), revision.clone()))
    }

    /// Every model in force, sorted by provider and name.
    #[must_use]
    pub fn models(&self) -> Vec<&ModelEntry> {
        let mut models: Vec<_> = self.providers.values().flat_map(ProviderRates::models).collect();
        models.sort_by_key(|entry| (&entry.provider, &entry.model));
        models
    }

    /// Every tier in force, by provider and model, and of those by variant and date.
    pub fn tiers(&self) -> impl Iterator<Item = &Arc<PricingTier>> {
        self.models().into_iter().flat_map(ModelEntry::tiers)
    }

    /// The name under which a provider's models stand in cards.
    #[must_use]
    pub fn provider<'name>(&'name self, name: &'name Provider) -> &'name Provider {
        if self.providers.contains_key(name) { name } else { self.provider_aliases.get(name).unwrap_or(name) }
    }

    /// The tier for the first of `names` that means a model with a price at `at`, at the provider or one whose prices hold
    /// for it. A name matches exactly, as an alias, without a trailing date (`gpt-5-2025-08-07`,
    /// `claude-sonnet-4-20250514`), or by a pattern of the card, the longest first; never by a guess.
    ///
    /// Of a model's prices that of the call's service tier comes before the plain one, then the org's own before
    /// everyone's, then that of the region.
    #[must_use]
    pub fn find<'rates, 'names>(
        &'rates self,
        provider: &Provider,
        names: impl IntoIterator<Item = &'names Model>,
        variant: Variant<'_>,
        at: Timestamp,
    ) -> Option<Found<'rates>> {
        let own = self.providers.get(self.provider(provider))?;
        names.into_iter().find_map(|name| {
            let others =
                own.falls_back_to.iter().filter_map(|other| self.providers.get(self.provider(other)));
            std::iter::once(own).chain(others).find_map(|provider| {
                let (entry, matched) = provider.find(name.as_str())?;
                let (tier, is_of_service_tier) = entry.tier(variant, at)?;
                Some(Found { tier, is_of_service_tier, matched, name: name.as_str().into() })
            })
        })
    }

    /// The model that a name means, whatever its prices, if `audience` may know of it.
    #[must_use]
    pub fn model(
        &self,
        provider: &Provider,
        name: &Model,
        audience: Audience<'_>,
    ) -> Option<(&ModelEntry, Matched<'_>)> {
        let own = self.providers.get(self.provider(provider))?;
        let others = own.falls_back_to.iter().filter_map(|other| self.providers.get(self.provider(other)));
        let mut found =
            std::iter::once(own).chain(others).filter_map(|provider| provider.find(name.as_str()));
        found.find(|(entry, _)| entry.is_known_to(audience))
    }

    /// The names that `audience` may know and that are most like one that means no model, the nearest first: for messages,
    /// never for prices.
    #[must_use]
    pub fn nearest(&self, provider: &Provider, name: &Model, audience: Audience<'_>) -> Vec<Model> {
        let own = self.providers.get(self.provider(provider));
        let names = own.into_iter().flat_map(|own| own.names(audience));
        let mut near: Vec<(f64, &str)> = names
            .map(|known| (strsim::jaro_winkler(known, name.as_str()), known))
            .filter(|(similarity, _)| *similarity > 0.8)
            .collect();
        near.sort_by(|(a, left), (b, right)| b.total_cmp(a).then(left.cmp(right)));
        near.into_iter().take(3).filter_map(|(_, name)| name.parse().ok()).collect()
    }

    /// What a currency was worth in US dollars; of the US dollar none.
    #[must_use]
    pub fn exchange_rate(&self, currency: Currency, at: Timestamp) -> Option<Factor> {
        self.terms.exchange_rate(currency, at)
    }

    /// The terms that fit a usage event whose model is priced by `tier`, the most specific first.
    pub fn terms_for<'rates>(
        &'rates self,
        subject: &Subject<'_>,
        tier: Option<&PricingTier>,
    ) -> impl Iterator<Item = &'rates Arc<Terms>> + use<'rates> {
        let (provider, model) = self.named(subject, tier);
        self.terms.fitting(subject, provider, model)
    }

    /// The terms of a charge.
    pub(crate) fn apply_terms(
        &self,
        subject: &Subject<'_>,
        tier: Option<&PricingTier>,
        exchange: Option<(Currency, Factor)>,
    ) -> Arc<AppliedTerms> {
        let (provider, model) = self.named(subject, tier);
        self.terms.apply(subject, provider, model, (tier.is_some(), exchange))
    }

    /// Who served it and which model, by their names in the card: of a model without a price the name that answered, or
    /// that was asked for.
    fn named<'all>(
        &'all self,
        subject: &Subject<'all>,
        tier: Option<&'all PricingTier>,
    ) -> (&'all Provider, Option<&'all Model>) {
        let model = tier.map(|tier| &tier.model).or_else(|| subject.models().next());
        (self.provider(subject.provider), model)
    }
}

#[cfg(test)]
pub(crate) mod tests;
