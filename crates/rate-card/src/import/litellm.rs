//! LiteLLM's list of models (<https://github.com/BerriAI/litellm>, `model_prices_and_context_window.json`, MIT licence):
//! undated prices for one token as floats, service tiers and lengths of context in the names of keys, and what models
//! can do.

use std::collections::BTreeMap;

use fluxori_core::id::{Label, Model};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{LongContext, ModelFacts, RateTable};
use fluxori_core::time::Timestamp;

use super::ImportError;
use super::json::{Exact, Json};
use super::providers::of_litellm;
use super::report::Report;

/// The name of the source in prices and reports.
pub const NAME: &str = "litellm";

/// A model as LiteLLM has it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The provider of the card.
    pub(crate) provider: &'static str,
    /// How early its prices come among those of the provider.
    pub(crate) rank: usize,
    /// Its name at the provider.
    pub(crate) model: Model,
    /// For calls in this region alone.
    pub(crate) region: Option<Label>,
    /// Its name in the file.
    pub(crate) name: String,
    /// The rates of plain calls and of service tiers.
    pub(crate) tiers: BTreeMap<Option<Label>, Rates>,
    /// By what the rates are multiplied in some regions.
    pub(crate) uplifts: Vec<(Label, Exact)>,
    pub(crate) facts: ModelFacts,
}

/// Rates of any length of context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) rates: RateTable,
    pub(crate) above: BTreeMap<i64, RateTable>,
}

impl Rates {
    pub(crate) fn of(rates: &RateTable, above: &[LongContext]) -> Self {
        let above = above.iter().map(|longer| (longer.input_tokens, longer.rates.clone())).collect();
        Self { rates: rates.clone(), above }
    }

    pub(crate) fn above(&self) -> Vec<LongContext> {
        let longer =
            |(tokens, rates): (&i64, &RateTable)| LongContext { input_tokens: *tokens, rates: rates.clone() };
        self.above.iter().map(longer).collect()
    }

    /// With the rates of plain calls for all that these do not have, as LiteLLM itself reads them. Where these have a rate of
    /// their own and none for longer contexts, that of plain calls is no guess at it: it would often be lower.
    pub(crate) fn filled(mut self, plain: &Self) -> Self {
        let own = self.rates.clone();
        for (meter, rate) in plain.rates.iter() {
            if own.get(meter).is_none() {
                self.rates.set(meter, rate);
            }
        }
        for (tokens, rates) in &plain.above {
            let longer = self.above.entry(*tokens).or_default();
            for (meter, rate) in rates.iter() {
                if longer.get(meter).is_none() && own.get(meter).is_none() {
                    longer.set(meter, rate);
                }
            }
        }
        self.above.retain(|_, rates| !rates.is_empty());
        self
    }

    /// Every rate of tokens times a factor; a search costs the same everywhere.
    pub(crate) fn times(&self, factor: Exact) -> Option<Self> {
        let table = |rates: &RateTable| -> Option<RateTable> {
            let times = |rate: fluxori_core::amount::Rate| {
                let product = rate.to_scaled().checked_mul(factor.units)?;
                Exact::scaled(&format!("{product}e-24"), 0)?.rate()
            };
            let of = |meter: Meter, rate| if meter.is_tokens() { times(rate) } else { Some(rate) };
            rates.iter().map(|(meter, rate)| Some((meter, of(meter, rate)?))).collect()
        };
        let above = self.above.iter().map(|(tokens, rates)| Some((*tokens, table(rates)?)));
        Some(Self { rates: table(&self.rates)?, above: above.collect::<Option<_>>()? })
    }
}

/// What an entry is for.
const CAPABILITIES: [(&str, &str); 11] = [
    ("supports_audio_input", "audio_input"),
    ("supports_audio_output", "audio_output"),
    ("supports_computer_use", "computer_use"),
    ("supports_function_calling", "function_calling"),
    ("supports_pdf_input", "pdf_input"),
    ("supports_prompt_caching", "prompt_caching"),
    ("supports_reasoning", "reasoning"),
    ("supports_response_schema", "response_schema"),
    ("supports_video_input", "video_input"),
    ("supports_vision", "vision"),
    ("supports_web_search", "web_search"),
];

