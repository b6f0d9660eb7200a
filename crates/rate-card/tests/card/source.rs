//! The shipped card against the data sets that it was made of, where they are there (`../shared/data`, or FLUXORI_DATA):
//! prices are computed once more, as exact fractions from the numbers' own text, without any code of the importer.

use std::collections::{BTreeMap, HashMap};

use crate::support::{charge, data, folder, rates, shipped};
use fluxori_core::amount::Usd;
use fluxori_core::rates::{Audience, Matched};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageFields;
use fluxori_rate_card::import::{Import, import};
use fluxori_rate_card::to_files;
use serde_json::value::RawValue;

const GENAI: &str = "genai-prices.v2.json";
const LITELLM: &str = "litellm-1.106.2.model-prices.json";

/// Both data sets; without them there is nothing to compare with.
fn sources() -> Option<(String, String)> {
    let found = data(GENAI).zip(data(LITELLM));
    if found.is_none() {
        eprintln!("no data sets beside the repository: not compared");
    }
    found
}

type Fields<'json> = BTreeMap<String, &'json RawValue>;

fn fields(json: &RawValue) -> Fields<'_> {
    serde_json::from_str(json.get()).unwrap()
}

fn list(json: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(json.get()).unwrap()
}

fn text(json: &RawValue) -> String {
    serde_json::from_str(json.get()).unwrap()
}

/// 10^-30 dollars.
const SCALE: i32 = 30;

/// A number of JSON times a power of ten, exactly, in units of 10^-30.
fn exact(number: &str, power: i32) -> i128 {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
    let exponent = exponent.parse::<i32>().unwrap() + power + SCALE - i32::try_from(fraction.len()).unwrap();
    assert!(exponent >= 0, "{number}");
    if digits == 0 { 0 } else { digits * 10_i128.pow(exponent.unsigned_abs()) }
}

/// Rounds half to even to twelve places.
fn dollars(exact: i128) -> Usd {
    let unit = 10_i128.pow(18);
    let (quotient, rest) = (exact / unit, exact % unit);
    let up = rest * 2 > unit || (rest * 2 == unit && quotient % 2 == 1);
    Usd::from_scaled(quotient + i128::from(up)).unwrap()
}

/// Numbers that look random, and are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Tokens by class, disjoint.
#[derive(Debug, Clone, Copy, Default)]
struct Tokens {
    input: i64,
    cache_read: i64,
    cache_write: i64,
    cache_write_1h: i64,
    audio: i64,
    image: i64,
    cached_audio: i64,
    cached_image: i64,
    output: i64,
    reasoning: i64,
    audio_output: i64,
    image_output: i64,
}

impl Tokens {
    fn draw(draw: &mut Draw) -> Self {
        // Short and long contexts, on both sides of all cliffs.
        let most = [1_000, 30_000, 300_000][usize::try_from(draw.below(3)).unwrap()];
        let mut part = |share: i64| if draw.below(3) == 0 { 0 } else { draw.below(most / share + 1) };
        Self {
            input: part(1),
            cache_read: part(1),
            cache_write: part(2),
            cache_write_1h: part(4),
            audio: part(4),
            image: part(4),
            cached_audio: part(8),
            cached_image: part(8),
            output: part(1),
            reasoning: part(2),
            audio_output: part(8),
            image_output: part(8),
        }
    }

    fn total_input(&self) -> i64 {
        let cached = self.cache_read + self.cached_audio + self.cached_image;
        self.input + cached + self.cache_write + self.cache_write_1h + self.audio + self.image
    }

    fn put(&self, usage: &mut UsageFields) {
        usage.input_tokens = self.total_input();
        usage.cache_read_input_tokens = self.cache_read + self.cached_audio + self.cached_image;
        usage.cache_write_5m_input_tokens = self.cache_write;
        usage.cache_write_1h_input_tokens = self.cache_write_1h;
        usage.audio_input_tokens = self.audio + self.cached_audio;
        usage.image_input_tokens = self.image + self.cached_image;
        usage.cache_read_audio_input_tokens = self.cached_audio;
        usage.cache_read_image_input_tokens = self.cached_image;
        usage.output_tokens = self.output + self.reasoning + self.audio_output + self.image_output;
        usage.reasoning_output_tokens = self.reasoning;
        usage.audio_output_tokens = self.audio_output;
        usage.image_output_tokens = self.image_output;
    }
}

