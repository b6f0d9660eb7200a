//! Pure: from a model's name to the tier of its prices.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;
use smol_str::SmolStr;

use super::card::{ModelFacts, ModelRates, NamePattern};
use super::check::Problem;
use super::{PricingTier, Variant};
use crate::id::{Model, OrgId, Provider};
use crate::time::Timestamp;

/// How a name led to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched<'rates> {
    /// It is the model's name.
    Exact,
    /// It is another name of the model.
    Alias,
    /// It is a name of the model with a date behind it.
    Dated,
    /// A pattern of the rate card fits it.
    Pattern(&'rates NamePattern),
}

impl fmt::Display for Matched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Alias => f.write_str("alias"),
            Self::Dated => f.write_str("dated"),
            Self::Pattern(pattern) => write!(f, "pattern {pattern}"),
        }
    }
}

/// A model in force.
#[derive(Debug, Clone)]
pub struct ModelEntry {
    /// Who serves it.
    pub provider: Provider,
    /// Its name.
    pub model: Model,
    /// Its other names.
    pub aliases: Vec<Model>,
    /// Which other names mean it.
    pub patterns: Vec<NamePattern>,
    /// What else is known of it.
    pub facts: ModelFacts,
    /// Its tiers for everyone, by variant and date; those of one variant and date share the day.
    everyone: Vec<Arc<PricingTier>>,
    /// Its tiers for one org.
    by_org: BTreeMap<OrgId, Vec<Arc<PricingTier>>>,
}

/// Who is told of a model: one that has prices for some orgs alone is no other org's business.
#[derive(Debug, Clone, Copy)]
pub enum Audience<'org> {
    /// Operators see all.
    Operator,
    /// An org sees what has a price for everyone, or for itself.
    Org(&'org OrgId),
}

impl ModelEntry {
    /// Its tiers, those for everyone first, by variant and date.
    pub fn tiers(&self) -> impl Iterator<Item = &Arc<PricingTier>> {
        self.everyone.iter().chain(self.by_org.values().flatten())
    }

    /// Whether somebody may know of it.
    #[must_use]
    pub fn is_known_to(&self, audience: Audience<'_>) -> bool {
        match audience {
            Audience::Operator => true,
            Audience::Org(org) => !self.everyone.is_empty() || self.by_org.contains_key(org),
        }
    }

    /// The tier for a call, and whether it is for calls of that service tier.
    #[must_use]
    pub fn tier(&self, call: Variant<'_>, at: Timestamp) -> Option<(&Arc<PricingTier>, bool)> {
        let fits = |tier: &&Arc<PricingTier>| {
            let Variant { service_tier, region, .. } = tier.price.variant();
            (service_tier.is_none() || service_tier == call.service_tier)
                && (region.is_none() || region == call.region)
                && tier.price.effective_from <= at
                && tier.price.hours.is_none_or(|hours| hours.contains(at))
        };
        let own = call.org.and_then(|org| self.by_org.get(org));
        let best = own.into_iter().flatten().chain(&self.everyone).filter(fits).max_by_key(|tier| {
            let Variant { org, service_tier, region } = tier.price.variant();
            let hours = tier.price.hours.is_some();
            (service_tier.is_some(), org.is_some(), region.is_some(), tier.price.effective_from, hours)
        })?;
        Some((best, best.price.service_tier.as_ref() == call.service_tier))
    }

    fn put(&mut self, added: Vec<Arc<PricingTier>>) {
        let place = |tier: &PricingTier| {
            let Variant { org, service_tier, region } = tier.price.variant();
            (org.cloned(), service_tier.cloned(), region.cloned(), tier.price.effective_from)
        };
        let replaced: HashSet<_> = added.iter().map(|tier| place(tier)).collect();
        let stays = |tier: &Arc<PricingTier>| !replaced.contains(&place(tier));
        self.everyone.retain(stays);
        self.by_org.values_mut().for_each(|tiers| tiers.retain(stays));
        for tier in added {
            match &tier.price.org {
                None => self.everyone.push(tier),
                Some(org) => self.by_org.entry(org.clone()).or_default().push(tier),
            }
        }
        for tiers in std::iter::once(&mut self.everyone).chain(self.by_org.values_mut()) {
            tiers.sort_by_cached_key(|tier| (place(tier), tier.price.hours));
        }
    }
}

/// The models of a provider.
#[derive(Debug, Clone, Default)]
pub(super) struct ProviderRates {
    /// Whose prices hold for models that it has none of itself.
    pub(super) falls_back_to: Vec<Provider>,
    models: Vec<ModelEntry>,
    /// Which model a name means, by its place, and whether it is another name of it.
    names: HashMap<SmolStr, (usize, bool)>,
    /// The longest first.
    patterns: Vec<(NamePattern, usize)>,
}

impl ProviderRates {
    pub(super) fn models(&self) -> impl Iterator<Item = &ModelEntry> {
        self.models.iter()
    }