/// Service tiers by the ends of keys.
const TIERS: [(&str, &str); 5] = [
    ("_batches", "batch"),
    ("_flex", "flex"),
    ("_priority", "priority"),
    ("_balanced", "balanced"),
    ("_ultrafast", "ultrafast"),
];

/// All models of providers that are taken, in the order in which their prices come.
pub(crate) fn read(text: &str, report: &mut Report) -> Result<Vec<Entry>, ImportError> {
    let wrong = |problem: &str| ImportError::wrong(NAME, "the file", problem);
    let json = Json::parse(text).map_err(|error| wrong(&error.to_string()))?;
    let models = json.object().ok_or_else(|| wrong("it is no object by model"))?;
    let mut entries = Vec::new();
    let mut read = 0;
    for (name, fields) in models {
        let Some(provider) = fields.get("litellm_provider").and_then(Json::text) else { continue };
        if name == "sample_spec" {
            continue;
        }
        read += 1;
        match of_litellm(provider) {
            None => {
                report.left_out("a provider that is not taken (subscription, local, gateway, too few)", name)
            }
            Some(place) => entries.extend(entry(name, provider, place, fields, report)?),
        }
    }
    report.read.insert(NAME.to_owned(), read);
    entries.sort_by(|a, b| {
        (a.provider, a.rank, &a.model, &a.region).cmp(&(b.provider, b.rank, &b.model, &b.region))
    });
    Ok(entries)
}

fn entry(
    name: &str,
    litellm_provider: &str,
    (provider, rank): (&'static str, usize),
    fields: &Json,
    report: &mut Report,
) -> Result<Option<Entry>, ImportError> {
    let mut segments: Vec<&str> = name.split('/').collect();
    let is_prefix = |segment: &str| {
        let plain = segment.replace('-', "_");
        plain == litellm_provider || of_litellm(segment).is_some_and(|(of, _)| of == provider)
    };
    if segments.len() > 1 && segments.first().is_some_and(|segment| is_prefix(segment)) {
        segments.remove(0);
    }
    if segments.iter().any(|segment| is_size(segment)) {
        report.left_out("priced by the size or quality of an image", name);
        return Ok(None);
    }
    let is_class = |begin: &str| name.strip_prefix(begin).is_some_and(|rest| rest.contains('b'));
    if is_class("fireworks-ai-") || is_class("together-ai-") {
        report.left_out("a class of models by size", name);
        return Ok(None);
    }
    if segments.iter().any(|segment| segment.ends_with("-commitment")) {
        report.left_out("rented by the hour", name);
        return Ok(None);
    }
    let mut region = None;
    if segments.len() > 1
        && let Some(of) = segments.first().and_then(|segment| region_of(provider, segment))
    {
        region = of;
        segments.remove(0);
    }
    let mut found = Entry {
        provider,
        rank,
        model: segments
            .join("/")
            .parse()
            .map_err(|error| ImportError::wrong(NAME, name, &format!("{error}")))?,
        region: region.and_then(|region| Label::new(region).ok()),
        name: name.to_owned(),
        tiers: BTreeMap::new(),
        uplifts: Vec::new(),
        facts: facts(fields, report, name)?,
    };
    found.read_prices(fields, report)?;
    found.read_uplifts(fields);
    if !found.drop_zeros(report) {
        report.left_out("no price, or none with a meter", name);
        return Ok(None);
    }
    Ok(Some(found))
}

/// `1024-x-1024`, `hd`, `50-steps` and the like, before the name of a model.
fn is_size(segment: &str) -> bool {
    matches!(segment, "hd" | "low" | "medium" | "high" | "standard")
        || segment.ends_with("-steps")
        || segment.split_once("-x-").is_some_and(|(width, height)| {
            width.bytes().all(|b| b.is_ascii_digit()) && height.bytes().all(|b| b.is_ascii_digit())
        })
}

/// The region that a part of a name means; `global` is none in particular.
fn region_of<'name>(provider: &str, segment: &'name str) -> Option<Option<&'name str>> {
    match (provider, segment) {
        ("azure", "global" | "global-standard") => Some(None),
        ("azure", "eu" | "us") => Some(Some(segment)),
        ("aws", _) => {
            let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
            let mut parts = segment.rsplit('-');
            let number =
                parts.next().is_some_and(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit()));
            let words: Vec<&str> = parts.collect();
            (number && words.len() >= 2 && words.into_iter().all(is_word)).then_some(Some(segment))
        }
        _ => None,
    }
}

