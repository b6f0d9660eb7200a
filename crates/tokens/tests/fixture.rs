//! The counts held against those of the reference tokenizers, which `reference/make.py` wrote down.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use fluxori_tokens::{Basis, Estimator, Model, StreamCounter, Tokenizer, Vocabulary};
use proptest::prelude::*;

struct Text {
    kind: String,
    text: String,
    counts: Vec<u64>,
}

/// The names of the counters, and the texts with a count of each.
fn fixture() -> (Vec<String>, Vec<Text>) {
    let mut lines = include_str!("reference/fixture.jsonl").lines();
    let names = serde_json::from_str(lines.next().unwrap()).unwrap();
    let texts = lines.map(|line| {
        let (kind, text, counts) = serde_json::from_str(line).unwrap();
        Text { kind, text, counts }
    });
    (names, texts.collect())
}

/// A model of each vocabulary.
const MODELS: [&str; 6] = [
    "gpt-4-0613",
    "gpt-5",
    "llama-3.3-70b-instruct",
    "deepseek-chat",
    "qwen3-8b",
    "mistral-nemo-instruct-2407",
];

#[test]
fn every_text_counts_as_the_reference_tokenizers_say() {
    let (names, texts) = fixture();
    assert!(texts.len() >= 500);
    for (model, vocabulary) in MODELS.iter().zip(Vocabulary::ALL) {
        let column = names.iter().position(|name| name == vocabulary.name()).unwrap();
        let model = Model::named("", model);
        for Text { kind, text, counts } in &texts {
            let count = model.count_text(text).unwrap();
            assert_eq!(count.basis, Basis::Exact { vocabulary });
            assert_eq!(count.tokens, counts[column], "{vocabulary:?} {kind} {text:?}");
            assert_eq!(count.upper(), count.tokens);
        }
    }
}

/// On the half of the texts that the factors were not fitted on: `reference/fit.py` takes every second of the same texts.
#[test]
fn an_estimate_stays_within_its_margin_for_95_of_100_texts() {
    let (names, texts) = fixture();
    let column = |name: &str| names.iter().position(|known| known == name).unwrap();
    let groups = ["paragraph", "prose", "code", "mixed", "special"];
    let used = texts.iter().filter(|text| {
        groups.contains(&text.kind.split('/').next().unwrap()) && text.counts[column("o200k_base")] >= 50
    });
    let held_out: Vec<&Text> = used.skip(1).step_by(2).collect();
    let cases = [
        ("claude-2.1", Estimator::Claude2, vec!["claude_2"]),
        ("claude-sonnet-4-5", Estimator::Claude3, vec!["claude_3"]),
        ("claude-opus-4-7", Estimator::Claude47, vec!["claude_4_7"]),
        ("gemini-1.5-pro", Estimator::Gemini1, vec!["gemini_1"]),
        ("gemini-2.5-pro", Estimator::Gemini, vec!["gemini"]),
        ("mixtral-8x7b", Estimator::MistralSentencepiece, vec!["mistral_sp"]),
        ("qwen3.5-27b", Estimator::Qwen35, vec!["qwen3_5"]),
        ("someones-model", Estimator::Unknown, names.iter().map(String::as_str).collect()),
    ];
    for (name, estimator, references) in &cases {
        let model = Model::named("", name);
        assert_eq!(model.tokenizer(), Tokenizer::Estimate(*estimator));
        let mut errors = Vec::new();
        for text in &held_out {
            let estimate = model.count_text(&text.text).unwrap().tokens;
            for reference in references {
                let truth = text.counts[column(reference)];
                errors.push(estimate.abs_diff(truth) * 1000 / truth);
            }
        }
        errors.sort_unstable();
        // In per mille.
        let at = |percent: usize| errors[errors.len() * percent / 100];
        println!(
            "{name}: {} texts, median {}, 90 % {}, 95 % {} per mille",
            held_out.len(),
            at(50),
            at(90),
            at(95)
        );
        let margin = u64::from(estimator.margin_percent()) * 10;
        assert!(at(95) <= margin, "{estimator:?}: {} per mille", at(95));
    }
    let measured = Estimator::ALL.iter().filter(|estimator| estimator.measured()).count();
    assert_eq!(measured, cases.len(), "what is called measured is measured here");
}

#[test]
fn special_tokens_are_text() {
    let count = Model::named("openai", "gpt-4o").count_text("<|endoftext|>").unwrap();
    assert!(count.tokens > 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Texts of the fixture joined, so that cuts are found, and pushed in chunks of any size.
    #[test]
    fn a_stream_counts_what_the_whole_text_counts_at_every_moment(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
        sizes in prop::collection::vec(1_usize..3000, 1..20),
        model in prop::sample::select([&MODELS[..], &["claude-opus-4-7", "mistral-large-latest", "what-is-it"]].concat()),
    ) {
        let (_, texts) = fixture();
        let whole: String = picks.iter().map(|pick| pick.get(&texts).text.as_str()).collect();
        let model = Model::named("", model);
        let mut counter = StreamCounter::new(&model);
        let (mut at, mut sizes) = (0, sizes.into_iter().cycle());
        while at < whole.len() {
            let end = whole.ceil_char_boundary((at + sizes.next().unwrap()).min(whole.len()));
            counter.push(&whole[at..end]).unwrap();
            at = end;
            prop_assert_eq!(counter.count(), model.count_text(&whole[..at]).unwrap());
        }
        prop_assert_eq!(counter.bytes(), whole.len());
    }
}

#[test]
fn a_stream_of_ordinary_text_keeps_little_of_it() {
    let (_, texts) = fixture();
    let prose =
        texts.iter().filter(|text| text.kind.starts_with("paragraph") || text.kind.starts_with("code"));
    let mut counter = StreamCounter::new(&Model::named("", "gpt-5"));
    let mut most = 0;
    for text in prose {
        for line in text.text.split_inclusive('\n') {
            counter.push(line).unwrap();
            most = most.max(counter.kept());
        }
    }
    assert!(counter.bytes() > 80_000);
    assert!(most < 10_000, "{most}");
}