    /// All names that somebody may know.
    pub(super) fn names(&self, audience: Audience<'_>) -> impl Iterator<Item = &str> {
        let known =
            move |index: usize| self.models.get(index).is_some_and(|entry| entry.is_known_to(audience));
        self.names.iter().filter(move |(_, (index, _))| known(*index)).map(|(name, _)| name.as_str())
    }

    /// Refuses names that mean another model, but one that is restated in the same card.
    pub(super) fn check_names(
        &self,
        model: &ModelRates,
        restated: impl Fn(&Model) -> bool,
    ) -> Result<(), Problem> {
        for name in std::iter::once(&model.model).chain(&model.aliases) {
            let owner = self
                .names
                .get(name.as_str())
                .and_then(|(index, alias)| Some((self.models.get(*index)?, alias)));
            if let Some((owner, alias)) = owner
                && owner.model != model.model
                && !(*alias && restated(&owner.model))
            {
                return Err(Problem::Name(name.to_string(), owner.model.to_string()));
            }
        }
        for pattern in &model.patterns {
            let owner = self.patterns.iter().find(|(other, _)| other == pattern);
            let owner = owner.and_then(|(_, index)| self.models.get(*index));
            if let Some(owner) = owner
                && owner.model != model.model
                && !restated(&owner.model)
            {
                return Err(Problem::Name(pattern.to_string(), owner.model.to_string()));
            }
        }
        Ok(())
    }

    /// Takes the other names from a model that a card states anew.
    pub(super) fn forget_names(&mut self, model: &Model) {
        let Some((place, _)) = self.names.get(model.as_str()).copied() else { return };
        self.names.retain(|_, (index, alias)| *index != place || !*alias);
        self.patterns.retain(|(_, index)| *index != place);
    }

    /// Puts a model in, or its names, facts and prices in the place of those before.
    pub(super) fn put(&mut self, rates: ModelRates, tiers: Vec<Arc<PricingTier>>) {
        let ModelRates { provider, model, aliases, patterns, facts, .. } = rates;
        let place = self.names.get(model.as_str()).map_or(self.models.len(), |(index, _)| *index);
        self.names.insert(model.as_str().into(), (place, false));
        self.names.extend(aliases.iter().map(|alias| (alias.as_str().into(), (place, true))));
        self.patterns.extend(patterns.iter().map(|pattern| (pattern.clone(), place)));
        self.patterns.sort_by(|(a, _), (b, _)| b.literal().len().cmp(&a.literal().len()).then(a.cmp(b)));
        let (everyone, by_org) = (Vec::new(), BTreeMap::new());
        let mut entry = ModelEntry { provider, model, aliases, patterns, facts, everyone, by_org };
        match self.models.get_mut(place) {
            Some(before) => {
                entry.everyone = std::mem::take(&mut before.everyone);
                entry.by_org = std::mem::take(&mut before.by_org);
                entry.put(tiers);
                *before = entry;
            }
            None => {
                entry.put(tiers);
                self.models.push(entry);
            }
        }
    }

    /// The model that a name means.
    pub(super) fn find(&self, name: &str) -> Option<(&ModelEntry, Matched<'_>)> {
        let by_name = |name: &str| self.names.get(name).copied();
        let (index, matched) = if let Some((index, alias)) = by_name(name) {
            (index, if alias { Matched::Alias } else { Matched::Exact })
        } else if let Some((index, _)) = without_date(name).and_then(by_name) {
            (index, Matched::Dated)
        } else {
            let (pattern, index) = self.patterns.iter().find(|(pattern, _)| pattern.fits(name))?;
            (*index, Matched::Pattern(pattern))
        };
        Some((self.models.get(index)?, matched))
    }
}

/// A name without a trailing `-YYYY-MM-DD` or `-YYYYMMDD`, if it has one.
#[must_use]
pub fn without_date(name: &str) -> Option<&str> {
    let is_date = |suffix: &str| {
        let digits = suffix.bytes().filter(u8::is_ascii_digit).count();
        let dashes = suffix.bytes().filter(|byte| *byte == b'-').count();
        digits == 8 && matches!((suffix.len(), dashes), (9, 1) | (11, 3))
    };
    [11, 9].into_iter().find_map(|length| {
        let (stem, suffix) = name.split_at_checked(name.len().checked_sub(length)?)?;
        (suffix.starts_with('-') && is_date(suffix) && !stem.is_empty()).then_some(stem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_date_is_cut_off_a_name() {
        assert_eq!(without_date("gpt-5-2025-08-07"), Some("gpt-5"));
        assert_eq!(without_date("claude-sonnet-4-20250514"), Some("claude-sonnet-4"));
        assert_eq!(without_date("gpt-5-mini"), None);
        assert_eq!(without_date("gpt-12345678x"), None);
        assert_eq!(without_date("-20250514"), None);
    }
}