fn facts(fields: &Json, report: &mut Report, name: &str) -> Result<ModelFacts, ImportError> {
    let positive = |key| fields.get(key).and_then(Json::whole).filter(|limit| *limit > 0);
    let mut facts = ModelFacts {
        context_window: positive("max_input_tokens").or_else(|| positive("max_tokens")),
        max_output_tokens: positive("max_output_tokens"),
        ..ModelFacts::default()
    };
    if let Some(date) = fields.get("deprecation_date").and_then(Json::text) {
        match format!("{date}T00:00:00Z").parse::<Timestamp>() {
            Ok(at) => facts.deprecated_at = Some(at),
            Err(_) => report.left_out("a deprecation date that does not parse", &format!("{name}: {date}")),
        }
    }
    let mode =
        fields.get("mode").and_then(Json::text).map(|mode| if mode == "responses" { "chat" } else { mode });
    let can = CAPABILITIES
        .iter()
        .filter(|(key, _)| fields.get(key) == Some(&Json::Flag(true)))
        .map(|(_, name)| *name);
    for label in mode.into_iter().chain(can) {
        facts
            .capabilities
            .push(Label::new(label).map_err(|error| ImportError::wrong(NAME, name, &error.to_string()))?);
    }
    Ok(facts)
}

impl Entry {
    fn read_prices(&mut self, fields: &Json, report: &mut Report) -> Result<(), ImportError> {
        let mode = fields.get("mode").and_then(Json::text).unwrap_or_default();
        if let Some(tiers) = fields.get("tiered_pricing").and_then(Json::list) {
            self.read_ranges(tiers, mode, report)?;
        }
        for (key, value) in fields.object().into_iter().flatten() {
            if let (Json::Number(text), Some(place)) = (value, place(key)) {
                if is_replaced(key, fields) {
                    continue;
                }
                match unit(place.base, mode) {
                    Some((meter, power)) => {
                        let rate = self.rate(key, text, power, report)?;
                        let tier = self.tiers.entry(place.tier).or_default();
                        let table = match place.above {
                            Some(tokens) => tier.above.entry(tokens).or_default(),
                            None => &mut tier.rates,
                        };
                        table.set(meter, rate);
                    }
                    None if rate_is_zero(text) => (),
                    None => report.left_out(&format!("a price without a meter: {}", place.base), &self.name),
                }
            }
        }
        if let Some(sizes) = fields.get("search_context_cost_per_query") {
            let of = |size: &str| sizes.get(&format!("search_context_size_{size}")).and_then(Json::number);
            if let Some(text) = of("medium") {
                if of("low").is_some_and(|low| low != text) || of("high").is_some_and(|high| high != text) {
                    report.left_out("a search's price by context size (the medium one is taken)", &self.name);
                }
                let rate = self.rate("search_context_cost_per_query", text, 0, report)?;
                self.tiers.entry(None).or_default().rates.set(Meter::Searches, rate);
            }
        }
        if fields.get("off_peak_pricing").is_some() {
            report.left_out("prices by day of the week (the peak price is taken)", &self.name);
        }
        Ok(())
    }