/// A number of genai-prices that may depend on the length of the context: the whole request is charged at the step that
/// starts strictly below it.
fn at_length(price: &RawValue, length: i64) -> String {
    if !price.get().starts_with('{') {
        return price.get().to_owned();
    }
    let price = fields(price);
    let mut number = price["base"].get();
    for tier in list(price["tiers"]) {
        let tier: BTreeMap<String, &RawValue> = fields(tier);
        if length > tier["start"].get().parse::<i64>().unwrap() {
            number = tier["price"].get();
        }
    }
    number.to_owned()
}

/// What tokens, searches and one request cost by the prices of genai-prices; none if a class has no price.
fn genai_cost(prices: &Fields<'_>, tokens: &Tokens, searches: i64) -> Option<i128> {
    let length = tokens.total_input();
    let mut cost = 0;
    let classes: [(i64, &[&str]); 12] = [
        (tokens.input, &["input_mtok"]),
        (tokens.cache_read, &["cache_read_mtok", "input_mtok"]),
        (tokens.cache_write, &["cache_write_mtok", "input_mtok"]),
        (tokens.cache_write_1h, &["cache_write_1h_mtok", "cache_write_mtok", "input_mtok"]),
        (tokens.audio, &["input_audio_mtok", "input_mtok"]),
        (tokens.image, &["input_image_mtok", "input_mtok"]),
        (tokens.cached_audio, &["cache_audio_read_mtok", "cache_read_mtok", "input_mtok"]),
        (tokens.cached_image, &["cache_image_read_mtok", "cache_read_mtok", "input_mtok"]),
        (tokens.output, &["output_mtok"]),
        (tokens.reasoning, &["output_reasoning_mtok", "output_mtok"]),
        (tokens.audio_output, &["output_audio_mtok", "output_mtok"]),
        (tokens.image_output, &["output_image_mtok", "output_mtok"]),
    ];
    for (count, keys) in classes {
        if count > 0 {
            let price = keys.iter().find_map(|key| prices.get(*key))?;
            cost += exact(&at_length(price, length), -6) * i128::from(count);
        }
    }
    if searches > 0 {
        cost += exact(prices.get("web_searches_kcount")?.get(), -3) * i128::from(searches);
    }
    if let Some(price) = prices.get("requests_kcount") {
        cost += exact(price.get(), -3);
    }
    Some(cost)
}

/// The classes that have a price by themselves or by a parent.
fn only_priced(prices: &Fields<'_>, tokens: Tokens) -> Tokens {
    let mut kept = tokens;
    if !prices.contains_key("input_mtok") {
        kept = Tokens { output: kept.output, reasoning: kept.reasoning, ..Tokens::default() };
    }
    if !prices.contains_key("output_mtok") {
        (kept.output, kept.reasoning, kept.audio_output, kept.image_output) = (0, 0, 0, 0);
    }
    kept
}

/// An instant at which a price holds, and whether it does at another.
fn instants(condition: Option<&RawValue>) -> &'static [&'static str] {
    match condition.filter(|condition| condition.get() != "null").map(fields) {
        None => &["2024-01-01T17:00:00Z", "2025-01-01T00:29:59.999999Z"],
        Some(condition) if condition.contains_key("start_time") => {
            &["2026-11-22T00:30:00Z", "2024-01-01T16:29:59Z"]
        }
        Some(condition) => match text(condition["start_date"]).as_str() {
            "2025-06-10" => &["2025-06-10T00:00:00Z"],
            "2026-03-13" => &["2026-03-13T00:00:00Z"],
            "2026-07-30" => &["2026-07-30T00:00:00Z"],
            "2026-09-01" => &["2026-09-01T00:00:00Z"],
            "2027-01-01" => &["2027-01-01T00:00:00Z"],
            other => panic!("{other}: name an instant for it"),
        },
    }
}

