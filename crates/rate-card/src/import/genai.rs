//! genai-prices (<https://github.com/pydantic/genai-prices>, MIT licence), format v2: providers with models, each with a
//! rule for its names and prices by date, hour and length of context.
//!
//! Of a provider's models the first in the file whose rule fits a name is meant; a provider without one asks others.

use fluxori_core::id::{Label, Model};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{DailyWindow, LongContext, Price, RateTable};
use fluxori_core::time::Timestamp;

use super::ImportError;
use super::json::{Exact, Json};
use super::report::Report;

/// The name of the source in prices and reports.
pub const NAME: &str = "genai-prices";

/// The providers, in the file's order.
#[derive(Debug)]
pub(crate) struct Genai {
    pub(crate) providers: Vec<GenaiProvider>,
}

#[derive(Debug)]
pub(crate) struct GenaiProvider {
    pub(crate) id: String,
    pub(crate) falls_back_to: Vec<String>,
    pub(crate) models: Vec<GenaiModel>,
}

#[derive(Debug)]
pub(crate) struct GenaiModel {
    pub(crate) id: Model,
    pub(crate) rule: NameRule,
    /// None where the source has none.
    pub(crate) prices: Vec<Price>,
    pub(crate) context_window: Option<i64>,
}

/// Which names mean a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameRule {
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    /// A regular expression that is this name with a date behind it.
    Dated(String),
    /// Any other regular expression.
    Regex(String),
    Any(Vec<Self>),
    All(Vec<Self>),
}

impl NameRule {
    pub(crate) fn fits(&self, name: &str) -> bool {
        match self {
            Self::Equals(text) => name == text,
            Self::StartsWith(text) => name.starts_with(text.as_str()),
            Self::EndsWith(text) => name.ends_with(text.as_str()),
            Self::Contains(text) => name.contains(text.as_str()),
            Self::Dated(stem) => fluxori_core::rates::without_date(name) == Some(stem.as_str()),
            Self::Regex(_) => false,
            Self::Any(rules) => rules.iter().any(|rule| rule.fits(name)),
            Self::All(rules) => rules.iter().all(|rule| rule.fits(name)),
        }
    }

    /// The rules of which one has to fit.
    pub(crate) fn alternatives(&self) -> Vec<&Self> {
        match self {
            Self::Any(rules) => rules.iter().flat_map(Self::alternatives).collect(),
            one => vec![one],
        }
    }

    fn read(json: &Json) -> Option<Self> {
        let (word, value) = json.object()?.iter().next()?;
        let text = || value.text().map(str::to_owned);
        let rules = || value.list()?.iter().map(Self::read).collect::<Option<Vec<Self>>>();
        Some(match word.as_str() {
            "equals" => Self::Equals(text()?),
            "starts_with" => Self::StartsWith(text()?),
            "ends_with" => Self::EndsWith(text()?),
            "contains" => Self::Contains(text()?),
            "regex" => dated(value.text()?)
                .map_or_else(|| text().map(Self::Regex), |stem| Some(Self::Dated(stem)))?,
            "or" => Self::Any(rules()?),
            "and" => Self::All(rules()?),
            _ => return None,
        })
    }
}

/// The stem of `^stem-\d{8}$` and `^stem-\d{4}-\d{2}-\d{2}$`.
fn dated(regex: &str) -> Option<String> {
    let rest = regex.strip_prefix('^')?;
    let stem = rest.strip_suffix(r"-\d{8}$").or_else(|| rest.strip_suffix(r"-\d{4}-\d{2}-\d{2}$"))?;
    let stem = stem.replace(r"\.", "\u{0}");
    let literal =
        stem.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':' | '\u{0}'));
    literal.then(|| stem.replace('\u{0}', "."))
}

/// The meter of a key and by what power of ten its price is to be multiplied.
fn meter(key: &str) -> Option<(Meter, i32)> {
    Some(match key {
        "input_mtok" => (Meter::Input, 0),
        "cache_read_mtok" => (Meter::CacheRead, 0),
        "cache_write_mtok" => (Meter::CacheWrite5m, 0),
        "cache_write_1h_mtok" => (Meter::CacheWrite1h, 0),
        "input_audio_mtok" => (Meter::AudioInput, 0),
        "input_image_mtok" => (Meter::ImageInput, 0),
        "cache_audio_read_mtok" => (Meter::CacheReadAudio, 0),
        "cache_image_read_mtok" => (Meter::CacheReadImage, 0),
        "output_mtok" => (Meter::Output, 0),
        "output_reasoning_mtok" => (Meter::Reasoning, 0),
        "output_audio_mtok" => (Meter::AudioOutput, 0),
        "output_image_mtok" => (Meter::ImageOutput, 0),
        "web_searches_kcount" => (Meter::Searches, -3),
        "requests_kcount" => (Meter::Requests, -3),
        _ => return None,
    })
}

