//! Pure: what a rate card must hold to be put in force.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::card::{Card, Currency, DailyWindow, ModelRates, Price, RateTable, Terms};
use crate::amount::{Credits, PLACES, Rate};
use crate::id::Model;
use crate::pricing::MAX_CHARGE;
use crate::time::Timestamp;

/// Highest rate in US dollars: above it a rate card is taken for wrong.
pub const MAX_RATE: u32 = 10_000;
/// Highest rate in another currency.
pub const MAX_FOREIGN_RATE: u32 = 10_000_000;

/// A rate card that cannot hold: whose entry, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry}: {problem}")]
pub struct RatesError {
    /// The entry: `provider/model`, a provider, terms, a currency.
    pub entry: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with an entry of a rate card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A rate below zero.
    #[error("the rate of {0} is negative")]
    Negative(&'static str),
    /// A rate above [`MAX_RATE`] or [`MAX_FOREIGN_RATE`].
    #[error(
        "the rate of {0} is absurd: at most {MAX_RATE} USD ({MAX_FOREIGN_RATE} of another currency) for a million tokens, or for one of any other unit"
    )]
    Absurd(&'static str),
    /// Two prices, terms or exchange rates for the same usage.
    #[error("an overlap: {0}")]
    Overlap(String),
    /// Usage between two prices that none holds for.
    #[error("a gap: {0}")]
    Gap(String),
    /// A name that means two models or providers.
    #[error("the name {0} is that of {1} already")]
    Name(String, String),
    /// An entry that says nothing, or what cannot be.
    #[error("{0}")]
    Impossible(String),
}

impl Problem {
    fn of(self, entry: impl ToString) -> RatesError {
        RatesError { entry: entry.to_string(), problem: self }
    }
}

/// Refuses a card that cannot hold, whatever else is in force.
///
/// # Errors
/// The first entry, in the card's order, that is wrong in itself or beside the ones before it.
pub fn check_card(card: &Card) -> Result<(), RatesError> {
    let mut providers = HashMap::new();
    for names in &card.providers {
        for name in std::iter::once(&names.provider).chain(&names.aliases) {
            if let Some(other) = providers.insert(name, &names.provider) {
                return Err(Problem::Name(name.to_string(), other.to_string()).of(&names.provider));
            }
        }
    }
    let (mut names, mut patterns) = (HashMap::new(), HashMap::new());
    let mut tiers = HashSet::new();
    for model in &card.models {
        let entry = || format!("{}/{}", model.provider, model.model);
        model.check().map_err(|problem| problem.of(entry()))?;
        for name in std::iter::once(&model.model).chain(&model.aliases) {
            if let Some(other) = names.insert((&model.provider, name), &model.model) {
                return Err(Problem::Name(name.to_string(), Model::to_string(other)).of(entry()));
            }
        }
        for pattern in &model.patterns {
            if let Some(other) = patterns.insert((&model.provider, pattern), &model.model) {
                return Err(Problem::Name(pattern.to_string(), Model::to_string(other)).of(entry()));
            }
        }
        for price in &model.prices {
            // A charge is stored with the name of its tier: slashes in names could make two alike.
            let name = price.tier_name(model);
            if !tiers.insert(name.clone()) {
                return Err(Problem::Overlap(format!("two prices are named {name}")).of(entry()));
            }
        }
    }
    let mut conditions = HashSet::new();
    for terms in &card.terms {
        let entry = || format!("terms for {}", terms.conditions_text());
        terms.check().map_err(|problem| problem.of(entry()))?;
        if !conditions.insert((terms.conditions(), terms.effective_from)) {
            return Err(Problem::Overlap(format!("two begin at {}", terms.effective_from)).of(entry()));
        }
    }
    let mut worths = HashSet::new();
    for rate in &card.exchange_rates {
        if rate.currency == Currency::USD {
            return Err(Problem::Impossible("a dollar is a dollar".to_owned()).of("USD"));
        }
        if !worths.insert((rate.currency, rate.effective_from)) {
            let overlap = format!("two exchange rates begin at {}", rate.effective_from);
            return Err(Problem::Overlap(overlap).of(rate.currency));
        }
    }
    Ok(())
}

