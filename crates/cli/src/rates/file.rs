//! The rate card as a TOML file: `revision`, `issued_at`, and an entry for each model, provider, terms and exchange rate.
//! `docs/rates.md` describes it.

use std::path::Path;

use fluxori_core::amount::Factor;
use fluxori_core::id::{Label, Model, OrgId, Provider, RevisionId};
use fluxori_core::rates::{
    Card, Currency, DailyWindow, ExchangeRate, LongContext, ModelFacts, ModelRates, NamePattern, Price,
    ProviderNames, RateTable, Rates, Terms, earliest, is_earliest,
};
use fluxori_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::CliError;

/// A rate card: a revision of the rates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RateCard {
    pub(crate) revision: RevisionId,
    /// When the card was made; part of what is signed, so that applying it again is the same command.
    pub(crate) issued_at: Timestamp,
    /// Where the prices are from.
    pub(crate) source: Option<String>,
    /// At least one entry.
    pub(crate) card: Card,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    revision: RevisionId,
    issued_at: Timestamp,
    source: Option<String>,
    #[serde(default)]
    provider: Vec<Spanned<ProviderNames>>,
    #[serde(default)]
    model: Vec<Spanned<ModelTable>>,
    #[serde(default)]
    terms: Vec<Spanned<Terms>>,
    #[serde(default)]
    exchange_rate: Vec<Spanned<ExchangeTable>>,
}

/// A model and its prices.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    provider: Provider,
    model: Model,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<Model>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<NamePattern>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context_window: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deprecated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    capabilities: Vec<Label>,
    #[serde(default)]
    price: Vec<PriceTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    #[serde(default = "earliest", skip_serializing_if = "is_earliest")]
    effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<OrgId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_tier: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hours: Option<DailyWindow>,
    #[serde(default = "dollars", skip_serializing_if = "is_dollars")]
    currency: Currency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Label>,
    rates: RateTable,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    above: Vec<LongContext>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeTable {
    currency: Currency,
    usd: Factor,
    #[serde(default = "earliest", skip_serializing_if = "is_earliest")]
    effective_from: Timestamp,
}

const fn dollars() -> Currency {
    Currency::USD
}

fn is_dollars(currency: &Currency) -> bool {
    *currency == Currency::USD
}

