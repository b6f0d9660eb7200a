//! Pure: what a card would change in the rates in force.

use std::collections::BTreeSet;

use fluxori_core::amount::{Factor, Rate};
use fluxori_core::id::{Model, Provider};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{Audience, PricingTier, Rates, RatesError};
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
            let models = rates.model(&model.provider, &model.model, Audience::Operator);
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
    let mut names: BTreeSet<(Provider, Model)> = BTreeSet::new();
    for model in &card.card.models {
        let own = std::iter::once(&model.model).chain(&model.aliases);
        names.extend(own.map(|name| (model.provider.clone(), name.clone())));
    }
    for entry in before.models() {
        let own = std::iter::once(&entry.model).chain(&entry.aliases);
        names.extend(own.map(|name| (entry.provider.clone(), name.clone())));
    }
    let meant = |rates: &Rates, provider: &Provider, name: &Model| {
        rates
            .model(provider, name, Audience::Operator)
            .map(|(entry, _)| format!("{}/{}", entry.provider, entry.model))
    };
    let moved = names.into_iter().filter_map(|(provider, name)| {
        let (from, to) = (meant(before, &provider, &name)?, meant(after, &provider, &name)?);
        (from != to).then_some(MovedName { provider, name, from, to })
    });
    moved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
revision = "r1"
issued_at = "2026-11-01T00:00:00Z"

[[model]]
provider = "openai"
model = "a"
aliases = ["a-latest"]
price = [
  { rates = { input = "1", output = "4" }, above = [{ input_tokens = 1000, rates = { input = "2" } }] },
  { service_tier = "batch", rates = { input = "0.5" } },
]

[[model]]
provider = "openai"
model = "b"
price = [{ rates = { input = "1" } }]
"#;

    fn card(text: &str) -> RateCard {
        RateCard::parse("card.toml", text, &[]).unwrap()
    }

    fn changed(change: &[(&str, &str)]) -> Changes {
        let before = card(BEFORE);
        let mut rates = Rates::default();
        rates.put_in_force(&before.revision, before.card).unwrap();
        let mut text = BEFORE.replace("r1", "r2");
        for (from, to) in change {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        changes(&rates, &card(&text)).unwrap()
    }

    fn factor(text: &str) -> Factor {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_prices_in_a_new_revision_change_nothing() {
        let changes = changed(&[]);
        assert!(changes.is_empty(), "{changes:?}");
        assert_eq!(changes.same, 3);
    }

    #[test]
    fn a_rate_that_moves_is_told_with_its_factor_and_at_which_length_of_context() {
        let changes = changed(&[("input = \"2\"", "input = \"6.5\"")]);
        let [change] = changes.changed.as_slice() else { panic!("{changes:?}") };
        let [moved] = change.rates.as_slice() else { panic!("{change:?}") };
        assert_eq!((moved.unit, moved.above, moved.factor().unwrap().as_str()), (Meter::Input, 1000, "3.25"));
        assert_eq!(changes.beyond(factor("3")).count(), 1);
        assert_eq!(changes.beyond(factor("3.25")).count(), 0, "not more than the factor");
    }

    #[test]
    fn a_price_that_begins_later_is_compared_with_the_one_before_it() {
        let later = "rates = { input = \"1\" } }, { effective_from = \"2027-01-01T00:00:00Z\", rates = { input = \"0.25\" } }]";
        let changes = changed(&[("rates = { input = \"1\" } }]", later)]);
        let [change] = changes.changed.as_slice() else { panic!("{changes:?}") };
        assert_eq!(
            (change.tier.as_str(), change.before.as_str()),
            ("openai/b@2027-01-01T00:00:00Z", "openai/b")
        );
        assert_eq!(change.rates[0].factor().unwrap(), "0.25");
        assert_eq!(changes.beyond(factor("3")).count(), 1, "down counts as up does");
    }

    #[test]
    fn what_was_not_free_and_is_and_the_other_way_round_is_beyond_every_factor() {
        let changes = changed(&[("input = \"0.5\"", "input = \"0\"")]);
        assert_eq!(changes.beyond(factor("1000000")).count(), 1);
        assert_eq!(changes.changed[0].rates[0].factor().unwrap(), "0.00");
    }

    #[test]
    fn new_models_new_tiers_and_names_that_move_are_told() {
        let new_model = "[[model]]\nprovider = \"openai\"\nmodel = \"c\"\nprice = [{ rates = { input = \"1\" } }]\n\n[[model]]\nprovider = \"openai\"\nmodel = \"b\"\naliases = [\"a-latest\"]";
        let changes = changed(&[
            ("[[model]]\nprovider = \"openai\"\nmodel = \"b\"", new_model),
            ("aliases = [\"a-latest\"]\nprice", "price"),
            ("service_tier = \"batch\"", "service_tier = \"flex\""),
        ]);
        assert_eq!(changes.new_models, ["openai/c"]);
        assert_eq!(changes.new_tiers, ["openai/a;tier=flex"]);
        let [moved] = changes.moved_names.as_slice() else { panic!("{changes:?}") };
        assert_eq!(
            (moved.name.as_str(), moved.from.as_str(), moved.to.as_str()),
            ("a-latest", "openai/a", "openai/b")
        );
        assert!(changes.dropped.is_empty(), "what the card does not restate stays");
    }
}