    /// Ranges of lengths of context, which must follow each other.
    fn read_ranges(&mut self, ranges: &[Json], mode: &str, report: &mut Report) -> Result<(), ImportError> {
        let mut end = 0;
        let mut tier = Rates::default();
        for range in ranges {
            if range.get("range").is_none() {
                report.left_out("prices by number of results", &self.name);
                return Ok(());
            }
            let ends = range.get("range").and_then(Json::list).unwrap_or_default();
            let ends: Vec<i64> = ends.iter().filter_map(Json::whole).collect();
            let [from, until] = ends.as_slice() else {
                report.left_out("refused: a range of lengths without two whole ends", &self.name);
                return Ok(());
            };
            if *from != end || until <= from {
                let what = if *from < end || until <= from { "overlap" } else { "gap" };
                report.left_out(
                    &format!("refused: an {what} in ranges of lengths").replace("an gap", "a gap"),
                    &self.name,
                );
                return Ok(());
            }
            for (key, value) in range.object().into_iter().flatten() {
                let Json::Number(text) = value else { continue };
                let Some((meter, power)) = unit(key, mode) else { continue };
                let rate = self.rate(key, text, power, report)?;
                if *from == 0 {
                    tier.rates.set(meter, rate);
                } else {
                    tier.above.entry(*from).or_default().set(meter, rate);
                }
            }
            end = *until;
        }
        self.tiers.insert(None, tier);
        Ok(())
    }

    fn rate(
        &self,
        key: &str,
        text: &str,
        power: i32,
        report: &mut Report,
    ) -> Result<fluxori_core::amount::Rate, ImportError> {
        let wrong = || ImportError::wrong(NAME, &self.name, &format!("{key} {text} is out of range"));
        let exact = Exact::scaled(text, power).ok_or_else(wrong)?;
        if exact.rounded {
            report.rounded(&format!("{} {key} {text}", self.name));
        }
        exact.rate().ok_or_else(wrong)
    }

    fn read_uplifts(&mut self, fields: &Json) {
        let by_region = [
            ("eu", fields.get("regional_processing_uplift_multiplier_eu")),
            ("us", fields.get("regional_processing_uplift_multiplier_us")),
            ("us", fields.get("provider_specific_entry").and_then(|entry| entry.get("us"))),
        ];
        for (region, factor) in by_region {
            let factor = factor.and_then(Json::number).and_then(|text| Exact::scaled(text, 0));
            if let (Ok(region), Some(factor)) = (Label::new(region), factor) {
                self.uplifts.push((region, factor));
            }
        }
    }

    /// Drops what is said to cost nothing beside something of its kind that does not: it is a price that nobody knows.
    /// False if nothing is left.
    fn drop_zeros(&mut self, report: &mut Report) -> bool {
        let mut dropped = false;
        for tier in self.tiers.values_mut() {
            for table in std::iter::once(&mut tier.rates).chain(tier.above.values_mut()) {
                let costs = |meter: Meter| table.get(meter).is_some_and(|rate| !rate.is_zero());
                let known = |meter: Meter, zero: bool| {
                    !zero || !std::iter::successors(meter.parent(), |meter| meter.parent()).any(costs)
                };
                let kept: RateTable =
                    table.iter().filter(|(meter, rate)| known(*meter, rate.is_zero())).collect();
                dropped |= kept.len() < table.len();
                *table = kept;
            }
            tier.above.retain(|_, table| !table.is_empty());
        }
        let costs = |tier: &Rates| {
            tier.rates
                .iter()
                .chain(tier.above.values().flat_map(RateTable::iter))
                .any(|(_, rate)| rate.is_positive())
        };
        self.tiers.retain(|_, tier| costs(tier) && !tier.rates.is_empty());
        if dropped {
            report.left_out("a price of nothing beside one that is not", &self.name);
        }
        self.tiers.contains_key(&None)
    }
}

fn rate_is_zero(text: &str) -> bool {
    Exact::scaled(text, 0).is_some_and(|exact| exact.units == 0)
}

/// Whether a key says the same as another: whisper's second is priced as input and as output, and is one second.
fn is_replaced(key: &str, fields: &Json) -> bool {
    let has = |key: &str| fields.get(key).and_then(Json::number).is_some_and(|text| !rate_is_zero(text));
    match key {
        "input_cost_per_token_cache_hit" => has("cache_read_input_token_cost"),
        "output_cost_per_second" => has("input_cost_per_second") || has("output_cost_per_video_per_second"),
        "input_cost_per_video_per_second" => {
            has("output_cost_per_second") || has("output_cost_per_video_per_second")
        }
        "input_cost_per_image" => has("output_cost_per_image"),
        "output_cost_per_image" => has("output_cost_per_image_token"),
        _ => false,
    }
}

