//! Pure: what a card would change in the rates in force.

use std::collections::BTreeMap;

use fluxori_core::amount::{Factor, Rate};
use fluxori_core::id::{Model, Provider};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{PricingTier, Rates, RatesError};
use serde::Serialize;

use crate::file::RateCard;

/// What a card would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Models that have no price yet.
    pub new_models: Vec<String>,
    /// Prices of known models that had none of their kind: a service tier, a region, hours.
    pub new_tiers: Vec<String>,
    /// Prices that take the place of others, or begin after them, and are not the same.
    pub changed: Vec<Change>,
    /// Prices that would be no longer in force, and have none in their place.
    pub dropped: Vec<String>,
    /// Names that would mean another model.
    pub moved_names: Vec<MovedName>,
    /// Prices that the card repeats as they are.
    pub same: usize,
}

/// A price that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Who serves the model.
    pub provider: Provider,
    /// The model.
    pub model: Model,
    /// The price by the name of its tier.
    pub tier: String,
    /// The price that held there before, by the name of its tier.
    pub before: String,
    /// Which rates change.
    pub rates: Vec<RateMove>,
}

/// A rate that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RateMove {
    /// Of what.
    pub unit: Meter,
    /// In contexts of more input tokens than this; 0 for all shorter ones.
    pub above: i64,
    /// The rate before; none if there was none.
    pub from: Option<Rate>,
    /// The rate after; none if there is none any more.
    pub to: Option<Rate>,
}

/// A name that would mean another model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedName {
    /// At which provider.
    pub provider: Provider,
    /// The name.
    pub name: Model,
    /// What it means now.
    pub from: String,
    /// What it would mean.
    pub to: String,
}

impl RateMove {
    /// Whether the rate moves by more than a factor up or down, or from or to nothing.
    #[must_use]
    pub fn is_beyond(&self, factor: Factor) -> bool {
        let (Some(from), Some(to)) = (self.from, self.to) else { return false };
        let (less, more) = (from.min(to).decimal(), from.max(to).decimal());
        less.checked_mul(factor.decimal()).is_none_or(|most| more > most)
    }

    /// The new rate by the old, to two places, for people.
    #[must_use]
    pub fn factor(&self) -> Option<String> {
        let (from, to) = (self.from?.to_scaled(), self.to?.to_scaled());
        let hundredths = to.checked_mul(100)?.checked_div(from)?;
        Some(format!("{}.{:02}", hundredths / 100, hundredths % 100))
    }
}

impl Changes {
    /// The rates that move by more than a factor.
    pub fn beyond(&self, factor: Factor) -> impl Iterator<Item = (&Change, &RateMove)> {
        self.changed.iter().flat_map(move |change| {
            let beyond = change.rates.iter().filter(move |rate| rate.is_beyond(factor));
            beyond.map(move |rate| (change, rate))
        })
    }

    /// Whether the card changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.new_models.is_empty()
            && self.new_tiers.is_empty()
            && self.changed.is_empty()
            && self.dropped.is_empty()
            && self.moved_names.is_empty()
    }
}