impl ModelRates {
    fn check(&self) -> Result<(), Problem> {
        if self.prices.is_empty() {
            return Err(Problem::Impossible("it has no price".to_owned()));
        }
        let positive = |limit: Option<i64>| limit.is_none_or(|limit| limit > 0);
        if !positive(self.facts.context_window) || !positive(self.facts.max_output_tokens) {
            return Err(Problem::Impossible(
                "the context window and the most output must be above 0".to_owned(),
            ));
        }
        let mut groups: BTreeMap<_, Vec<Option<DailyWindow>>> = BTreeMap::new();
        for price in &self.prices {
            price.check()?;
            groups.entry((price.variant(), price.effective_from)).or_default().push(price.hours);
        }
        groups.into_iter().try_for_each(|((_, from), hours)| check_day(from, &hours))
    }
}

impl Price {
    fn check(&self) -> Result<(), Problem> {
        check_rates(&self.rates, self.currency)?;
        let mut known: BTreeSet<_> = self.rates.iter().map(|(meter, _)| meter).collect();
        let mut length = 0;
        for longer in &self.above {
            if longer.input_tokens <= length {
                let order = "lengths of context must be above 0 and rise";
                return Err(Problem::Overlap(order.to_owned()));
            }
            length = longer.input_tokens;
            check_rates(&longer.rates, self.currency)?;
            for (meter, _) in longer.rates.iter() {
                if meter.with_parents().all(|meter| !known.contains(&meter)) {
                    return Err(Problem::Gap(format!(
                        "{meter} has a rate above {length} input tokens and none below"
                    )));
                }
                known.insert(meter);
            }
        }
        Ok(())
    }
}

fn check_rates(rates: &RateTable, currency: Currency) -> Result<(), Problem> {
    if rates.is_empty() {
        return Err(Problem::Impossible("a price without rates".to_owned()));
    }
    let highest = if currency == Currency::USD { MAX_RATE } else { MAX_FOREIGN_RATE };
    for (meter, rate) in rates.iter() {
        if rate.is_negative() {
            return Err(Problem::Negative(meter.as_str()));
        }
        if rate > Rate::from(highest) {
            return Err(Problem::Absurd(meter.as_str()));
        }
    }
    Ok(())
}

/// Of prices of one variant that begin together, one holds at every minute of the day: one without hours, which has the
/// rest of the day, or windows that leave no rest.
fn check_day(from: Timestamp, hours: &[Option<DailyWindow>]) -> Result<(), Problem> {
    let all_day = hours.iter().filter(|hours| hours.is_none()).count();
    if all_day > 1 {
        return Err(Problem::Overlap(format!("two prices of one variant begin at {from}")));
    }
    let mut spans: Vec<(u16, u16)> = hours.iter().flatten().flat_map(|window| window.spans()).collect();
    spans.sort_unstable();
    let mut minute = 0;
    for (begin, end) in spans.into_iter().chain([(DailyWindow::DAY, DailyWindow::DAY)]) {
        let at = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        if begin < minute {
            return Err(Problem::Overlap(format!("two prices hold at {}", at(begin))));
        }
        if begin > minute && all_day == 0 {
            return Err(Problem::Gap(format!("no price holds at {}", at(minute))));
        }
        minute = end;
    }
    Ok(())
}

impl Terms {
    fn check(&self) -> Result<(), Problem> {
        let Self { credits_per_usd, markup, minimum, rounding, provisional, .. } = self;
        let nothing = credits_per_usd.is_none()
            && markup.is_none()
            && minimum.is_none()
            && rounding.is_none()
            && provisional.is_none();
        if nothing {
            return Err(Problem::Impossible("they set nothing".to_owned()));
        }
        if minimum.is_some_and(|minimum| minimum.is_negative() || minimum > Credits::from(MAX_CHARGE)) {
            let problem = format!("the minimum must be from 0 to {MAX_CHARGE}, what one event can cost");
            return Err(Problem::Impossible(problem));
        }
        if rounding.is_some_and(|rounding| rounding.places > PLACES) {
            return Err(Problem::Impossible(format!("credits have at most {PLACES} decimal places")));
        }
        provisional.as_ref().map_or(Ok(()), |rates| check_rates(rates, Currency::USD))
    }
}
