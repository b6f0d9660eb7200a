//! A rate card into files: a head, and one file per provider, one line per price, in a fixed order, so that two cards can
//! be compared line by line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fluxori_core::id::Provider;
use fluxori_core::rates::{ModelRates, ProviderNames};
use serde::Serialize;

use crate::file::{ExchangeTable, HEAD, PriceTable, RateCard, Source};
use fluxori_core::rates::Terms;

/// The files of a card, by name; the same card gives the same bytes.
///
/// # Errors
/// A value cannot be written as TOML.
pub fn to_files(card: &RateCard) -> Result<BTreeMap<String, String>, toml::ser::Error> {
    let mut files = BTreeMap::new();
    files.insert(HEAD.to_owned(), head(card)?);
    let mut providers: BTreeMap<&Provider, (Option<&ProviderNames>, Vec<&ModelRates>)> = BTreeMap::new();
    for names in &card.card.providers {
        providers.entry(&names.provider).or_default().0 = Some(names);
    }
    for model in &card.card.models {
        providers.entry(&model.provider).or_default().1.push(model);
    }
    for (provider, (names, mut models)) in providers {
        models.sort_by_key(|model| &model.model);
        files.insert(file_name(provider), provider_file(provider, names, &models)?);
    }
    Ok(files)
}

/// A file's name without what file systems or people trip over.
fn file_name(provider: &Provider) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    format!("{}.toml", provider.as_str().chars().map(plain).collect::<String>())
}

fn head(card: &RateCard) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct Head<'card> {
        revision: &'card str,
        issued_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'card str>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        sources: &'card [Source],
        #[serde(skip_serializing_if = "Vec::is_empty")]
        exchange_rate: Vec<ExchangeTable>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        terms: &'card [Terms],
    }
    toml::to_string(&Head {
        revision: card.revision.as_str(),
        issued_at: card.issued_at.to_string(),
        source: card.source.as_deref(),
        sources: &card.sources,
        exchange_rate: card.card.exchange_rates.iter().cloned().map(Into::into).collect(),
        terms: &card.card.terms,
    })
}

fn provider_file(
    provider: &Provider,
    names: Option<&ProviderNames>,
    models: &[&ModelRates],
) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    line(&mut text, "provider", provider)?;
    if let Some(names) = names {
        list(&mut text, "aliases", &names.aliases)?;
        list(&mut text, "falls_back_to", &names.falls_back_to)?;
    }
    for model in models {
        text.push_str("\n[[model]]\n");
        line(&mut text, "model", &model.model)?;
        list(&mut text, "aliases", &model.aliases)?;
        list(&mut text, "patterns", &model.patterns)?;
        let facts = &model.facts;
        for (name, value) in
            [("context_window", facts.context_window), ("max_output_tokens", facts.max_output_tokens)]
        {
            if let Some(value) = value {
                line(&mut text, name, &value)?;
            }
        }
        if let Some(at) = facts.deprecated_at {
            line(&mut text, "deprecated_at", &at.to_string())?;
        }
        list(&mut text, "capabilities", &facts.capabilities)?;
        text.push_str("price = [\n");
        for price in &model.prices {
            let price = value(&PriceTable::from(price.clone()))?;
            _ = writeln!(text, "  {price},");
        }
        text.push_str("]\n");
    }
    Ok(text)
}

/// A value in one line.
fn value<T: Serialize>(of: &T) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    of.serialize(toml::ser::ValueSerializer::new(&mut text))?;
    Ok(text)
}

fn line<T: Serialize>(text: &mut String, name: &str, of: &T) -> Result<(), toml::ser::Error> {
    _ = writeln!(text, "{name} = {}", value(of)?);
    Ok(())
}

fn list<T: Serialize>(text: &mut String, name: &str, of: &[T]) -> Result<(), toml::ser::Error> {
    if of.is_empty() { Ok(()) } else { line(text, name, &of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_TEXT: &str = r#"
revision = "r1"
issued_at = "2026-11-01T00:00:00Z"
source = "made up"

[[sources]]
name = "made-up"
url = "https://example.com"
owner = "nobody"
licence = "MIT"

[[exchange_rate]]
currency = "EUR"
usd = "1.1"

[[terms]]
org = "acme"
markup = "1.2"
minimum = "0.5"
rounding = { rule = "up", places = 2 }
provisional = { input = "1" }
"#;
    const PROVIDER: &str = r#"
provider = "deep/seek"
aliases = ["ds"]
falls_back_to = ["openai"]

[[model]]
model = "chat \"x\""
aliases = ["c", "d"]
patterns = ["chat-*", "*-chat", "*chat*"]
context_window = 64000
max_output_tokens = 8000
deprecated_at = "2027-01-01T00:00:00Z"
capabilities = ["chat", "vision"]

[[model.price]]
currency = "EUR"
source = "made-up"
rates = { input = "0.135", cache_read = "0.000000000001", pages = "3" }
above = [{ input_tokens = 200000, rates = { input = "2" } }, { input_tokens = 400000, rates = { input = "3" } }]

[[model.price]]
currency = "EUR"
hours = "00:30-16:30"
rates = { input = "0.27" }

[[model.price]]
org = "acme"
service_tier = "batch"
region = "eu"
effective_from = "2026-01-01T00:00:00Z"
rates = { input = "1" }
"#;

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let card =
            RateCard::parse("card.toml", HEAD_TEXT, &[("p.toml".to_owned(), PROVIDER.to_owned())]).unwrap();
        let files = to_files(&card).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["card.toml", "deep_seek.toml"]);
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let again = RateCard::read(folder.path()).unwrap();
        assert_eq!(again, card);
        assert_eq!(to_files(&again).unwrap(), files);
        let lines = files["deep_seek.toml"].lines().filter(|line| line.starts_with("  {")).count();
        assert_eq!(lines, 3, "a line per price");
    }
}
