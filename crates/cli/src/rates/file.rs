//! The rate card as a TOML file: `revision`, `issued_at`, and a `[[price]]` for each price.

use std::path::Path;

use fluxori_core::amount::Usd;
use fluxori_core::id::{Model, Provider, RevisionId};
use fluxori_core::rates::{Price, TokenPrices, check_card};
use fluxori_core::time::Timestamp;
use serde::Deserialize;
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
    /// At least one.
    pub(crate) prices: Vec<Price>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    revision: RevisionId,
    issued_at: Timestamp,
    source: Option<String>,
    #[serde(default)]
    price: Vec<Spanned<PriceTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    provider: Provider,
    model: Model,
    #[serde(default)]
    aliases: Vec<Model>,
    effective_from: Timestamp,
    input: Usd,
    output: Option<Usd>,
    cache_read: Option<Usd>,
    cache_write_5m: Option<Usd>,
    cache_write_1h: Option<Usd>,
    reasoning: Option<Usd>,
}

impl From<PriceTable> for Price {
    fn from(table: PriceTable) -> Self {
        Self {
            provider: table.provider,
            model: table.model,
            aliases: table.aliases,
            effective_from: table.effective_from,
            usd_per_million_tokens: TokenPrices {
                input: table.input,
                output: table.output,
                cache_read: table.cache_read,
                cache_write_5m: table.cache_write_5m,
                cache_write_1h: table.cache_write_1h,
                reasoning: table.reasoning,
            },
        }
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
        if file.price.is_empty() {
            return Err("it has no [[price]]".to_owned());
        }
        let lines: Vec<usize> = file.price.iter().map(|price| line_of(text, price.span().start)).collect();
        let prices: Vec<Price> =
            file.price.into_iter().map(|price| Price::from(price.into_inner())).collect();
        // The card up to each price, so that the first that does not hold can be named by its line.
        let at_line = |problem: String| {
            let wrong =
                (1..=prices.len()).find(|end| prices.get(..*end).is_some_and(|p| check_card(p).is_err()));
            let line = wrong.and_then(|end| lines.get(end - 1));
            line.map_or(problem.clone(), |line| format!("the [[price]] at line {line}: {problem}"))
        };
        check_card(&prices).map_err(|error| at_line(error.to_string()))?;
        Ok(Self { revision: file.revision, issued_at: file.issued_at, source: file.source, prices })
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = r#"
revision = "2026-11-01"
issued_at = "2026-11-01T00:00:00Z"

[[price]]
provider = "openai"
model = "o3"
effective_from = "2025-04-16T00:00:00Z"
input = "10"
output = "40"

[[price]]
provider = "openai"
model = "o3"
effective_from = "2025-06-10T00:00:00Z"
input = "2"
output = "8"
cache_read = "0.5"
"#;

    fn error(from: &str, to: &str) -> String {
        RateCard::parse(&CARD.replacen(from, to, 1)).unwrap_err()
    }

    #[test]
    fn a_card_holds_its_prices_as_written() {
        let card = RateCard::parse(CARD).unwrap();
        assert_eq!((card.revision.as_str(), card.prices.len()), ("2026-11-01", 2));
        let read = card.prices[1].usd_per_million_tokens.cache_read.unwrap();
        assert_eq!(read.to_string(), "0.5");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let twice = error("2025-06-10", "2025-04-16");
        assert!(twice.contains("line 12") && twice.contains("two prices"), "{twice}");
        let negative = error(r#"input = "10""#, r#"input = "-10""#);
        assert!(negative.contains("line 5") && negative.contains("negative"), "{negative}");
        let float = error(r#"input = "2""#, "input = 2.0");
        assert!(float.contains("line 16") && float.contains("string"), "{float}");
        let unknown = error("cache_read", "cached");
        assert!(unknown.contains("cached") && unknown.contains("cache_read"), "{unknown}");
        assert!(error("[[price]]", "[[prices]]").contains("prices"));
        assert!(RateCard::parse("revision = \"1\"\nissued_at = \"2026-11-01T00:00:00Z\"").is_err());
    }

    #[test]
    fn the_card_that_ships_can_be_applied() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rates/2026-11.toml");
        let card = RateCard::read(&path).unwrap();
        let has = |model: &str| card.prices.iter().any(|price| price.model.as_str() == model);
        assert!(["gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro", "deepseek-chat"].into_iter().all(has));
    }
}
