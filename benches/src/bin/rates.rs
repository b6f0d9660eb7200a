//! What pricing costs on one core with the shipped card: from a usage event to its charge, finding the model by its name
//! included, without any server.
//!
//! The floor is what no pricing can do without: one look-up of the model's name in a hash table, and three products. The
//! last line is one JSON object: `priced_per_s`, `floor_per_s`, `ratio` (the first by the second), `models`, and
//! `bytes_per_partition` (what the rates in force take in memory; every partition of a consumer has its own).

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use benches::{interleaved, per_second};
use fluxori_core::amount::Rate;
use fluxori_core::id::{EventId, Model};
use fluxori_core::meter::Meter;
use fluxori_core::pricing::price;
use fluxori_core::rates::{Audience, Card, ModelRates, NamePattern, Price, Rates};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_rate_card::RateCard;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

const EVENTS: u32 = 200_000;
const NOW: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);
/// The card is filled up to this many models, if it has fewer.
const LEAST_MODELS: usize = 2_300;
/// How many partitions' rates are made to measure what one takes.
const PARTITIONS: usize = 8;

/// How a name is drawn, of every hundred events: by the model's own name, with a date, as an alias, by a pattern, and
/// names that mean nothing.
const MIX: [u32; 5] = [55, 20, 10, 10, 5];

fn main() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rates/2026-11");
    let mut card = RateCard::read(&path)?;
    let shipped = card.card.models.len();
    fill_up(&mut card.card)?;
    let models = card.card.models.len();
    let (rates, bytes) = in_force(&card)?;
    let events = events(&card.card, &rates)?;
    let by_name: HashMap<&str, [i128; 3]> =
        card.card.models.iter().map(|model| (model.model.as_str(), some_rates(model))).collect();
    let price_all = || -> Result<()> {
        for event in &events {
            black_box(price(event, &rates)?);
        }
        Ok(())
    };
    let look_up_all = || -> Result<()> {
        for event in &events {
            if let Some([input, cached, output]) = by_name.get(event.request_model.as_str()) {
                let tokens =
                    [event.input_tokens, event.cache_read_input_tokens, event.output_tokens].map(i128::from);
                let [of_input, of_cached, of_output] = tokens;
                black_box(input * of_input + cached * of_cached + output * of_output);
            }
        }
        Ok(())
    };
    let (subject, floor) = interleaved(price_all, look_up_all)?;
    let (priced, looked_up) = (per_second(events.len(), subject), per_second(events.len(), floor));
    println!("card: {models} models ({shipped} of them shipped), {} tiers", rates.tiers().count());
    println!("memory of one partition's rates:     {bytes:>12} bytes");
    println!("find the model, price its usage:     {priced:>12.0} events/s");
    println!("one look-up, three products (floor): {looked_up:>12.0} events/s");
    println!(
        "{}",
        json!({
            "priced_per_s": priced.round(),
            "floor_per_s": looked_up.round(),
            "ratio": priced / looked_up,
            "models": models,
            "bytes_per_partition": bytes,
        })
    );
    Ok(())
}

/// Copies models under other names until there are enough.
fn fill_up(card: &mut Card) -> Result<()> {
    let shipped = card.models.clone();
    let missing = LEAST_MODELS.saturating_sub(shipped.len());
    for (number, model) in (0..missing).zip(shipped.iter().cycle()) {
        let name = format!("copy-{number}-{}", model.model).parse()?;
        card.models.push(ModelRates {
            model: name,
            aliases: Vec::new(),
            patterns: Vec::new(),
            ..model.clone()
        });
    }
    Ok(())
}

/// The rates in force, and what the rates of one partition take in memory.
fn in_force(card: &RateCard) -> Result<(Rates, usize)> {
    let make = || -> Result<Rates> {
        let mut rates = Rates::default();
        rates.put_in_force(&card.revision, card.card.clone())?;
        Ok(rates)
    };
    let rates = make()?;
    let before = resident()?;
    let others = (0..PARTITIONS).map(|_| make()).collect::<Result<Vec<_>>>()?;
    let bytes = resident()?.saturating_sub(before) / others.len();
    drop(others);
    Ok((rates, bytes))
}

/// Bytes of memory in use.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

fn some_rates(model: &ModelRates) -> [i128; 3] {
    let price = |price: &Price| {
        [Meter::Input, Meter::CacheRead, Meter::Output]
            .map(|meter| price.rate(meter, 0).map_or(0, |(_, rate): (_, Rate)| rate.to_scaled()))
    };
    model.prices.last().map_or([0; 3], price)
}

fn events(card: &Card, rates: &Rates) -> Result<Vec<UsageEvent>> {
    let mut random = StdRng::seed_from_u64(7);
    let patterned: Vec<_> = card.models.iter().filter(|model| !model.patterns.is_empty()).collect();
    let aliased: Vec<_> = card.models.iter().filter(|model| !model.aliases.is_empty()).collect();
    ensure!(!patterned.is_empty() && !aliased.is_empty(), "a card without aliases or patterns");
    let mut draw = |models: &[&ModelRates]| {
        models.get(random.random_range(0..models.len())).map(|model| (*model).clone())
    };
    let all: Vec<_> = card.models.iter().collect();
    let mut events = Vec::new();
    for number in 0..EVENTS {
        let place = number % 100;
        let kind = MIX
            .iter()
            .scan(0, |sum, share| {
                *sum += share;
                Some(*sum)
            })
            .position(|end| place < end)
            .unwrap_or(0);
        let model = match kind {
            2 => draw(&aliased),
            3 => draw(&patterned),
            _ => draw(&all),
        }
        .context("a model")?;
        let name: Model = match kind {
            1 => format!("{}-2026-08-07", model.model).parse()?,
            2 => model.aliases.first().context("an alias")?.clone(),
            3 => by_pattern(&model)?,
            4 => format!("nobody-knows-{number}").parse()?,
            _ => model.model.clone(),
        };
        events.push(event(number, &model, name)?);
    }
    let unknown = events
        .iter()
        .filter(|event| rates.model(&event.provider, &event.request_model, Audience::Operator).is_none())
        .count();
    ensure!(unknown * 100 < events.len() * 6, "{unknown} names mean nothing");
    Ok(events)
}

/// A name that a pattern of the model takes.
fn by_pattern(model: &ModelRates) -> Result<Model> {
    let pattern = model.patterns.first().context("a pattern")?;
    Ok(match pattern {
        NamePattern::StartsWith(text) => format!("{text}-x1"),
        NamePattern::EndsWith(text) => format!("x1-{text}"),
        NamePattern::Contains(text) => format!("x1-{text}-x1"),
    }
    .parse()?)
}

/// With the fields that decide its price as calls usually have them.
fn event(number: u32, model: &ModelRates, name: Model) -> Result<UsageEvent> {
    let id = EventId(Uuid::from_u128(u128::from(number) | 7 << 76 | 2 << 62));
    let org = format!("org-{}", number % 1000).parse()?;
    let mut fields =
        UsageFields::new(id, NOW, org, "rag-retrieval".parse()?, model.provider.clone(), name.clone());
    fields.feature = Some("answer".parse()?);
    fields.response_model = number.is_multiple_of(2).then_some(name);
    let count = i64::from(number);
    fields.input_tokens = count % 8000;
    fields.cache_read_input_tokens = fields.input_tokens / 2;
    fields.output_tokens = count % 900;
    fields.reasoning_output_tokens = fields.output_tokens / 3;
    fields.batch = number.is_multiple_of(10);
    Ok(UsageEvent::new(fields)?)
}
