//! Pure: which terms hold for a usage event.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use super::card::{Currency, ExchangeRate, RateTable, Terms};
use crate::amount::{Credits, Factor, Rounding};
use crate::id::{Feature, Model, Module, OrgId, Provider};
use crate::time::Timestamp;

/// What terms can depend on.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'usage> {
    /// Who pays.
    pub org: &'usage OrgId,
    /// By which module, where it is known.
    pub module: Option<&'usage Module>,
    /// For which feature.
    pub feature: Option<&'usage Feature>,
    /// Who served it, as the usage says.
    pub provider: &'usage Provider,
    /// The model that answered, where it is known.
    pub response_model: Option<&'usage Model>,
    /// The model that was asked for.
    pub request_model: &'usage Model,
    /// When it occurred.
    pub at: Timestamp,
}

impl<'usage> Subject<'usage> {
    /// The names of its model: the one that answered first, where it is known.
    pub fn models(&self) -> impl Iterator<Item = &'usage Model> + use<'usage> {
        self.response_model.into_iter().chain([self.request_model])
    }
}

/// The terms of one charge: what turned its cost into credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedTerms {
    /// Credits for one US dollar.
    pub credits_per_usd: Factor,
    /// What the credits are multiplied by.
    pub markup: Factor,
    /// Least credits of a call that has a price.
    pub minimum: Credits,
    /// How credits are rounded.
    pub rounding: Rounding,
    /// What the currency of the rates was worth; none for US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<(Currency, Factor)>,
    /// What usage without a price is charged meanwhile, in US dollars; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<RateTable>,
}

impl AppliedTerms {
    /// What holds where no terms say otherwise: a thousand credits for a US dollar, half to even, to twelve places.
    #[must_use]
    pub fn standard() -> Arc<Self> {
        static STANDARD: LazyLock<Arc<AppliedTerms>> = LazyLock::new(|| {
            Arc::new(AppliedTerms {
                credits_per_usd: Factor::whole(super::CREDITS_PER_USD),
                markup: Factor::ONE,
                minimum: Credits::ZERO,
                rounding: Rounding::default(),
                exchange: None,
                provisional: None,
            })
        });
        Arc::clone(&STANDARD)
    }

    /// Whether no terms said otherwise.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        *self == *Self::standard()
    }
}

impl Terms {
    /// The conditions, the most specific first: org, model, provider, feature, module.
    #[must_use]
    pub fn conditions(&self) -> [Option<&str>; 5] {
        [
            self.org.as_ref().map(|id| id.as_str()),
            self.model.as_ref().map(|id| id.as_str()),
            self.provider.as_ref().map(|id| id.as_str()),
            self.feature.as_ref().map(|id| id.as_str()),
            self.module.as_ref().map(|id| id.as_str()),
        ]
    }

    /// The conditions for people.
    #[must_use]
    pub fn conditions_text(&self) -> String {
        let named = ["org", "model", "provider", "feature", "module"].into_iter().zip(self.conditions());
        let texts: Vec<String> =
            named.filter_map(|(name, value)| value.map(|value| format!("{name} {value}"))).collect();
        if texts.is_empty() { "everyone".to_owned() } else { texts.join(", ") }
    }

    fn fit(&self, subject: &Subject<'_>, provider: &Provider, model: Option<&Model>) -> bool {
        self.effective_from <= subject.at
            && self.org.as_ref().is_none_or(|org| org == subject.org)
            && self.model.as_ref().is_none_or(|wanted| Some(wanted) == model)
            && self.provider.as_ref().is_none_or(|wanted| wanted == provider)
            && self.feature.as_ref().is_none_or(|feature| Some(feature) == subject.feature)
            && self.module.as_ref().is_none_or(|module| Some(module) == subject.module)
    }
}

/// All terms and exchange rates in force.
#[derive(Debug, Clone, Default)]
pub(super) struct TermsInForce {
    /// By the org that they are for, or for everyone.
    terms: HashMap<Option<OrgId>, BTreeMap<Place, Arc<Terms>>>,
    /// The latest first.
    exchange_rates: BTreeMap<(Currency, Reverse<Timestamp>), Factor>,
}

/// The place of terms among those of an org: which conditions they do not have, what the others are, and when they begin.
/// The most specific come first, and of the same conditions the latest.
type Place = ([bool; 4], [String; 4], Reverse<Timestamp>);

fn place(terms: &Terms) -> Place {
    let [_, conditions @ ..] = terms.conditions();
    let values = conditions.map(|condition| condition.unwrap_or_default().to_owned());
    (conditions.map(|condition| condition.is_none()), values, Reverse(terms.effective_from))
}

impl TermsInForce {
    pub(super) fn add(&mut self, terms: Vec<Terms>, exchange_rates: Vec<ExchangeRate>) {
        for added in terms {
            self.terms.entry(added.org.clone()).or_default().insert(place(&added), Arc::new(added));
        }
        let worths = exchange_rates.into_iter();
        self.exchange_rates
            .extend(worths.map(|rate| ((rate.currency, Reverse(rate.effective_from)), rate.usd)));
    }

    /// What fits a usage event, the most specific first; of the same conditions only the latest. Of each condition one value
    /// fits, so no two of them are alike.
    pub(super) fn fitting<'rates>(
        &'rates self,
        subject: &Subject<'_>,
        provider: &Provider,
        model: Option<&Model>,
    ) -> impl Iterator<Item = &'rates Arc<Terms>> + use<'rates> {
        let mut fitting: Vec<&Arc<Terms>> = Vec::new();
        let own = self.terms.get(&Some(subject.org.clone()));
        for terms in own.into_iter().chain(self.terms.get(&None)).flat_map(BTreeMap::values) {
            let outdated = fitting.last().is_some_and(|last| last.conditions() == terms.conditions());
            if !outdated && terms.fit(subject, provider, model) {
                fitting.push(terms);
            }
        }
        fitting.into_iter()
    }

    /// The terms of a charge.
    pub(super) fn apply(
        &self,
        subject: &Subject<'_>,
        provider: &Provider,
        model: Option<&Model>,
        (has_price, exchange): (bool, Option<(Currency, Factor)>),
    ) -> Arc<AppliedTerms> {
        if self.terms.is_empty() && exchange.is_none() {
            return AppliedTerms::standard();
        }
        let mut applied = AppliedTerms { exchange, ..AppliedTerms::clone(&AppliedTerms::standard()) };
        let fitting: Vec<_> = self.fitting(subject, provider, model).collect();
        for terms in fitting.into_iter().rev() {
            applied.credits_per_usd = terms.credits_per_usd.unwrap_or(applied.credits_per_usd);
            applied.markup = terms.markup.unwrap_or(applied.markup);
            applied.minimum = terms.minimum.unwrap_or(applied.minimum);
            applied.rounding = terms.rounding.unwrap_or(applied.rounding);
            if !has_price && terms.provisional.is_some() {
                applied.provisional.clone_from(&terms.provisional);
            }
        }
        Arc::new(applied)
    }

    /// What a currency other than the US dollar was worth.
    pub(super) fn exchange_rate(&self, currency: Currency, at: Timestamp) -> Option<Factor> {
        let from = (currency, Reverse(at));
        let (found, usd) = self.exchange_rates.range(from..).next()?;
        (found.0 == currency).then_some(*usd)
    }
}