impl From<ModelTable> for ModelRates {
    fn from(table: ModelTable) -> Self {
        Self {
            provider: table.provider,
            model: table.model,
            aliases: table.aliases,
            patterns: table.patterns,
            facts: ModelFacts {
                context_window: table.context_window,
                max_output_tokens: table.max_output_tokens,
                deprecated_at: table.deprecated_at,
                capabilities: table.capabilities,
            },
            prices: table.price.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PriceTable> for Price {
    fn from(table: PriceTable) -> Self {
        let PriceTable { effective_from, org, service_tier, region, hours, currency, source, rates, above } =
            table;
        Self { org, service_tier, region, hours, effective_from, currency, source, rates, above }
    }
}

impl From<ExchangeTable> for ExchangeRate {
    fn from(table: ExchangeTable) -> Self {
        let ExchangeTable { currency, usd, effective_from } = table;
        Self { currency, usd, effective_from }
    }
}

impl RateCard {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| CliError::File {
            action: "cannot read",
            path: shown.clone(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| {
            CliError::Refused(format!("{shown} is no rate card that can be applied: {problem}"))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: CardFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let (provider_lines, providers) = with_lines(text, file.provider);
        let (model_lines, models) = with_lines(text, file.model);
        let (terms_lines, terms) = with_lines(text, file.terms);
        let (rate_lines, exchange_rates) = with_lines(text, file.exchange_rate);
        let card = Card { providers, models, terms, exchange_rates };
        if card.is_empty() {
            return Err(
                "it has no entry: a [[model]], [[provider]], [[terms]] or [[exchange_rate]]".to_owned()
            );
        }
        // What rates of no other revision would say; that its currencies have a worth is part of it.
        let check = |card: &Card| Rates::default().put_in_force(&file.revision, card.clone());
        if let Err(error) = check(&card) {
            // The first entry that does not hold after those before it, so that its line can be named.
            let lines = [provider_lines, rate_lines, model_lines, terms_lines].concat();
            let up_to = |entries: usize| first_entries(&card, entries);
            let holds = |entries: &usize| check(&up_to(*entries)).is_ok();
            let wrong = partition_point(card.len(), |entries| holds(&entries));
            let line = wrong.checked_sub(1).and_then(|index| lines.get(index));
            return Err(line.map_or_else(|| error.to_string(), |line| format!("line {line}: {error}")));
        }
        Ok(Self { revision: file.revision, issued_at: file.issued_at, source: file.source, card })
    }
}

/// The card's entries and the lines at which they begin.
fn with_lines<Table, Entry: From<Table>>(
    text: &str,
    entries: Vec<Spanned<Table>>,
) -> (Vec<usize>, Vec<Entry>) {
    let (mut line, mut offset) = (1, 0);
    entries
        .into_iter()
        .map(|entry| {
            let start = entry.span().start;
            line += text.get(offset..start).unwrap_or_default().matches('\n').count();
            offset = start;
            (line, Entry::from(entry.into_inner()))
        })
        .unzip()
}

/// The first entries of a card: providers, exchange rates, models, terms.
fn first_entries(card: &Card, mut count: usize) -> Card {
    let mut take = |length: usize| {
        let taken = length.min(count);
        count -= taken;
        taken
    };
    Card {
        providers: card.providers.iter().take(take(card.providers.len())).cloned().collect(),
        exchange_rates: card.exchange_rates.iter().take(take(card.exchange_rates.len())).cloned().collect(),
        models: card.models.iter().take(take(card.models.len())).cloned().collect(),
        terms: card.terms.iter().take(take(card.terms.len())).cloned().collect(),
    }
}

/// The least of the numbers up to `most` that does not hold, where all after one that does not do not either.
fn partition_point(most: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use fluxori_core::meter::Meter;

    use super::*;

    const CARD: &str = r#"
revision = "2026-11-01"
issued_at = "2026-11-01T00:00:00Z"

[[model]]
provider = "openai"
model = "o3"

[[model.price]]
effective_from = "2025-04-16T00:00:00Z"
rates = { input = "10", output = "40" }

[[model.price]]
effective_from = "2025-06-10T00:00:00Z"
rates = { input = "2", output = "8", cache_read = "0.5" }

[[model]]
provider = "openai"
model = "o4"
price = [{ rates = { input = "1" } }]
"#;

    fn error(from: &str, to: &str) -> String {
        RateCard::parse(&CARD.replacen(from, to, 1)).unwrap_err()
    }

    #[test]
    fn a_card_holds_its_prices_as_written() {
        let card = RateCard::parse(CARD).unwrap();
        assert_eq!((card.revision.as_str(), card.card.len()), ("2026-11-01", 2));
        let read = card.card.models[0].prices[1].rates.get(Meter::CacheRead).unwrap();
        assert_eq!(read.to_string(), "0.5");
        assert!(is_earliest(&card.card.models[1].prices[0].effective_from));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let twice = error("2025-06-10", "2025-04-16");
        assert!(twice.contains("line 5") && twice.contains("overlap"), "{twice}");
        let negative = error(r#"input = "1""#, r#"input = "-1""#);
        assert!(negative.contains("line 17") && negative.contains("negative"), "{negative}");
        let float = error(r#"input = "2""#, "input = 2.0");
        assert!(float.contains("line 15") && float.contains("string"), "{float}");
        let unknown = error("cache_read", "cached");
        assert!(unknown.contains("cached") && unknown.contains("cache_read"), "{unknown}");
        let date = error("2025-06-10T00:00:00Z", "2025-06-31");
        assert!(date.contains("line 14") && date.contains("2025-06-31"), "{date}");
        let name = error(r#"model = "o4""#, r#"model = "o3""#);
        assert!(name.contains("line 17") && name.contains("already"), "{name}");
        assert!(error("issued_at", "issued").contains("issued"));
        assert!(RateCard::parse("revision = \"1\"\nissued_at = \"2026-11-01T00:00:00Z\"").is_err());
    }

    #[test]
    fn the_card_that_ships_can_be_applied() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rates/2026-11.toml");
        let card = RateCard::read(&path).unwrap();
        let has = |name: &str| card.card.models.iter().any(|model| model.model.as_str() == name);
        assert!(["gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro", "deepseek-chat"].into_iter().all(has));
    }
}
