//! Pure: what a rate card says. A [`Card`] is a part of a revision, or the whole of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

use crate::amount::{Credits, Factor, Rate, Rounding};
use crate::id::{Feature, Label, Model, Module, OrgId, Provider};
use crate::meter::Meter;
use crate::time::Timestamp;

/// Prices, and what is needed to find them and to turn them into credits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// Other names of providers.
    pub providers: Vec<ProviderNames>,
    /// Models with their prices.
    pub models: Vec<ModelRates>,
    /// What turns a cost into credits.
    pub terms: Vec<Terms>,
    /// What currencies other than the US dollar are worth.
    pub exchange_rates: Vec<ExchangeRate>,
}

impl Card {
    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.providers.len() + self.models.len() + self.terms.len() + self.exchange_rates.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the entries of another part.
    pub fn append(&mut self, mut other: Self) {
        self.providers.append(&mut other.providers);
        self.models.append(&mut other.models);
        self.terms.append(&mut other.terms);
        self.exchange_rates.append(&mut other.exchange_rates);
    }
}

/// Under which names a provider is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderNames {
    /// The name under which its models stand in the card.
    pub provider: Provider,
    /// Other names: `gen_ai.provider.name` of OpenTelemetry, those of gateways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Provider>,
    /// Whose prices hold for models that it has none of itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub falls_back_to: Vec<Provider>,
}

/// A model at a provider: under which names it is called, and its prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRates {
    /// Who serves the model.
    pub provider: Provider,
    /// The model's name.
    pub model: Model,
    /// Other names of the same model.
    pub aliases: Vec<Model>,
    /// Which other names mean this model.
    pub patterns: Vec<NamePattern>,
    /// What else is known of it.
    pub facts: ModelFacts,
    /// Its prices, of all dates and variants.
    pub prices: Vec<Price>,
}

/// What is known of a model beside its prices; none of it has a bearing on a charge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelFacts {
    /// Most input tokens of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<i64>,
    /// Most output tokens of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<i64>,
    /// When the provider withdraws it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated_at: Option<Timestamp>,
    /// What it can do: `chat`, `vision`, `function_calling`, ...
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Label>,
}

/// A rule for names of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// The name begins so.
    StartsWith(SmolStr),
    /// The name ends so.
    EndsWith(SmolStr),
    /// The name holds this.
    Contains(SmolStr),
}

/// A text that is no [`NamePattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pattern: write `name*`, `*name` or `*name*`")]
pub struct PatternError(String);

impl NamePattern {
    /// Whether a name is meant.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::StartsWith(text) => name.starts_with(text.as_str()),
            Self::EndsWith(text) => name.ends_with(text.as_str()),
            Self::Contains(text) => name.contains(text.as_str()),
        }
    }

    /// What the name has to hold.
    #[must_use]
    pub fn literal(&self) -> &str {
        match self {
            Self::StartsWith(text) | Self::EndsWith(text) | Self::Contains(text) => text,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartsWith(text) => write!(f, "{text}*"),
            Self::EndsWith(text) => write!(f, "*{text}"),
            Self::Contains(text) => write!(f, "*{text}*"),
        }
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (rest, ends_open) = text.strip_suffix('*').map_or((text, false), |rest| (rest, true));
        let (literal, begins_open) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
        let literal = Some(literal)
            .filter(|literal| !literal.is_empty() && !literal.contains('*') && literal.len() <= 256);
        match (literal, begins_open, ends_open) {
            (Some(literal), false, true) => Ok(Self::StartsWith(literal.into())),
            (Some(literal), true, false) => Ok(Self::EndsWith(literal.into())),
            (Some(literal), true, true) => Ok(Self::Contains(literal.into())),
            _ => Err(PatternError(text.to_owned())),
        }
    }
}

