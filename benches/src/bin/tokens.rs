//! Counting tokens: ordinary text beside `tiktoken-rs` in the same run, and what text costs that is slow to tokenize elsewhere.
//!
//! Ordinary text is 100 kB of the fixture's sentences and code in many languages, ten texts a run, each drawn anew from them, so
//! that sentences repeat, but not pages. The last line is one JSON object: `ratio_tiktoken_rs` (our throughput by theirs, with `o200k_base`), `worst_ratio`
//! (time per byte of 10 MB of one letter, blanks, line ends, digits, punctuation or one emoji, by that of ordinary text of the
//! same vocabulary; the worst of all six), `growth` (the same texts' time per byte at 10 MB by that at 1 MB, the worst) and
//! `noise_ratio` (10 MB of random letters without a blank, by ordinary text, the worst).

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use benches::{interleaved, per_second};
use fluxori_tokens::Model;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

const ORDINARY: usize = 100_000;
/// Texts of ordinary size that one run counts.
const TEXTS: u64 = 10;
const MB: usize = 1_000_000;
const MODELS: [(&str, &str); 6] = [
    ("o200k_base", "gpt-5"),
    ("cl100k_base", "gpt-4"),
    ("llama3", "llama-3.1-8b"),
    ("deepseek_v3", "deepseek-chat"),
    ("qwen2", "qwen3-8b"),
    ("tekken", "ministral-8b-2410"),
];
const RUNS_OF: [(&str, &str); 6] = [
    ("letter", "a"),
    ("blanks", " "),
    ("line ends", "\n"),
    ("digits", "7"),
    ("punctuation", "!"),
    ("emoji", "\u{1F642}"),
];

fn main() -> Result<()> {
    let sentences = sentences()?;
    let ratio = beside_tiktoken_rs(&sentences)?;
    let (worst, growth, noise) = worst_cases(&sentences)?;
    println!(
        "{}",
        json!({"ratio_tiktoken_rs": ratio, "worst_ratio": worst, "growth": growth, "noise_ratio": noise})
    );
    Ok(())
}

/// The prose, code and mixtures of the fixture of `fluxori-tokens`.
fn sentences() -> Result<Vec<String>> {
    let lines = include_str!("../../../crates/tokens/tests/reference/fixture.jsonl").lines().skip(1);
    let texts: Vec<(String, String, Vec<u32>)> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ordinary = ["prose/", "paragraph/", "code/", "mixed/"];
    let used = texts.into_iter().filter(|(kind, ..)| ordinary.iter().any(|prefix| kind.starts_with(prefix)));
    Ok(used.map(|(_, text, _)| text).collect())
}

fn ordinary(sentences: &[String], seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::with_capacity(ORDINARY + 1000);
    while text.len() < ORDINARY {
        let sentence = sentences.get(random.random_range(0..sentences.len()));
        text.push_str(sentence.map_or("", String::as_str));
        text.push('\n');
    }
    text
}

/// Our throughput by that of tiktoken-rs, of which the encoder is faster than its counter.
fn beside_tiktoken_rs(sentences: &[String]) -> Result<f64> {
    let texts: Vec<String> = (0..TEXTS).map(|seed| ordinary(sentences, seed)).collect();
    let model = Model::named("openai", "gpt-5");
    let theirs = tiktoken_rs::o200k_base_singleton();
    for text in &texts {
        ensure!(model.count_text(text)?.tokens == theirs.count_ordinary(text) as u64, "other counts");
    }
    let (ours, floor) = interleaved(
        || {
            texts.iter().try_for_each(|text| {
                black_box(model.count_text(text)?);
                Ok(())
            })
        },
        || -> Result<()> {
            texts.iter().for_each(|text| _ = black_box(theirs.encode_ordinary(text).len()));
            Ok(())
        },
    )?;
    let bytes = texts.iter().map(String::len).sum();
    let (ours, floor) = (per_second(bytes, ours) / 1e6, per_second(bytes, floor) / 1e6);
    println!("100 kB of prose and code, o200k_base: {ours:>8.1} MB/s");
    println!("tiktoken-rs, the same texts:          {floor:>8.1} MB/s");
    Ok(ours / floor)
}

/// The worst ratio to ordinary text, the worst growth from 1 to 10 MB, and the worst ratio of noise.
fn worst_cases(sentences: &[String]) -> Result<(f64, f64, f64)> {
    let (mut worst, mut growth, mut noise) = (0_f64, 0_f64, 0_f64);
    let mut random = StdRng::seed_from_u64(1);
    let letters: String = (0..10 * MB).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
    println!("nanoseconds per byte, 1 MB and 10 MB of:");
    for (vocabulary, name) in MODELS {
        let model = Model::named("", name);
        let texts: Vec<String> = (0..TEXTS).map(|seed| ordinary(sentences, seed)).collect();
        // The first unpacks the vocabulary, or is the first long piece, which unpacks its merges.
        time(&model, texts.first().context("a text")?)?;
        time(&model, &"xy".repeat(MB / 2))?;
        let mut times = texts.iter().map(|text| time(&model, text)).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        let usual = *times.get(times.len() / 2).context("a median")?;
        print!("{vocabulary:>12}: ordinary {usual:.1}");
        for (what, unit) in RUNS_OF {
            let (short, long) = (unit.repeat(MB / unit.len()), unit.repeat(10 * MB / unit.len()));
            let (short, long) = (best(&model, &short)?, best(&model, &long)?);
            print!(", {what} {short:.1} {long:.1}");
            worst = worst.max(long / usual);
            growth = growth.max(long / short);
        }
        let random = time(&model, &letters)?;
        println!(", random letters {random:.1}");
        noise = noise.max(random / usual);
    }
    Ok((worst, growth, noise))
}

/// Nanoseconds per byte, the best of three.
fn best(model: &Model, text: &str) -> Result<f64> {
    (0..3).try_fold(f64::INFINITY, |best, _| Ok(time(model, text)?.min(best)))
}

fn time(model: &Model, text: &str) -> Result<f64> {
    let begin = Instant::now();
    black_box(model.count_text(text)?);
    Ok(1e9 / per_second(text.len(), begin.elapsed()))
}