/// What the parts of a key say.
struct Place<'key> {
    base: &'key str,
    tier: Option<Label>,
    above: Option<i64>,
}

fn place(key: &str) -> Option<Place<'_>> {
    if !key.contains("cost") || key.starts_with("search_context") {
        return None;
    }
    let tier = TIERS.iter().find_map(|(end, tier)| Some((key.strip_suffix(end)?, *tier)));
    let (rest, tier) = tier.map_or((key, None), |(rest, tier)| (rest, Label::new(tier).ok()));
    // Behind the last `_above_` is a length of context, but for `_above_1hr`.
    let length = rest.rsplit_once("_above_").and_then(|(base, end)| {
        let thousands: i64 = end.strip_suffix("k_tokens")?.parse().ok()?;
        Some((base, thousands.checked_mul(1000)?))
    });
    Some(length.map_or(Place { base: rest, tier: tier.clone(), above: None }, |(base, tokens)| Place {
        base,
        tier,
        above: Some(tokens),
    }))
}

/// The meter of a key, and by what power of ten its price is to be multiplied.
fn unit(key: &str, mode: &str) -> Option<(Meter, i32)> {
    let tokens = match key {
        "input_cost_per_token" => Some(Meter::Input),
        "output_cost_per_token" => Some(Meter::Output),
        "cache_read_input_token_cost" | "input_cost_per_token_cache_hit" => Some(Meter::CacheRead),
        "cache_creation_input_token_cost" => Some(Meter::CacheWrite5m),
        "cache_creation_input_token_cost_above_1hr" => Some(Meter::CacheWrite1h),
        "input_cost_per_audio_token" => Some(Meter::AudioInput),
        "output_cost_per_audio_token" => Some(Meter::AudioOutput),
        "input_cost_per_image_token" => Some(Meter::ImageInput),
        "output_cost_per_image_token" => Some(Meter::ImageOutput),
        "cache_read_input_audio_token_cost" => Some(Meter::CacheReadAudio),
        "cache_read_input_image_token_cost" => Some(Meter::CacheReadImage),
        "output_cost_per_reasoning_token" => Some(Meter::Reasoning),
        _ => None,
    };
    if let Some(meter) = tokens {
        return Some((meter, 6));
    }
    let is = |modes: &[&str]| modes.contains(&mode);
    let one = match key {
        "input_cost_per_character" => Meter::Characters,
        "input_cost_per_second" | "output_cost_per_second"
            if is(&["audio_transcription", "audio_speech", "realtime"]) =>
        {
            Meter::AudioSeconds
        }
        "input_cost_per_audio_per_second" => Meter::AudioSeconds,
        "output_cost_per_second" if is(&["video_generation"]) => Meter::VideoSeconds,
        "output_cost_per_video_per_second" | "input_cost_per_video_per_second" => Meter::VideoSeconds,
        "ocr_cost_per_page" => Meter::Pages,
        "input_cost_per_query" if is(&["search"]) => Meter::Searches,
        "input_cost_per_query" | "input_cost_per_request" => Meter::Requests,
        "output_cost_per_image" => Meter::Images,
        "input_cost_per_image" if is(&["embedding", "image_generation", "image_edit"]) => Meter::Images,
        _ => return None,
    };
    Some((one, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> (Vec<Entry>, Report) {
        let mut report = Report::default();
        (read(text, &mut report).unwrap(), report)
    }

    #[test]
    fn service_tiers_and_lengths_are_read_from_the_names_of_keys() {
        let (entries, _) = entries(
            r#"{"azure/eu/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 2e-06,
                "input_cost_per_token_batches": 1e-06, "input_cost_per_token_above_272k_tokens_priority": 8e-06,
                "input_cost_per_token_priority": 4e-06, "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 3e-06,
                "cache_creation_input_token_cost_above_1hr": 2.5e-06, "supports_vision": true, "max_input_tokens": 1000.0}}"#,
        );
        let [entry] = entries.as_slice() else { panic!() };
        assert_eq!((entry.model.as_str(), entry.region.as_ref().unwrap().as_str()), ("gpt-x", "eu"));
        let tier = |name: Option<&str>| &entry.tiers[&name.map(|name| Label::new(name).unwrap())];
        assert_eq!(tier(Some("batch")).rates.get(Meter::Input).unwrap().to_string(), "1");
        assert_eq!(tier(Some("priority")).above[&272_000].get(Meter::Input).unwrap().to_string(), "8");
        assert_eq!(tier(None).above[&200_000].get(Meter::CacheWrite1h).unwrap().to_string(), "3");
        assert_eq!(tier(None).rates.get(Meter::CacheWrite1h).unwrap().to_string(), "2.5");
        assert_eq!(entry.facts.context_window, Some(1000));
        assert_eq!(
            entry.facts.capabilities.iter().map(|label| label.as_str()).collect::<Vec<_>>(),
            ["chat", "vision"]
        );
    }

    #[test]
    fn a_second_of_sound_is_counted_once_and_a_second_of_video_is_another_unit() {
        let (entries, _) = entries(
            r#"{"whisper-1": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001},
                "openai/sora-2": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_video_per_second": 0.1}}"#,
        );
        let rates = |model: &str| {
            &entries.iter().find(|entry| entry.model.as_str() == model).unwrap().tiers[&None].rates
        };
        assert_eq!(
            rates("whisper-1").iter().map(|(m, r)| (m, r.to_string())).collect::<Vec<_>>(),
            [(Meter::AudioSeconds, "0.0001".to_owned())]
        );
        assert_eq!(rates("sora-2").get(Meter::VideoSeconds).unwrap().to_string(), "0.1");
    }

    #[test]
    fn ranges_of_lengths_with_a_gap_or_an_overlap_are_refused_with_the_name() {
        let text = |second: &str| {
            format!(
                r#"{{"dashscope/q": {{"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
                    {{"input_cost_per_token": 1e-06, "range": [0, 32000.0]}}, {{"input_cost_per_token": 2e-06, "range": [{second}, 128000.0]}}]}}}}"#
            )
        };
        let (good, _) = entries(&text("32000.0"));
        assert_eq!(good[0].tiers[&None].above[&32_000].get(Meter::Input).unwrap().to_string(), "2");
        for (second, problem) in [("33000", "gap"), ("31000", "overlap")] {
            let (none, report) = entries(&text(second));
            assert!(none.is_empty());
            let (reason, models) =
                report.left_out.iter().find(|(reason, _)| reason.contains("refused")).unwrap();
            assert!(reason.contains(problem) && models.examples == ["dashscope/q"], "{reason}");
        }
    }

    #[test]
    fn what_costs_nothing_beside_a_price_is_not_known_and_a_model_without_any_is_left_out() {
        let (entries, report) = entries(
            r#"{"deepseek/a": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 1e-06, "cache_creation_input_token_cost": 0.0},
                "rerank-x": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0},
                "free": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0}}"#,
        );
        assert_eq!(entries.len(), 2);
        let rerank =
            &entries.iter().find(|entry| entry.model.as_str() == "rerank-x").unwrap().tiers[&None].rates;
        assert_eq!(rerank.get(Meter::Requests).unwrap().to_string(), "0.002");
        assert!(rerank.get(Meter::Input).unwrap().is_zero());
        let a = &entries.iter().find(|entry| entry.model.as_str() == "a").unwrap().tiers[&None].rates;
        assert!(a.get(Meter::CacheWrite5m).is_none());
        assert_eq!(report.left_out["no price, or none with a meter"].count, 1);
    }

    #[test]
    fn regions_of_aws_are_told_from_names() {
        assert_eq!(region_of("aws", "us-gov-west-1"), Some(Some("us-gov-west-1")));
        assert_eq!(region_of("aws", "eu-central-1"), Some(Some("eu-central-1")));
        assert_eq!(region_of("aws", "claude-3"), None);
        assert_eq!(region_of("azure", "global"), Some(None));
    }
}