/// Whether the numbers of a price have more than twelve places, and the card rounds them.
fn is_rounded(prices: &Fields<'_>) -> bool {
    let many = |number: &str| {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let places = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        i64::try_from(places).unwrap() - exponent.parse::<i64>().unwrap() > 12
    };
    prices.values().any(|price| {
        price
            .get()
            .split([',', ':', '{', '}', '[', ']'])
            .any(|word| word.parse::<f64>().is_ok() && many(word))
    })
}

#[test]
fn every_model_of_genai_prices_costs_what_its_source_says_at_random_usage() {
    let Some((genai, _)) = sources() else { return };
    let providers: Vec<&RawValue> = serde_json::from_str(&genai).unwrap();
    let mut draw = Draw(7);
    let (mut models, mut calls, mut without_price) = (0, 0, 0);
    for provider in providers {
        let provider = fields(provider);
        let id = text(provider["id"]);
        for model in list(provider["models"]) {
            let model = fields(model);
            let name = text(model["id"]);
            let conditional = model["prices"].get().starts_with('[');
            let prices: Vec<(Option<&RawValue>, &RawValue)> = if conditional {
                let each = list(model["prices"]).into_iter().map(fields);
                each.map(|price| (price.get("constraint").copied(), price["prices"])).collect()
            } else {
                vec![(None, model["prices"])]
            };
            models += 1;
            for (condition, prices) in prices {
                let prices = fields(prices);
                for at in instants(condition) {
                    for _ in 0..8 {
                        let tokens = only_priced(&prices, Tokens::draw(&mut draw));
                        let searches =
                            if prices.contains_key("web_searches_kcount") { draw.below(4) } else { 0 };
                        let charge = charge(rates(), &id, &name, at, |usage| {
                            tokens.put(usage);
                            if searches > 0 {
                                usage
                                    .units
                                    .insert("searches".to_owned(), searches.to_string().parse().unwrap());
                            }
                        });
                        calls += 1;
                        if prices.is_empty() {
                            // Free by its name, or not in the card.
                            without_price += usize::from(charge.tier.is_none());
                            assert!(charge.cost.is_zero(), "{id}/{name}");
                            continue;
                        }
                        let expected = dollars(genai_cost(&prices, &tokens, searches).unwrap());
                        let off = charge.cost.minus(expected).unwrap().to_scaled().unsigned_abs();
                        let most = if is_rounded(&prices) { 12 } else { 0 };
                        assert!(
                            off <= most,
                            "{id}/{name} at {at}: {} and not {expected}: {tokens:?}",
                            charge.cost
                        );
                        let tier = charge.tier.unwrap();
                        assert_eq!(
                            (tier.provider.as_str(), tier.model.as_str()),
                            (id.as_str(), name.as_str())
                        );
                    }
                }
            }
        }
    }
    assert_eq!(models, 1466);
    assert!(calls > 20_000 && without_price < 9 * 16 + 1, "{calls} calls, {without_price} without a price");
}

/// What plain tokens cost by the keys of LiteLLM, or by its ranges.
fn litellm_cost(model: &Fields<'_>, tokens: &Tokens) -> Option<i128> {
    let length = tokens.total_input();
    let ranges = model.get("tiered_pricing").map(|ranges| list(ranges));
    let number = |key: &str| -> Option<String> {
        if let Some(ranges) = &ranges {
            let mut found = None;
            for range in ranges {
                let range = fields(range);
                let begin: f64 = list(range.get("range")?).first()?.get().parse().unwrap();
                #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
                if (begin == 0.0 || length as f64 > begin) && range.contains_key(key) {
                    found = Some(range[key].get().to_owned());
                }
            }
            return found;
        }
        let longest = model.keys().filter_map(|other| {
            let thousands: i64 =
                other.strip_prefix(key)?.strip_prefix("_above_")?.strip_suffix("k_tokens")?.parse().ok()?;
            (length > thousands * 1000).then_some((thousands, model[other].get()))
        });
        longest
            .max()
            .map(|(_, price)| price)
            .or_else(|| model.get(key).map(|price| price.get()))
            .map(str::to_owned)
    };
    let classes: [(i64, &[&str]); 5] = [
        (tokens.input, &["input_cost_per_token"]),
        (tokens.cache_read, &["cache_read_input_token_cost", "input_cost_per_token"]),
        (tokens.cache_write, &["cache_creation_input_token_cost", "input_cost_per_token"]),
        (tokens.output, &["output_cost_per_token"]),
        (tokens.reasoning, &["output_cost_per_reasoning_token", "output_cost_per_token"]),
    ];
    let mut cost = 0;
    for (count, keys) in classes {
        if count > 0 {
            let price = keys.iter().find_map(|key| number(key))?;
            cost += exact(&price, 0) * i128::from(count);
        }
    }
    Some(cost)
}

