//! Odd and oversized requests of OTLP.

use fluxori_ingest::Reason;
use fluxori_ingest::otlp::{self, Encoding, Traces};
use serde_json::json;

use super::anyone;
use super::otlp::{call, request};

/// A request in JSON of three calls, the second with this in its attributes.
fn with_one_odd_span(odd: &str) -> Traces {
    let mark = "PLACE";
    let mut middle = call(None, 700);
    middle["note"] = json!(mark);
    let request = request(&[("first", call(None, 1)), ("odd", middle), ("last", call(None, 2))]).to_string();
    otlp::read(
        request.replace(&format!(r#"{{"stringValue":"{mark}"}}"#), odd).as_bytes(),
        Encoding::Json,
        &anyone(),
    )
    .unwrap()
}

#[test]
fn a_span_that_is_odd_json_does_not_cost_the_others() {
    for (odd, why) in [
        (r#"{"doubleValue": 1e999}"#, "too large"),
        (r#"{"stringValue": "a", "stringValue": "b"}"#, "comes twice"),
        (r#"[[["#.repeat(50).as_str(), "nested deeper"),
    ] {
        let odd = if odd.starts_with("[[") { format!("{odd}{}", "]".repeat(150)) } else { odd.to_owned() };
        let traces = with_one_odd_span(&odd);
        let spans: Vec<_> = traces.events.iter().map(|span| span.span.as_str()).collect();
        assert_eq!((spans, traces.ignored), (vec!["first", "last"], 0), "{odd}");
        let [rejected] = &traces.rejected[..] else { panic!("{odd}") };
        assert_eq!((rejected.span.as_str(), rejected.rejection.reason), ("odd", Reason::NotJson));
        assert!(rejected.rejection.detail.contains(why), "{}", rejected.rejection);
        let field = rejected.rejection.field.as_deref().unwrap();
        assert!(field.starts_with("resourceSpans[0].scopeSpans[0].spans[1].attributes"), "{field}");
    }
}

#[test]
fn halves_of_characters_are_replaced_and_cost_nothing() {
    let value = |escaped: &str| {
        let mut attributes = call(None, 700);
        attributes["fluxori.tag.text"] = json!("PLACE");
        let request = request(&[("chat", attributes)]).to_string().replace("PLACE", escaped);
        let traces = otlp::read(request.as_bytes(), Encoding::Json, &anyone()).unwrap();
        traces.events[0].event.tags["text"].clone()
    };
    assert_eq!(value(r"cut \ud83d"), "cut \u{fffd}");
    assert_eq!(value(r"\ude00\ud83d\ud83d\ude00!"), "\u{fffd}\u{fffd}😀!");
    assert_eq!(value(r"whole \ud83d\ude00"), "whole 😀");
    assert_eq!(value(r"no escape \\ud83d"), r"no escape \ud83d");
}

#[test]
fn a_resource_that_is_odd_json_costs_only_its_own_spans() {
    let mut two = request(&[("theirs", call(None, 700))]);
    two["resourceSpans"][0]["resource"]["attributes"][0]["value"] = json!("PLACE");
    let ours = request(&[("skipped", json!({})), ("ours", call(None, 700))]);
    two["resourceSpans"].as_array_mut().unwrap().push(ours["resourceSpans"][0].clone());
    let bytes = two.to_string().replace(r#""PLACE""#, "1e999");
    let traces = otlp::read(bytes.as_bytes(), Encoding::Json, &anyone()).unwrap();
    assert_eq!((traces.events.len(), traces.ignored, traces.rejected.len()), (1, 1, 1));
    assert_eq!((traces.events[0].span.as_str(), traces.rejected[0].span.as_str()), ("ours", "theirs"));
}

/// A field of protobuf that has a length.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (vec![number << 3 | 2], contents.len());
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(contents);
    bytes
}

#[test]
fn requests_of_too_many_spans_or_attributes_are_too_large_before_they_are_unpacked() {
    let refused = |bytes: &[u8], encoding| {
        otlp::read(bytes, encoding, &anyone())
            .map(|traces| traces.ignored)
            .map_err(|rejection| rejection.reason)
    };
    let in_json = |spans: &str, of_resource: &str| {
        let request = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{of_resource}]}},"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#
        );
        refused(request.as_bytes(), Encoding::Json)
    };
    let times = |what: &str, count: usize| vec![what; count].join(",");
    assert_eq!(in_json(&times("{}", 100_000), ""), Ok(100_000));
    assert_eq!(in_json(&times("{}", 100_001), ""), Err(Reason::TooLarge));
    let of_attributes = |count| format!(r#"{{"attributes":[{}]}}"#, times("{}", count));
    assert_eq!(in_json(&of_attributes(1_000), ""), Ok(1));
    assert_eq!(in_json(&of_attributes(1_001), ""), Err(Reason::TooLarge));
    assert_eq!(in_json("{}", &times("{}", 1_000)), Ok(1));
    assert_eq!(in_json("{}", &times("{}", 1_001)), Err(Reason::TooLarge));

    let in_protobuf = |spans: &[u8], resource: &[u8]| {
        refused(&field(1, &[resource, &field(2, spans)].concat()), Encoding::Protobuf)
    };
    assert_eq!(in_protobuf(&field(2, b"").repeat(100_000), b""), Ok(100_000));
    assert_eq!(in_protobuf(&field(2, b"").repeat(100_001), b""), Err(Reason::TooLarge));
    assert_eq!(in_protobuf(&field(2, &field(9, b"").repeat(1_000)), b""), Ok(1));
    assert_eq!(in_protobuf(&field(2, &field(9, b"").repeat(1_001)), b""), Err(Reason::TooLarge));
    // A resource that comes in parts is one.
    let part = field(1, &field(1, b"").repeat(600));
    assert_eq!(in_protobuf(&field(2, b""), &part), Ok(1));
    assert_eq!(in_protobuf(&field(2, b""), &part.repeat(2)), Err(Reason::TooLarge));
    // Resources and scopes without spans, and a length that reaches beyond what it stands in.
    assert_eq!(refused(&field(1, b"").repeat(100_001), Encoding::Protobuf), Err(Reason::TooLarge));
    assert_eq!(refused(&field(1, &field(2, b"").repeat(100_001)), Encoding::Protobuf), Err(Reason::TooLarge));
    let beyond = [field(1, &[0x12, 0x7f]), field(1, b"").repeat(100)].concat();
    assert_eq!(refused(&beyond, Encoding::Protobuf), Err(Reason::Invalid));
}

#[test]
fn many_spans_of_a_resource_with_many_attributes_are_read_soon() {
    let attributes: Vec<Vec<u8>> =
        (0..1_000).map(|n| field(1, &field(1, format!("attribute-{n:03}").as_bytes()))).collect();
    let span =
        field(2, &field(9, &[field(1, b"gen_ai.operation.name"), field(2, &field(1, b"chat"))].concat()));
    let request = field(1, &[field(1, &attributes.concat()), field(2, &span.repeat(100_000))].concat());
    let begin = std::time::Instant::now();
    let traces = otlp::read(&request, Encoding::Protobuf, &anyone()).unwrap();
    assert_eq!(traces.rejected.len(), 100_000);
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}
