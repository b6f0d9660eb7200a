//! Whatever is sent, every decoder answers, soon, and what it answers holds: mutations of the captures, in their structure
//! and in their bytes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fluxori_ingest::otlp::{self, Encoding, Traces};
use fluxori_ingest::{Rejection, json, litellm, provider_usage};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{anyone, fixtures};

/// Most time for one input of a few kilobytes: a thousand times of what it takes.
const SOON: Duration = Duration::from_secs(2);

/// Cases of each property, unless PROPTEST_CASES says another number, as a soak does.
const CASES: u32 = 256;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The captures of a folder, as bytes and in the order of their names.
fn corpus(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(fixtures(folder)).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn of_litellm() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| corpus("litellm", "json"))
}

fn of_providers() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| corpus("provider_usage", "json"))
}

fn of_node() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| corpus("otlp", "json"))
}

fn of_protobuf() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| corpus("otlp", "pb"))
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let token = prop::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b":",
        b"null",
        b"NaN",
        b"-1",
        b"1e999",
        b"\\u0000",
        b"\\ud800",
        b"9007199254740993",
        b"0.1",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\x7f",
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), 1_usize..64).prop_map(|(at, count)| Edit::Remove(at, count)),
        (any::<Index>(), token).prop_map(|(at, token)| Edit::Insert(at, token.to_vec())),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..16))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), 1_usize..256).prop_map(|(at, count)| Edit::Repeat(at, count)),
        any::<Index>().prop_map(Edit::Cut),
    ]
}

fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match edit {
            Edit::Set(at, byte) => bytes[at.index(length)] = *byte,
            Edit::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Edit::Remove(at, count) => {
                drop(bytes.drain(at.index(length)..(at.index(length) + count).min(length)))
            }
            Edit::Insert(at, token) => {
                drop(bytes.splice(at.index(length)..at.index(length), token.iter().copied()))
            }
            Edit::Repeat(at, count) => {
                let part = bytes[at.index(length)..(at.index(length) + count).min(length)].to_vec();
                bytes.splice(at.index(length)..at.index(length), part);
            }
            Edit::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

/// A change of one value inside of another.
#[derive(Debug, Clone)]
enum Change {
    Put(Value),
    Remove,
    /// Puts another value of the same document there.
    Graft(Index),
    Add(String, Value),
}

fn value() -> impl Strategy<Value = Value> {
    let odd = prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1_000_000_000),
        json!(1_000_000_001),
        json!(10.0),
        json!(0.5),
        json!(-0.000_000_1),
        json!(1e300),
        json!(1e-300),
        json!(1_795_411_200.25),
        json!(""),
        json!(" "),
        json!("None"),
        json!("\u{0}"),
        json!("x".repeat(300)),
        json!("é".repeat(5_000)),
        json!("10"),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!({"input_tokens": 5}),
        json!([{"modality": "AUDIO", "tokenCount": 7}]),
    ]);
    prop_oneof![4 => odd, 1 => any::<i64>().prop_map(Value::from), 1 => any::<f64>().prop_map(Value::from),
        1 => ".{0,40}".prop_map(Value::from)]
}

fn change() -> impl Strategy<Value = (Index, Change)> {
    let names = prop::sample::select(vec![
        "usage",
        "response",
        "id",
        "org_id",
        "cache_creation_input_tokens",
        "reasoning_tokens",
        "total_tokens",
        "seconds",
        "iterations",
        "billed_units",
        "intValue",
        "stringValue",
        "key",
        "parentSpanId",
        "startTime",
        "fluxori_module",
    ]);
    let change = prop_oneof![
        4 => value().prop_map(Change::Put),
        1 => Just(Change::Remove),
        2 => any::<Index>().prop_map(Change::Graft),
        1 => (names, value()).prop_map(|(name, value)| Change::Add(name.to_owned(), value)),
    ];
    (any::<Index>(), change)
}

/// The paths of all values in a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            pointers(field, &format!("{at}/{name}"), found);
        }),
        _ => {}
    }
}

fn changed(bytes: &[u8], changes: &[(Index, Change)]) -> Value {
    let mut document: Value = serde_json::from_slice(bytes).unwrap();
    for (at, change) in changes {
        let mut found = Vec::new();
        pointers(&document, "", &mut found);
        let pointer = &found[at.index(found.len())];
        let graft = match change {
            Change::Graft(from) => document.pointer(&found[from.index(found.len())]).cloned().unwrap(),
            _ => Value::Null,
        };
        let target = document.pointer_mut(pointer).unwrap();
        match change {
            Change::Put(value) => *target = value.clone(),
            Change::Graft(_) => *target = graft,
            Change::Add(name, value) => {
                if let Value::Object(fields) = target {
                    fields.insert(name.clone(), value.clone());
                }
            }
            Change::Remove if pointer.is_empty() => *target = Value::Null,
            Change::Remove => {
                let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
                match document.pointer_mut(parent) {
                    Some(Value::Object(fields)) => {
                        drop(fields.remove(&name.replace("~1", "/").replace("~0", "~")))
                    }
                    Some(Value::Array(items)) => drop(items.remove(name.parse().unwrap())),
                    _ => {}
                }
            }
        }
    }
    document
}