#[test]
fn every_model_taken_from_litellm_costs_what_its_source_says_at_random_usage() {
    let Some((_, litellm)) = sources() else { return };
    let source: BTreeMap<String, &RawValue> = serde_json::from_str(&litellm).unwrap();
    // What LiteLLM has under the last part of a name; several providers of its may be one of the card.
    let mut by_name: HashMap<String, Vec<Fields<'_>>> = HashMap::new();
    for (name, model) in &source {
        let model = fields(model);
        for rest in name.match_indices('/').map(|(at, _)| &name[at + 1..]).chain([name.as_str()]) {
            by_name.entry(rest.to_owned()).or_default().push(model.clone());
        }
    }
    let mut draw = Draw(11);
    let (mut compared, mut only_units) = (0, 0);
    for model in &shipped().card.models {
        let plain = model.prices.iter().filter(|price| {
            price.source.as_ref().is_some_and(|source| source.as_str() == "litellm")
                && price.service_tier.is_none()
                && price.region.is_none()
                && price.effective_from == Timestamp::EARLIEST
        });
        if plain.count() == 0 {
            continue;
        }
        let (provider, name) = (model.provider.as_str(), model.model.as_str());
        let candidates = &by_name[name];
        let known = |model: &&Fields<'_>| {
            let of: Option<String> = model.get("litellm_provider").map(|of| text(of));
            of.is_some_and(|of| rates().provider(&of.parse().unwrap()).as_str() == provider)
        };
        let candidates: Vec<&Fields<'_>> = candidates.iter().filter(known).collect();
        assert!(!candidates.is_empty(), "{provider}/{name}");
        let has_tokens = |model: &&Fields<'_>| {
            model.contains_key("input_cost_per_token") || model.contains_key("tiered_pricing")
        };
        if !candidates.iter().any(has_tokens) {
            only_units += 1;
            continue;
        }
        for _ in 0..8 {
            let mut tokens = Tokens::draw(&mut draw);
            tokens = Tokens {
                input: tokens.input,
                cache_read: tokens.cache_read,
                output: tokens.output,
                ..Tokens::default()
            };
            let charge = charge(rates(), provider, name, "2026-11-22T12:00:00Z", |usage| tokens.put(usage));
            let requests = |model: &Fields<'_>| {
                ["input_cost_per_query", "input_cost_per_request"]
                    .iter()
                    .filter_map(|key| model.get(*key))
                    .map(|price| exact(price.get(), 0))
                    .sum::<i128>()
            };
            let expected: Vec<Usd> = candidates
                .iter()
                .filter_map(|model| Some(dollars(litellm_cost(model, &tokens)? + requests(model))))
                .collect();
            let near =
                |expected: &Usd| charge.cost.minus(*expected).unwrap().to_scaled().unsigned_abs() <= 12;
            // A price of nothing for one class beside others is not known, and is not taken.
            let zero = candidates.iter().any(|model| {
                ["cache_read_input_token_cost", "output_cost_per_token"]
                    .iter()
                    .any(|key| model.get(*key).is_some_and(|price| exact(price.get(), 0) == 0))
            });
            assert!(
                zero || expected.is_empty() || expected.iter().any(near),
                "{provider}/{name}: {} and not {expected:?}: {tokens:?}",
                charge.cost
            );
        }
        compared += 1;
    }
    assert!(compared > 1500, "{compared} compared, {only_units} without tokens");
}