impl Genai {
    pub(crate) fn read(text: &str, report: &mut Report) -> Result<Self, ImportError> {
        let wrong = |entry: &str, problem: &str| ImportError::wrong(NAME, entry, problem);
        let json = Json::parse(text).map_err(|error| wrong("the file", &error.to_string()))?;
        let providers = json.list().ok_or_else(|| wrong("the file", "it is no list of providers"))?;
        let mut read = Vec::new();
        for provider in providers {
            let id =
                provider.get("id").and_then(Json::text).ok_or_else(|| wrong("a provider", "it has no id"))?;
            let names = |key: &str| -> Vec<String> {
                let list = provider.get(key).and_then(Json::list).unwrap_or_default();
                list.iter().filter_map(Json::text).map(str::to_owned).collect()
            };
            let models = provider.get("models").and_then(Json::list).unwrap_or_default();
            if provider.get("provider_match").is_some_and(|rule| *rule != Json::Null) {
                report.left_out("a pattern for names of a provider (its other names are listed instead)", id);
            }
            read.push(GenaiProvider {
                id: id.to_owned(),
                falls_back_to: names("fallback_model_providers"),
                models: models
                    .iter()
                    .map(|model| GenaiModel::read(id, model, report))
                    .collect::<Result<_, _>>()?,
            });
        }
        report.read.insert(NAME.to_owned(), read.iter().map(|provider| provider.models.len()).sum());
        Ok(Self { providers: read })
    }

    pub(crate) fn provider(&self, id: &str) -> Option<&GenaiProvider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// The model that a name means by the source's own rule: the first that fits, at the provider or those it falls back
    /// to.
    pub(crate) fn find(&self, provider: &str, name: &str) -> Option<(&GenaiProvider, &GenaiModel)> {
        let own = self.provider(provider)?;
        let others = own.falls_back_to.iter().filter_map(|id| self.provider(id));
        std::iter::once(own).chain(others).find_map(|provider| {
            provider.models.iter().find(|model| model.rule.fits(name)).map(|model| (provider, model))
        })
    }
}

impl GenaiModel {
    fn read(provider: &str, json: &Json, report: &mut Report) -> Result<Self, ImportError> {
        let id = json.get("id").and_then(Json::text).unwrap_or_default();
        let entry = format!("{provider}/{id}");
        let wrong = |problem: &str| ImportError::wrong(NAME, &entry, problem);
        let rule = json.get("match").and_then(NameRule::read);
        if json.get("deprecated") == Some(&Json::Flag(true)) {
            report.left_out("deprecated without a date", &entry);
        }
        let prices = match json.get("prices") {
            Some(prices @ Json::Object(_)) => price(&entry, prices, report)?.into_iter().collect(),
            Some(Json::List(prices)) => conditional(&entry, prices, report)?,
            _ => return Err(wrong("it has no prices")),
        };
        Ok(Self {
            id: id.parse().map_err(|error| wrong(&format!("{error}")))?,
            rule: rule.ok_or_else(|| wrong("its rule for names is unknown"))?,
            prices,
            context_window: json.get("context_window").and_then(Json::whole),
        })
    }
}

/// A price for every date and hour; none if it has no rates.
fn price(entry: &str, json: &Json, report: &mut Report) -> Result<Option<Price>, ImportError> {
    let wrong = |problem: &str| ImportError::wrong(NAME, entry, problem);
    let mut rates = RateTable::default();
    let mut above: Vec<LongContext> = Vec::new();
    let rate = |number: &Json, key: &str, power, report: &mut Report| {
        let text = number.number().ok_or_else(|| wrong(&format!("{key} is no number")))?;
        let exact =
            Exact::scaled(text, power).ok_or_else(|| wrong(&format!("{key} {text} is out of range")))?;
        if exact.rounded {
            report.rounded(&format!("{entry} {key} {text}"));
        }
        exact.rate().ok_or_else(|| wrong(&format!("{key} {text} is out of range")))
    };
    for (key, value) in json.object().into_iter().flatten() {
        let Some((meter, power)) = meter(key) else {
            report.left_out(&format!("a price without a meter: {key}"), entry);
            continue;
        };
        match value {
            Json::Object(tiers) => {
                let base = tiers.get("base").ok_or_else(|| wrong(&format!("{key} has no base")))?;
                rates.set(meter, rate(base, key, power, report)?);
                for tier in tiers.get("tiers").and_then(Json::list).unwrap_or_default() {
                    let start = tier.get("start").and_then(Json::whole);
                    let (Some(start), Some(price)) = (start, tier.get("price")) else {
                        return Err(wrong(&format!("a tier of {key} has no start or no price")));
                    };
                    let rate = rate(price, key, power, report)?;
                    let at = above.partition_point(|longer| longer.input_tokens < start);
                    if above.get(at).is_none_or(|longer| longer.input_tokens != start) {
                        above.insert(at, LongContext { input_tokens: start, rates: RateTable::default() });
                    }
                    if let Some(longer) = above.get_mut(at) {
                        longer.rates.set(meter, rate);
                    }
                }
            }
            number => rates.set(meter, rate(number, key, power, report)?),
        }
    }
    if rates.is_empty() {
        return Ok(None);
    }
    let source = Label::new(NAME).map_err(|error| wrong(&error.to_string()))?;
    Ok(Some(Price { above, source: Some(source), ..Price::new(Timestamp::EARLIEST, rates) }))
}

