use fluxori_core::id::EventId;
use fluxori_core::usage::UsageFields;
use fluxori_ingest::{Reason, Rejection, json, provider_usage};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{fixture, used};

/// As the gateway reads it: the id apart, which is a foreign one here.
fn read(event: Value) -> (String, fluxori_core::usage::UsageEvent) {
    let mut event = provider_usage::expand(event).unwrap();
    let id = event["event_id"].as_str().unwrap().to_owned();
    event["event_id"] = json!(EventId(Uuid::nil()).to_string());
    let fields: UsageFields = serde_json::from_value(event).unwrap();
    (id, fluxori_core::usage::UsageEvent::new(fields).unwrap())
}

fn posted(name: &str) -> Value {
    json::read(&fixture(&format!("provider_usage/{name}.json"))).unwrap()
}

fn refused(event: Value) -> Rejection {
    provider_usage::expand(event).unwrap_err()
}

#[test]
fn every_provider_is_read_in_its_own_way_of_counting() {
    for (name, quantities) in [
        ("openai_chat", "in 1117, read 1024, audio_in 64, out 146, reasoning 64, audio_out 20"),
        ("openai_responses", "in 2000, read 1500, out 300, reasoning 128, searches 1"),
        ("openai_embeddings", "in 8"),
        ("openai_image", "in 50, image_in 10, out 4160"),
        ("openai_transcription", "in 14, audio_in 10, out 45"),
        ("openai_whisper", "audio_seconds 9.5"),
        ("anthropic", "in 191107, read 188086, w5m 2000, w1h 1000, out 393, searches 2"),
        ("anthropic_compaction", "in 5100, out 710"),
        ("gemini", "in 1530, read 500, audio_in 100, image_in 258, read_audio 60, out 150, reasoning 50"),
        ("gemini_snake", "in 1500, read 500, out 150, reasoning 50"),
        ("bedrock_converse", "in 1400, read 1000, w5m 200, w1h 100, out 50"),
        ("cohere_rerank", "requests 2"),
        ("cohere_chat", "in 5, out 418"),
        ("deepseek", "in 120, read 64, out 30, reasoning 12"),
        ("xai", "in 100, out 109, reasoning 100"),
    ] {
        let (_, event) = read(posted(name));
        assert_eq!(used(&event), quantities, "{name}");
        assert!(event.raw_usage.is_some(), "{name}");
    }
}

#[test]
fn a_whole_response_also_says_its_id_model_and_service_tier() {
    let (id, event) = read(posted("openai_chat"));
    assert_eq!(id, "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT");
    assert_eq!(event.response_id.as_ref().unwrap().as_str(), id);
    assert_eq!(event.response_model.as_ref().unwrap().as_str(), "gpt-5-2025-08-07");
    assert_eq!(event.service_tier.as_ref().unwrap().as_str(), "priority");
    let (_, event) = read(posted("anthropic"));
    assert_eq!(event.region.as_ref().unwrap().as_str(), "us");
    let (id, event) = read(posted("gemini"));
    assert_eq!(
        (id.as_str(), event.response_model.as_ref().unwrap().as_str()),
        ("mAbTaM2kHqXavdIPttW1-Ak", "gemini-2.5-pro")
    );
    assert_eq!(read(posted("bedrock_converse")).0, "6f2b4bd8-2f1a-4f0f-9d4e-000000000001");
}

#[test]
fn the_id_of_a_response_that_may_come_again_is_not_taken_for_the_events() {
    for id in [json!("chatcmpl-998"), json!("x".repeat(19)), json!(""), Value::Null] {
        let mut event = posted("openai_chat");
        event["response"]["id"] = id.clone();
        let rejection = refused(event.clone());
        assert_eq!(
            (rejection.reason, rejection.field.as_deref()),
            (Reason::NoIdentity, Some("event_id")),
            "{id}"
        );
        assert!(rejection.detail.contains("give event_id"), "{rejection}");
        event["event_id"] = json!("call-1");
        assert_eq!(read(event).0, "call-1");
    }
    let mut event = posted("openai_chat");
    event["response"]["id"] = json!("x".repeat(20));
    assert_eq!(read(event).0, "x".repeat(20));
}

#[test]
fn odd_details_never_cost_an_event_whose_totals_are_known() {
    for (provider, usage, quantities) in [
        (
            "openai",
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"audio_tokens": 8, "image_tokens": 8, "cached_tokens": 4,
                    "cached_tokens_details": {"audio_tokens": 9}},
                "completion_tokens_details": {"audio_tokens": 7, "reasoning_tokens": 6}}),
            "in 10, read 4, audio_in 8, image_in 2, read_audio 4, out 5, reasoning 5, audio_out 5",
        ),
        (
            "gcp.gemini",
            json!({"promptTokenCount": 10, "candidatesTokenCount": 5,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 9}]}),
            "in 10, audio_in 10, out 5, image_out 5",
        ),
        (
            "anthropic",
            json!({"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}}),
            "in 10, out 5, reasoning 5",
        ),
    ] {
        let event = json!({"event_id": "x", "org_id": "acme", "module": "pim", "provider": provider,
            "request_model": "m", "occurred_at": "2026-11-22T12:00:00Z", "usage": usage});
        assert_eq!(used(&read(event).1), quantities, "{provider}");
    }
}