/// A dated price of a model: a pricing tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// For calls of one org alone; none for everyone's.
    pub org: Option<OrgId>,
    /// For calls of one service tier alone, such as `batch`, `flex` or `priority`; none for plain calls.
    pub service_tier: Option<Label>,
    /// For calls in one region of the provider alone; none for all regions without a price of their own.
    pub region: Option<Label>,
    /// For calls at some hours of the day alone; none for the rest of the day.
    pub hours: Option<DailyWindow>,
    /// Usage from this instant on has this price, until a later price of the same variant begins.
    /// [`Timestamp::EARLIEST`]: it always had.
    pub effective_from: Timestamp,
    /// What the rates are in.
    pub currency: Currency,
    /// Where the price is from.
    pub source: Option<Label>,
    /// The rates.
    pub rates: RateTable,
    /// What other rates hold for requests with a longer context, by length.
    pub above: Vec<LongContext>,
}

impl ModelRates {
    /// A model that goes by its name alone.
    #[must_use]
    pub fn new(provider: Provider, model: Model, prices: Vec<Price>) -> Self {
        let facts = ModelFacts::default();
        Self { provider, model, aliases: Vec::new(), patterns: Vec::new(), facts, prices }
    }
}

impl Price {
    /// A price in US dollars for every call.
    #[must_use]
    pub fn new(effective_from: Timestamp, rates: RateTable) -> Self {
        Self {
            org: None,
            service_tier: None,
            region: None,
            hours: None,
            effective_from,
            currency: Currency::USD,
            source: None,
            rates,
            above: Vec::new(),
        }
    }
}

/// The rates of requests with more input tokens than a threshold; what has no rate here keeps the one below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongContext {
    /// The whole request is charged so if it has more input tokens than this, strictly.
    pub input_tokens: i64,
    /// The rates.
    pub rates: RateTable,
}

/// Rates by meter: for a million tokens, or for one of any other unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateTable(Vec<(Meter, Rate)>);

impl RateTable {
    /// The rate of a meter, if it has one of its own.
    #[must_use]
    pub fn get(&self, meter: Meter) -> Option<Rate> {
        self.0.iter().find(|(other, _)| *other == meter).map(|(_, rate)| *rate)
    }

    /// Sets the rate of a meter.
    pub fn set(&mut self, meter: Meter, rate: Rate) {
        match self.0.binary_search_by_key(&meter, |(other, _)| *other) {
            Ok(index) => {
                if let Some(entry) = self.0.get_mut(index) {
                    entry.1 = rate;
                }
            }
            Err(index) => self.0.insert(index, (meter, rate)),
        }
    }

    /// All rates, in the order of meters.
    pub fn iter(&self) -> impl Iterator<Item = (Meter, Rate)> + '_ {
        self.0.iter().copied()
    }

    /// How many rates it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Meter, Rate)> for RateTable {
    fn from_iter<I: IntoIterator<Item = (Meter, Rate)>>(rates: I) -> Self {
        let mut table = Self::default();
        for (meter, rate) in rates {
            table.set(meter, rate);
        }
        table
    }
}

impl Serialize for RateTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(meter, rate)| (meter.as_str(), rate)))
    }
}

impl<'de> Deserialize<'de> for RateTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RateTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("rates by unit, each a decimal number as text")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<RateTable, A::Error> {
                let mut table = RateTable::default();
                while let Some(name) = map.next_key::<String>()? {
                    let meter = name.parse().map_err(de::Error::custom)?;
                    table.set(meter, map.next_value()?);
                }
                Ok(table)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// Hours of the day in UTC, from the first minute on and up to the last, exclusive; past midnight if that is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DailyWindow {
    from: u16,
    until: u16,
}

const MINUTES_OF_DAY: u16 = 24 * 60;

/// A text that is no [`DailyWindow`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` are no hours of the day: write them in UTC such as 16:30-00:30")]
pub struct WindowError(String);