/// The answer, and that it came soon.
fn soon<T>(decode: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    let begin = Instant::now();
    let answer = decode();
    prop_assert!(begin.elapsed() < SOON, "it took {:?}", begin.elapsed());
    Ok(answer)
}

fn check_rejection(rejection: &Rejection) -> Result<(), TestCaseError> {
    prop_assert!(!rejection.detail.is_empty());
    prop_assert!(rejection.event_id.as_ref().is_none_or(|id| id.chars().count() <= 256));
    Ok(())
}

fn check_litellm(payload: &Value) -> Result<(), TestCaseError> {
    let read = || litellm::read(payload, &anyone());
    match soon(read)? {
        Ok(event) => {
            prop_assert_eq!(event.billing_digest(), read().unwrap().billing_digest(), "a retry is the same")
        }
        Err(rejection) => check_rejection(&rejection)?,
    }
    Ok(())
}

fn check_provider_usage(event: &Value) -> Result<(), TestCaseError> {
    match soon(|| provider_usage::expand(event.clone()))? {
        Ok(expanded) => {
            let again = provider_usage::expand(expanded.clone()).ok();
            prop_assert_eq!(again, Some(expanded), "what is expanded stays so");
        }
        Err(rejection) => check_rejection(&rejection)?,
    }
    Ok(())
}

fn check_otlp(bytes: &[u8], encoding: Encoding) -> Result<(), TestCaseError> {
    match soon(|| otlp::read(bytes, encoding, &anyone()))? {
        Ok(Traces { events, rejected, .. }) => {
            let mut ids: Vec<_> = events.iter().map(|span| span.event.event_id).collect();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), events.len(), "no event comes twice");
            rejected.iter().try_for_each(|span| check_rejection(&span.rejection))?;
            soon(|| otlp::answer(&rejected, encoding))?;
        }
        Err(rejection) => check_rejection(&rejection)?,
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn reading_json_never_panics_and_never_hangs(
        file in any::<Index>(), edits in prop::collection::vec(edit(), 0..6), bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let corpus = of_litellm();
        let edited = edited(&corpus[file.index(corpus.len())], &edits);
        for bytes in [&edited, &bytes] {
            let ours = soon(|| json::read(bytes))?;
            let theirs = serde_json::from_slice::<Value>(bytes);
            match ours {
                // Stricter than serde, and never another value.
                Ok(value) => prop_assert_eq!(Some(value), theirs.ok()),
                Err(rejection) => check_rejection(&rejection)?,
            }
        }
    }

    #[test]
    fn the_decoder_of_litellm_never_panics_and_never_hangs(
        file in any::<Index>(), changes in prop::collection::vec(change(), 0..6), edits in prop::collection::vec(edit(), 0..4),
    ) {
        let corpus = of_litellm();
        let bytes = &corpus[file.index(corpus.len())];
        check_litellm(&changed(bytes, &changes))?;
        if let Ok(payload) = json::read(&edited(bytes, &edits)) {
            check_litellm(&payload)?;
        }
    }

    #[test]
    fn the_decoder_of_providers_usage_never_panics_and_never_hangs(
        file in any::<Index>(), changes in prop::collection::vec(change(), 0..6), edits in prop::collection::vec(edit(), 0..4),
    ) {
        let corpus = of_providers();
        let bytes = &corpus[file.index(corpus.len())];
        check_provider_usage(&changed(bytes, &changes))?;
        if let Ok(event) = json::read(&edited(bytes, &edits)) {
            check_provider_usage(&event)?;
        }
    }

    #[test]
    fn the_decoder_of_otlp_in_json_never_panics_and_never_hangs(
        file in any::<Index>(), changes in prop::collection::vec(change(), 0..8), edits in prop::collection::vec(edit(), 0..4),
    ) {
        let corpus = of_node();
        let bytes = &corpus[file.index(corpus.len())];
        check_otlp(changed(bytes, &changes).to_string().as_bytes(), Encoding::Json)?;
        check_otlp(&edited(bytes, &edits), Encoding::Json)?;
    }

    #[test]
    fn the_decoder_of_otlp_in_protobuf_never_panics_and_never_hangs(
        file in any::<Index>(), edits in prop::collection::vec(edit(), 0..6), bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let corpus = of_protobuf();
        check_otlp(&edited(&corpus[file.index(corpus.len())], &edits), Encoding::Protobuf)?;
        check_otlp(&bytes, Encoding::Protobuf)?;
    }
}

#[test]
fn many_nested_spans_and_long_chains_of_parents_are_read_soon() {
    let span = |index: usize| {
        json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": format!("{:016x}", index + 1), "name": "chat",
            "parentSpanId": format!("{index:016x}"), "startTimeUnixNano": "1795411200000000000",
            "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}},
                {"key": "fluxori.org_id", "value": {"stringValue": "acme"}}]})
    };
    let spans: Vec<Value> = (0..10_000).map(span).collect();
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string();
    let begin = Instant::now();
    let traces = otlp::read(request.as_bytes(), Encoding::Json, &anyone()).unwrap();
    assert_eq!(traces.ignored + traces.rejected.len() + traces.events.len(), 10_000);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