/// Prices that hold from a date on or at hours of the day; of several that fit the last one holds.
fn conditional(entry: &str, list: &[Json], report: &mut Report) -> Result<Vec<Price>, ImportError> {
    let wrong = |problem: String| ImportError::wrong(NAME, entry, &problem);
    let mut prices = Vec::new();
    for conditional in list {
        let json = conditional.get("prices").ok_or_else(|| wrong("a price without prices".to_owned()))?;
        let Some(mut price) = price(entry, json, report)? else { continue };
        let condition = conditional.get("constraint").and_then(Json::object);
        for (word, value) in condition.into_iter().flatten() {
            let text = value.text().unwrap_or_default();
            match word.as_str() {
                "start_date" => {
                    let at = format!("{text}T00:00:00Z");
                    price.effective_from = at.parse().map_err(|_| wrong(format!("{text} is no date")))?;
                }
                "start_time" => {
                    price.hours =
                        Some(hours(condition, text).ok_or_else(|| wrong(format!("hours from {text}")))?)
                }
                "end_time" => (),
                other => return Err(wrong(format!("{other} is no condition that is known"))),
            }
        }
        prices.push(price);
    }
    let begins = prices.iter().any(|price| price.effective_from > Timestamp::EARLIEST);
    if begins && prices.iter().any(|price| price.hours.is_some()) {
        return Err(wrong("dates and hours of the day in one list are not known".to_owned()));
    }
    Ok(prices)
}

/// `00:30:00Z` to `16:30:00Z`, in whole minutes of UTC.
fn hours(condition: Option<&std::collections::BTreeMap<String, Json>>, from: &str) -> Option<DailyWindow> {
    let until = condition?.get("end_time")?.text()?;
    let minute = |text: &str| text.strip_suffix(":00Z").map(str::to_owned);
    format!("{}-{}", minute(from)?, minute(until)?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_is_a_date_behind_a_name_or_nothing_that_is_known() {
        assert_eq!(dated(r"^grok-4\.3-\d{8}$"), Some("grok-4.3".to_owned()));
        assert_eq!(dated(r"^gpt-5-6-sol-\d{4}-\d{2}-\d{2}$"), Some("gpt-5-6-sol".to_owned()));
        assert_eq!(dated(r"^gemini-3\.5-flash-\d"), None);
        assert_eq!(dated(r"^a.*-\d{8}$"), None);
    }

    #[test]
    fn dates_hours_and_lengths_are_read_as_the_source_means_them() {
        let text = r#"[{"id": "p", "models": [
            {"id": "a", "match": {"equals": "a"}, "prices": [{"prices": {"input_mtok": 10}},
                {"constraint": {"start_date": "2025-06-10"}, "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 4}]}, "output_mtok": 8}}]},
            {"id": "b", "match": {"starts_with": "b"}, "prices": [{"prices": {"input_mtok": 1}},
                {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 2, "web_searches_kcount": 10, "output_video_mtok": 3}}]},
            {"id": "c", "match": {"or": [{"equals": "c"}, {"contains": "b"}]}, "prices": {}}]}]"#;
        let mut report = Report::default();
        let genai = Genai::read(text, &mut report).unwrap();
        let [a, b, c] = genai.providers[0].models.as_slice() else { panic!() };
        assert_eq!(a.prices[1].effective_from.to_string(), "2025-06-10T00:00:00Z");
        assert_eq!(a.prices[1].above[0].input_tokens, 200_000);
        assert_eq!(b.prices[1].hours.unwrap().to_string(), "00:30-16:30");
        assert_eq!(b.prices[1].rates.get(Meter::Searches).unwrap().to_string(), "0.01");
        assert!(c.prices.is_empty());
        assert_eq!(report.left_out["a price without a meter: output_video_mtok"].count, 1);
        assert_eq!(genai.find("p", "b2").unwrap().1.id.as_str(), "b", "the first that fits");
        assert_eq!(genai.find("p", "xb").unwrap().1.id.as_str(), "c");
        assert!(Genai::read(&text.replace("2025-06-10", "2025-06-31"), &mut report).is_err());
    }
}