impl DailyWindow {
    /// Whether an instant is within it.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        let minute = at.minute_of_day();
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }

    /// The parts of the day, each from a minute up to another.
    pub(super) fn spans(self) -> impl Iterator<Item = (u16, u16)> {
        let whole = self.from < self.until;
        let first = (self.from, if whole { self.until } else { MINUTES_OF_DAY });
        [Some(first), (!whole && self.until > 0).then_some((0, self.until))].into_iter().flatten()
    }

    /// How many minutes a day has.
    pub(super) const DAY: u16 = MINUTES_OF_DAY;
}

impl fmt::Display for DailyWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from, self.until);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl FromStr for DailyWindow {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let minute = |text: &str| {
            let (hour, minute) =
                text.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        text.split_once('-')
            .and_then(|(from, until)| Some(Self { from: minute(from)?, until: minute(until)? }))
            .filter(|window| window.from != window.until)
            .ok_or_else(|| WindowError(text.to_owned()))
    }
}

/// A currency by its ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// A text that is no [`Currency`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no currency: write its ISO 4217 code, three capital letters such as EUR")]
pub struct CurrencyError(String);

impl Currency {
    /// The US dollar.
    pub const USD: Self = Self(*b"USD");

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        <[u8; 3]>::try_from(text.as_bytes())
            .ok()
            .filter(|code| code.iter().all(u8::is_ascii_uppercase))
            .map(Self)
            .ok_or_else(|| CurrencyError(text.to_owned()))
    }
}

/// What turns a cost into credits, from an instant on, for the usage that all its conditions fit. Of what several terms
/// set, the most specific one's holds: org before model before provider before feature before module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// From when on, until later terms of the same conditions begin.
    #[serde(default = "earliest", skip_serializing_if = "is_earliest")]
    pub effective_from: Timestamp,
    /// Only for this org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgId>,
    /// Only for this model, by its name in the card; of a model without a price, by the name of the usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Only for what this provider served, by its name in the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Only for this feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<Feature>,
    /// Only for this module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
    /// Credits for one US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits_per_usd: Option<Factor>,
    /// What the credits are multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub markup: Option<Factor>,
    /// Least credits of a call that has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Credits>,
    /// How credits are rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// What usage without a price is charged meanwhile, in US dollars; none: nothing, until it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<RateTable>,
}

/// What a currency is worth from an instant on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeRate {
    /// The currency.
    pub currency: Currency,
    /// US dollars for one unit of it.
    pub usd: Factor,
    /// From when on, until the next.
    pub effective_from: Timestamp,
}

/// Since ever.
#[must_use]
pub const fn earliest() -> Timestamp {
    Timestamp::EARLIEST
}

/// Whether something holds since ever.
#[must_use]
pub fn is_earliest(at: &Timestamp) -> bool {
    *at == Timestamp::EARLIEST
}

macro_rules! by_text {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

by_text!(NamePattern, DailyWindow, Currency);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_of_the_day_go_past_midnight() {
        let window: DailyWindow = "16:30-00:30".parse().unwrap();
        let within = |at: &str| window.contains(format!("2026-11-22T{at}Z").parse().unwrap());
        assert!(within("16:30:00") && within("23:59:59.999999") && within("00:29:59.999999"));
        assert!(!within("16:29:59.999999") && !within("00:30:00"));
        assert_eq!(window.to_string(), "16:30-00:30");
        for text in ["16:30", "24:00-01:00", "1:30-2:30", "10:00-10:00", "10:60-11:00"] {
            assert!(text.parse::<DailyWindow>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_open_at_an_end_at_least() {
        let fits = |pattern: &str, name: &str| pattern.parse::<NamePattern>().unwrap().fits(name);
        assert!(fits("claude-*", "claude-4") && !fits("claude-*", "my-claude-4"));
        assert!(fits("*-gemini", "x-gemini") && fits("*gpt*", "a-gpt-5"));
        for text in ["gpt-5", "*", "**", "a*b*", ""] {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
        assert_eq!("*gpt*".parse::<NamePattern>().unwrap().to_string(), "*gpt*");
    }
}