#[test]
fn what_the_event_says_itself_holds() {
    let mut event = posted("anthropic");
    event["event_id"] = json!("mine");
    event["response_model"] = json!("claude-mine");
    event["service_tier"] = json!("priority");
    event["units"] = json!({"searches": "5", "pages": "1"});
    let (id, event) = read(event);
    assert_eq!((id.as_str(), event.response_model.as_ref().unwrap().as_str()), ("mine", "claude-mine"));
    assert_eq!(event.service_tier.as_ref().unwrap().as_str(), "priority");
    assert_eq!(event.units["searches"].0.to_string(), "5");
    assert_eq!(event.units["pages"].0.to_string(), "1");
}

#[test]
fn where_shapes_share_their_fields_the_provider_decides() {
    let claude = json!({"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 90});
    for provider in ["anthropic", "gcp.vertex_ai", "aws.bedrock", "azure.ai.inference"] {
        let event = json!({"event_id": "x", "org_id": "acme", "module": "pim", "provider": provider,
            "request_model": "claude-sonnet-4-5", "occurred_at": "2026-11-22T12:00:00Z", "usage": claude});
        assert_eq!(used(&read(event).1), "in 100, read 90, out 2", "{provider}");
    }
}

#[test]
fn an_event_of_ours_stays_as_it_is() {
    let event = json!({"event_id": "x", "input_tokens": 10});
    assert_eq!(provider_usage::expand(event.clone()).unwrap(), event);
    assert_eq!(provider_usage::expand(json!([1])).unwrap(), json!([1]));
}

#[test]
fn what_cannot_be_read_is_refused_by_its_path() {
    let change = |field: &str, value: Value| {
        let mut event = posted("openai_chat");
        event["response"]["usage"][field] = value;
        refused(event).field.unwrap()
    };
    for value in [json!("1117"), json!(1.5), json!(-1), json!(2_000_000_000), json!(true), json!([1])] {
        assert_eq!(change("prompt_tokens", value), "response.usage.prompt_tokens");
    }
    let twice = |field: &str, value: Value| {
        let mut event = posted("openai_embeddings");
        event[field] = value;
        refused(event).field.unwrap()
    };
    assert_eq!(twice("input_tokens", json!(8)), "input_tokens");
    assert_eq!(twice("response", json!({})), "usage");
    let with_usage =
        |usage: Value| refused(json!({"event_id": "call-9", "provider": "openai", "usage": usage}));
    assert_eq!(with_usage(json!({"tokens": 5})).event_id.as_deref(), Some("call-9"));
    assert_eq!(with_usage(json!({})).field.as_deref(), Some("usage"));
    assert_eq!(with_usage(json!([5])).field.as_deref(), Some("usage"));
}

#[test]
fn a_response_without_usage_is_kept_as_unknown() {
    let mut event = posted("openai_chat");
    event["response"]["usage"] = Value::Null;
    let event = provider_usage::expand(event).unwrap();
    assert_eq!(event["certainty"], "unknown");
    assert_eq!(event["response_model"], "gpt-5-2025-08-07");
    for cut in [json!({"event_id": "x", "usage": null}), json!({"event_id": "x", "response": null})] {
        assert_eq!(provider_usage::expand(cut).unwrap(), json!({"event_id": "x", "certainty": "unknown"}));
    }
    let counted = json!({"event_id": "x", "usage": null, "output_tokens": 7, "certainty": "at_least"});
    let counted = provider_usage::expand(counted).unwrap();
    assert_eq!(counted, json!({"event_id": "x", "output_tokens": 7, "certainty": "at_least"}));
}

#[test]
fn a_null_beside_what_is_given_does_not_count() {
    for (name, other) in [("openai_chat", "usage"), ("openai_embeddings", "response")] {
        let mut event = posted(name);
        event[other] = Value::Null;
        assert_eq!(provider_usage::expand(event).unwrap(), provider_usage::expand(posted(name)).unwrap());
    }
}

#[test]
fn usage_is_kept_as_evidence_up_to_its_limit() {
    let mut event = posted("openai_embeddings");
    let raw = |event: Value| provider_usage::expand(event).unwrap().get("raw_usage").cloned();
    assert_eq!(raw(event.clone()).unwrap(), r#"{"prompt_tokens":8,"total_tokens":8}"#);
    event["usage"]["more"] = json!("x".repeat(5_000));
    assert_eq!(raw(event), None);
}