#[test]
fn the_same_data_make_the_shipped_card_to_the_byte() {
    let Some((genai, litellm)) = sources() else { return };
    let card = shipped();
    let version = |name: &str| {
        card.sources.iter().find(|source| source.name == name).and_then(|source| source.version.as_deref())
    };
    let (again, report) = import(&Import {
        revision: &card.revision,
        issued_at: card.issued_at,
        genai: &genai,
        litellm: &litellm,
        genai_version: version("genai-prices"),
        litellm_version: version("litellm"),
    })
    .unwrap();
    assert_eq!(report.models, card.card.models.len());
    let files = to_files(&again).unwrap();
    let mut there: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, files.keys().cloned().collect::<Vec<_>>());
    for (name, text) in files {
        assert_eq!(std::fs::read_to_string(folder().join(&name)).unwrap(), text, "{name}");
    }
}

/// Whether a rule of genai-prices fits a name. Its regular expressions are all a name with a date, but one, which the
/// importer leaves out.
fn fits(rule: &RawValue, name: &str) -> bool {
    let rule = fields(rule);
    let (word, value) = rule.iter().next().unwrap();
    match word.as_str() {
        "or" => list(value).into_iter().any(|rule| fits(rule, name)),
        "equals" => text(value) == name,
        "starts_with" => name.starts_with(&text(value)),
        "ends_with" => name.ends_with(&text(value)),
        "contains" => name.contains(&text(value)),
        "regex" => {
            let regex = text(value).replace('\\', "");
            let stem =
                regex.trim_start_matches('^').trim_end_matches("-d{8}$").trim_end_matches("-d{4}-d{2}-d{2}$");
            fluxori_core::rates::without_date(name).is_some_and(|without| without == stem)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_known_name_means_the_model_that_its_source_means() {
    let Some((genai, litellm)) = sources() else { return };
    let providers: Vec<Fields<'_>> =
        serde_json::from_str::<Vec<&RawValue>>(&genai).unwrap().into_iter().map(fields).collect();
    let source: BTreeMap<String, &RawValue> = serde_json::from_str(&litellm).unwrap();
    let litellm: Vec<(String, String)> = source
        .iter()
        .filter_map(|(name, model)| {
            let provider = fields(model).get("litellm_provider").map(|provider| text(provider))?;
            let name = name.strip_prefix(&format!("{provider}/")).unwrap_or(name);
            Some((provider, name.to_owned()))
        })
        .collect();
    let mut compared = 0;
    let mut unlike: Vec<String> = Vec::new();
    for provider in &providers {
        let id = text(provider["id"]);
        let models: Vec<Fields<'_>> = list(provider["models"]).into_iter().map(fields).collect();
        let mut names: Vec<String> = models.iter().map(|model| text(model["id"])).collect();
        for model in &models {
            let rule = model["match"].get();
            let equals =
                rule.split("\"equals\":").skip(1).map(|rest| rest.split('"').nth(1).unwrap().to_owned());
            names.extend(equals);
        }
        let of_litellm =
            litellm.iter().filter(|(of, _)| rates().provider(&of.parse().unwrap()).as_str() == id);
        names.extend(of_litellm.map(|(_, name)| name.clone()));
        names.sort();
        names.dedup();
        for name in names {
            let Some(meant) = models.iter().find(|model| fits(model["match"], &name)) else { continue };
            if meant["prices"].get() == "{}" {
                continue;
            }
            compared += 1;
            let found = rates().model(&id.parse().unwrap(), &name.parse().unwrap(), Audience::Operator);
            let Some((entry, matched)) = found else { panic!("{id}/{name} means nothing") };
            if entry.provider.as_str() == id && entry.model.as_str() == text(meant["id"]) {
                continue;
            }
            // LiteLLM's own entry of a name that only a pattern takes says more than the pattern.
            let of_litellm =
                entry.tiers().all(|tier| tier.price.source.as_ref().is_some_and(|s| s.as_str() == "litellm"));
            let by_pattern = !meant["match"].get().contains(&format!("\"equals\":\"{name}\""))
                && !meant["match"].get().contains(&format!("\"equals\": \"{name}\""));
            if !(of_litellm && by_pattern && matched == Matched::Exact) {
                unlike.push(format!("{id}/{name}: {} and not {}", entry.model, text(meant["id"])));
            }
        }
    }
    assert!(compared > 2000, "{compared}");
    // Each of these is the id of a model in genai-prices, and by its order also a name of an earlier one.
    assert!(unlike.is_empty(), "{} of {compared}: {unlike:#?}", unlike.len());
}