/// What a card would change in the rates in force.
///
/// # Errors
/// The card cannot hold beside them.
pub fn changes(before: &Rates, card: &RateCard) -> Result<Changes, RatesError> {
    let mut after = before.clone();
    after.put_in_force(&card.revision, card.card.clone())?;
    let mut changes = Changes::default();
    for model in &card.card.models {
        let entry = |rates: &'_ Rates| {
            let models = rates.model(&model.provider, &model.model);
            models
                .filter(|(entry, _)| entry.provider == model.provider && entry.model == model.model)
                .map(|(e, _)| e.clone())
        };
        let (was, Some(is)) = (entry(before), entry(&after)) else { continue };
        let Some(was) = was else {
            changes.new_models.push(format!("{}/{}", model.provider, model.model));
            continue;
        };
        let old: Vec<&PricingTier> = was.tiers().map(|tier| &**tier).collect();
        let new: Vec<&PricingTier> = is.tiers().map(|tier| &**tier).collect();
        let stated = |tier: &&&PricingTier| tier.revision == card.revision;
        for tier in new.iter().filter(stated) {
            match before_it(&old, tier) {
                None => changes.new_tiers.push(tier.name.to_string()),
                Some(before) => {
                    let rates = moves(before, tier);
                    if rates.is_empty() && before.name == tier.name {
                        changes.same += 1;
                    } else if !rates.is_empty() {
                        changes.changed.push(Change {
                            provider: model.provider.clone(),
                            model: model.model.clone(),
                            tier: tier.name.to_string(),
                            before: before.name.to_string(),
                            rates,
                        });
                    }
                }
            }
        }
        let gone = old.iter().filter(|tier| !new.iter().any(|other| other.name == tier.name));
        changes.dropped.extend(gone.map(|tier| tier.name.to_string()));
    }
    changes.moved_names = moved_names(before, &after, card);
    Ok(changes)
}

/// The price that held for the same calls when a price begins: its namesake, or the last of its variant before it.
fn before_it<'tiers>(old: &[&'tiers PricingTier], tier: &PricingTier) -> Option<&'tiers PricingTier> {
    let namesake = old.iter().find(|other| other.name == tier.name);
    let earlier = || {
        let price = &tier.price;
        let of_variant = old.iter().filter(|other| {
            other.price.variant() == price.variant() && other.price.effective_from <= price.effective_from
        });
        let fits = of_variant.filter(|other| other.price.hours == price.hours || other.price.hours.is_none());
        fits.max_by_key(|other| (other.price.effective_from, other.price.hours.is_some()))
    };
    namesake.or_else(earlier).copied()
}

/// The rates that differ, at every length of context at which one of them changes.
fn moves(before: &PricingTier, after: &PricingTier) -> Vec<RateMove> {
    let lengths =
        |tier: &PricingTier| tier.price.above.iter().map(|longer| longer.input_tokens).collect::<Vec<_>>();
    let mut lengths = [vec![0], lengths(before), lengths(after)].concat();
    lengths.sort_unstable();
    lengths.dedup();
    let mut moves: Vec<RateMove> = Vec::new();
    for above in lengths {
        let context = i128::from(above) + 1;
        for meter in Meter::rated() {
            let own = |tier: &PricingTier| {
                let longer = tier.price.above.iter().map(|longer| &longer.rates);
                std::iter::once(&tier.price.rates).chain(longer).any(|rates| rates.get(meter).is_some())
            };
            if !own(before) && !own(after) {
                continue;
            }
            let rate = |tier: &PricingTier| tier.price.rate(meter, context).map(|(_, rate)| rate);
            let (from, to) = (rate(before), rate(after));
            let told = moves.iter().any(|other| other.unit == meter && (other.from, other.to) == (from, to));
            if from != to && !told {
                moves.push(RateMove { unit: meter, above, from, to });
            }
        }
    }
    moves
}

/// Names of the card and of what is in force that would mean another model.
fn moved_names(before: &Rates, after: &Rates, card: &RateCard) -> Vec<MovedName> {
    let mut names: BTreeMap<(Provider, Model), ()> = BTreeMap::new();
    for model in &card.card.models {
        let own = std::iter::once(&model.model).chain(&model.aliases);
        names.extend(own.map(|name| ((model.provider.clone(), name.clone()), ())));
    }
    for entry in before.models() {
        let own = std::iter::once(&entry.model).chain(&entry.aliases);
        names.extend(own.map(|name| ((entry.provider.clone(), name.clone()), ())));
    }
    let meant = |rates: &Rates, provider: &Provider, name: &Model| {
        rates.model(provider, name).map(|(entry, _)| format!("{}/{}", entry.provider, entry.model))
    };
    let moved = names.into_keys().filter_map(|(provider, name)| {
        let (from, to) = (meant(before, &provider, &name)?, meant(after, &provider, &name)?);
        (from != to).then_some(MovedName { provider, name, from, to })
    });
    moved.collect()
}
