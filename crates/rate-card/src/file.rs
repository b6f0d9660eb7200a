//! A rate card from TOML: one file, or a folder with a head and a file per provider. `docs/rates.md` describes it.

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

/// The file of a folder that says which revision it is.
pub(crate) const HEAD: &str = "card.toml";

/// A rate card: a revision of the rates.
#[derive(Debug, Clone, PartialEq)]
pub struct RateCard {
    /// Its name; a revision that was applied never changes.
    pub revision: RevisionId,
    /// When the card was made; part of what is signed, so that applying it again is the same command.
    pub issued_at: Timestamp,
    /// Where the prices are from, in a few words; in the log with the card.
    pub source: Option<String>,
    /// Where they are from, in full, with licences.
    pub sources: Vec<Source>,
    /// At least one entry.
    pub card: Card,
}

/// What a card was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, as prices name it.
    pub name: String,
    /// Where it is found.
    pub url: String,
    /// Whose it is.
    pub owner: String,
    /// Under which licence it may be used.
    pub licence: String,
    /// Which state of it, as far as it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Why something is no rate card that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What is wrong, and in which line of which file, if that is known.
    #[error("{file} is no rate card that can be applied: {problem}")]
    Wrong {
        /// Which file.
        file: String,
        /// What is wrong, with the line.
        problem: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    revision: RevisionId,
    issued_at: Timestamp,
    source: Option<String>,
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    provider: Vec<Spanned<ProviderNames>>,
    #[serde(default)]
    model: Vec<Spanned<ModelTable>>,
    #[serde(default)]
    terms: Vec<Spanned<Terms>>,
    #[serde(default)]
    exchange_rate: Vec<Spanned<ExchangeTable>>,
}

/// The file of one provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFile {
    provider: Provider,
    #[serde(default)]
    aliases: Vec<Provider>,
    #[serde(default)]
    falls_back_to: Vec<Provider>,
    #[serde(default)]
    model: Vec<Spanned<ModelTable>>,
}

/// A model and its prices; in the file of a provider that is said there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    provider: Option<Provider>,
    model: Model,
    #[serde(default)]
    aliases: Vec<Model>,
    #[serde(default)]
    patterns: Vec<NamePattern>,
    context_window: Option<i64>,
    max_output_tokens: Option<i64>,
    deprecated_at: Option<Timestamp>,
    #[serde(default)]
    capabilities: Vec<Label>,
    #[serde(default)]
    price: Vec<PriceTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceTable {
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
    rates: RateTable,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    above: Vec<LongContext>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Label>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExchangeTable {
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

impl ModelTable {
    fn rates(self, provider: Option<&Provider>) -> Result<ModelRates, String> {
        let provider = match (self.provider, provider) {
            (None, None) => return Err(format!("{} names no provider", self.model)),
            (Some(own), Some(of_file)) if own != *of_file => {
                return Err(format!("{} is of {own} and stands in the file of {of_file}", self.model));
            }
            (Some(own), _) => own,
            (None, Some(of_file)) => of_file.clone(),
        };
        Ok(ModelRates {
            provider,
            model: self.model,
            aliases: self.aliases,
            patterns: self.patterns,
            facts: ModelFacts {
                context_window: self.context_window,
                max_output_tokens: self.max_output_tokens,
                deprecated_at: self.deprecated_at,
                capabilities: self.capabilities,
            },
            prices: self.price.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<PriceTable> for Price {
    fn from(table: PriceTable) -> Self {
        let PriceTable { effective_from, org, service_tier, region, hours, currency, rates, above, source } =
            table;
        Self { org, service_tier, region, hours, effective_from, currency, source, rates, above }
    }
}

impl From<Price> for PriceTable {
    fn from(price: Price) -> Self {
        let Price { org, service_tier, region, hours, effective_from, currency, source, rates, above } =
            price;
        Self { effective_from, org, service_tier, region, hours, currency, rates, above, source }
    }
}

impl From<ExchangeTable> for ExchangeRate {
    fn from(table: ExchangeTable) -> Self {
        let ExchangeTable { currency, usd, effective_from } = table;
        Self { currency, usd, effective_from }
    }
}

impl From<ExchangeRate> for ExchangeTable {
    fn from(rate: ExchangeRate) -> Self {
        let ExchangeRate { currency, usd, effective_from } = rate;
        Self { currency, usd, effective_from }
    }
}

/// Where an entry stands.
#[derive(Debug, Clone)]
struct Place {
    file: String,
    line: usize,
}

/// A card as read, and where its entries stand, in the order of [`first_entries`].
#[derive(Default)]
struct Draft {
    card: Card,
    providers: Vec<Place>,
    exchange_rates: Vec<Place>,
    models: Vec<Place>,
    terms: Vec<Place>,
}

impl RateCard {
    /// Reads and checks a file, or a folder of files.
    ///
    /// # Errors
    /// It cannot be read, or is wrong: then all of it is refused.
    pub fn read(path: &Path) -> Result<Self, CardError> {
        let shown = |path: &Path| path.display().to_string();
        let text = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| CardError::Read { path: shown(path), source })
        };
        if !path.is_dir() {
            return Self::parse(&shown(path), &text(path)?, &[]);
        }
        let unreadable = |source| CardError::Read { path: shown(path), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let is_part = file.extension().is_some_and(|extension| extension == "toml")
                && file.file_name().is_some_and(|name| name != HEAD);
            if is_part {
                files.push(file);
            }
        }
        files.sort();
        let files = files.iter().map(|file| Ok((shown(file), text(file)?))).collect::<Result<Vec<_>, _>>()?;
        let head = path.join(HEAD);
        Self::parse(&shown(&head), &text(&head)?, &files)
    }

    /// A card from the text of its head, and of the files of providers, each with its name.
    ///
    /// # Errors
    /// It is wrong: then all of it is refused.
    pub fn parse(name: &str, head: &str, files: &[(String, String)]) -> Result<Self, CardError> {
        let wrong = |file: &str, problem: String| CardError::Wrong { file: file.to_owned(), problem };
        let mut draft = Draft::default();
        let file: HeadFile = toml::from_str(head).map_err(|error| wrong(name, error.to_string()))?;
        (draft.providers, draft.card.providers) = with_places(name, head, file.provider);
        (draft.terms, draft.card.terms) = with_places(name, head, file.terms);
        let (places, rates) = with_places(name, head, file.exchange_rate);
        (draft.exchange_rates, draft.card.exchange_rates) =
            (places, rates.into_iter().map(Into::into).collect());
        draft.add_models(name, head, file.model, None)?;
        for (name, text) in files {
            let file: ProviderFile = toml::from_str(text).map_err(|error| wrong(name, error.to_string()))?;
            let ProviderFile { provider, aliases, falls_back_to, model } = file;
            draft.add_models(name, text, model, Some(&provider))?;
            if !aliases.is_empty() || !falls_back_to.is_empty() {
                draft.card.providers.push(ProviderNames { provider, aliases, falls_back_to });
                draft.providers.push(Place { file: name.clone(), line: 1 });
            }
        }
        if draft.card.is_empty() {
            let needed = "it has no entry: a [[model]], [[provider]], [[terms]] or [[exchange_rate]]";
            return Err(wrong(name, needed.to_owned()));
        }
        draft.check(name, &file.revision)?;
        Ok(Self {
            revision: file.revision,
            issued_at: file.issued_at,
            source: file.source,
            sources: file.sources,
            card: draft.card,
        })
    }
}

impl Draft {
    fn add_models(
        &mut self,
        file: &str,
        text: &str,
        models: Vec<Spanned<ModelTable>>,
        provider: Option<&Provider>,
    ) -> Result<(), CardError> {
        let (places, tables) = with_places(file, text, models);
        for (place, table) in places.into_iter().zip(tables) {
            let rates = table.rates(provider).map_err(|problem| CardError::Wrong {
                file: file.to_owned(),
                problem: format!("line {}: {problem}", place.line),
            })?;
            self.card.models.push(rates);
            self.models.push(place);
        }
        Ok(())
    }

    /// Whether rates of no other revision would take it; that its currencies have a worth is part of it.
    fn check(&self, name: &str, revision: &RevisionId) -> Result<(), CardError> {
        let check = |card: Card| Rates::default().put_in_force(revision, card);
        let Err(error) = check(self.card.clone()) else { return Ok(()) };
        // The first entry that does not hold after those before it, so that its place can be named.
        let places = [&self.providers, &self.exchange_rates, &self.models, &self.terms];
        let places: Vec<&Place> = places.into_iter().flatten().collect();
        let wrong = first_that(self.card.len(), |entries| check(first_entries(&self.card, entries)).is_err());
        let place = wrong.checked_sub(1).and_then(|index| places.get(index));
        Err(place.map_or_else(
            || CardError::Wrong { file: name.to_owned(), problem: error.to_string() },
            |place| CardError::Wrong {
                file: place.file.clone(),
                problem: format!("line {}: {error}", place.line),
            },
        ))
    }
}

/// The entries of a file and where they begin.
fn with_places<T>(file: &str, text: &str, entries: Vec<Spanned<T>>) -> (Vec<Place>, Vec<T>) {
    let (mut line, mut offset) = (1, 0);
    entries
        .into_iter()
        .map(|entry| {
            let start = entry.span().start;
            line += text.get(offset..start).unwrap_or_default().matches('\n').count();
            offset = start;
            (Place { file: file.to_owned(), line }, entry.into_inner())
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

/// The least number up to `most` that something is true of, where it stays true of all after it.
fn first_that(most: usize, is_so: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_so(middle) {
            high = middle;
        } else {
            low = middle + 1;
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
        RateCard::parse("r.toml", &CARD.replacen(from, to, 1), &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_card_holds_its_prices_as_written() {
        let card = RateCard::parse("r.toml", CARD, &[]).unwrap();
        assert_eq!((card.revision.as_str(), card.card.len()), ("2026-11-01", 2));
        let read = card.card.models[0].prices[1].rates.get(Meter::CacheRead).unwrap();
        assert_eq!(read.to_string(), "0.5");
        assert!(is_earliest(&card.card.models[1].prices[0].effective_from));
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        let twice = error("2025-06-10", "2025-04-16");
        assert!(twice.contains("r.toml") && twice.contains("line 5") && twice.contains("overlap"), "{twice}");
        let negative = error(r#"input = "1""#, r#"input = "-1""#);
        assert!(negative.contains("line 17") && negative.contains("negative"), "{negative}");
        let absurd = error(r#"input = "1""#, r#"input = "100000""#);
        assert!(absurd.contains("line 17") && absurd.contains("absurd"), "{absurd}");
        let float = error(r#"input = "2""#, "input = 2.0");
        assert!(float.contains("line 15") && float.contains("string"), "{float}");
        let unknown = error("cache_read", "cached");
        assert!(unknown.contains("cached") && unknown.contains("cache_read"), "{unknown}");
        let date = error("2025-06-10T00:00:00Z", "2025-06-31");
        assert!(date.contains("line 14") && date.contains("2025-06-31"), "{date}");
        let name = error(r#"model = "o4""#, r#"model = "o3""#);
        assert!(name.contains("line 17") && name.contains("already"), "{name}");
        let hours = error("[{ rates", r#"[{ hours = "16:30-00:30", rates"#);
        assert!(hours.contains("line 17") && hours.contains("gap"), "{hours}");
        let field = error("model = \"o4\"", "model = \"o4\"\nprices = []");
        assert!(field.contains("line 20") && field.contains("prices"), "{field}");
        assert!(error("provider = \"openai\"\nmodel = \"o4\"", "model = \"o4\"").contains("no provider"));
        let empty = "revision = \"1\"\nissued_at = \"2026-11-01T00:00:00Z\"";
        assert!(RateCard::parse("r.toml", empty, &[]).is_err());
    }

    #[test]
    fn a_folder_is_one_card_and_an_error_names_the_provider_s_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(HEAD, "revision = \"r1\"\nissued_at = \"2026-11-01T00:00:00Z\"\n");
        write(
            "a.toml",
            "provider = \"a\"\naliases = [\"aa\"]\n[[model]]\nmodel = \"m\"\nprice = [{ rates = { input = \"1\" } }]\n",
        );
        let b = "provider = \"b\"\nfalls_back_to = [\"a\"]\n\n[[model]]\nmodel = \"m\"\nprice = [{ rates = { input = \"1\" } }]\n";
        write("b.toml", b);
        write("notes.md", "no card");
        let card = RateCard::read(folder.path()).unwrap();
        assert_eq!((card.card.models.len(), card.card.providers.len()), (2, 2));
        write("b.toml", &b.replace("\"1\"", "\"-1\""));
        let error = RateCard::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("b.toml") && error.contains("line 4") && error.contains("negative"),
            "{error}"
        );
    }
}
