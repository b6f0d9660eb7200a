use std::path::Path;

use fluxori_core::id::{Label, OrgId};
use fluxori_core::pricing;
use fluxori_core::rates::Rates;
use fluxori_core::usage::{CallOutcome, Certainty, Measurement, UsageEvent};
use fluxori_ingest::{Reason, json, litellm};
use fluxori_rate_card::RateCard;
use serde_json::{Value, json};

use super::{anyone, fixture, used, with_key};

pub(super) fn payload(name: &str) -> Value {
    json::read(&fixture(&format!("litellm/{name}.json"))).unwrap()
}

pub(super) fn read(payload: &Value) -> UsageEvent {
    litellm::read(payload, &anyone()).unwrap()
}

pub(super) fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut payload = payload(name);
    change(&mut payload);
    payload
}

#[test]
fn every_kind_of_call_is_read_with_all_that_it_used() {
    for (name, operation, provider, asked, answered, quantities) in [
        ("chat", "chat", "openai", "gpt-5", "gpt-5-2025-08-07", "in 1117, read 1024, out 146, reasoning 64"),
        ("stream", "chat", "openai", "gpt-5", "gpt-5", "in 1117, read 1024, out 146, reasoning 64"),
        (
            "responses",
            "chat",
            "openai",
            "gpt-5",
            "gpt-5-2025-08-07",
            "in 2000, read 1500, out 300, reasoning 128",
        ),
        (
            "anthropic",
            "chat",
            "anthropic",
            "claude-sonnet-4-20250514",
            "claude-sonnet-4-20250514",
            "in 191107, read 188086, w5m 2000, w1h 1000, out 393, searches 2",
        ),
        (
            "anthropic_messages",
            "chat",
            "anthropic",
            "claude-sonnet-4-20250514",
            "claude-sonnet-4-20250514",
            "in 191107, read 188086, w5m 2000, w1h 1000, out 393, searches 2",
        ),
        (
            "gemini",
            "chat",
            "gcp.gemini",
            "gemini-2.5-pro",
            "gemini-2.5-pro",
            "in 1500, read 500, image_in 258, out 150, reasoning 50",
        ),
        (
            "bedrock",
            "chat",
            "aws.bedrock",
            "anthropic.claude-sonnet-4-20250514-v1:0",
            "anthropic.claude-sonnet-4-20250514-v1:0",
            "in 1400, read 1000, w5m 300, out 50",
        ),
        ("embedding", "embeddings", "openai", "text-embedding-3-small", "text-embedding-3-small", "in 8"),
        (
            "image_generation",
            "image_generation",
            "openai",
            "gpt-image-1",
            "",
            "in 50, image_in 10, out 4160, image_out 4160",
        ),
        ("speech", "speech", "openai", "tts-1", "", "characters 11"),
        ("transcription", "transcription", "openai", "whisper-1", "whisper-1", "audio_seconds 12"),
        ("rerank", "rerank", "cohere", "rerank-v3.5", "", "requests 1"),
        (
            "router",
            "chat",
            "azure.ai.openai",
            "my-deployment",
            "gpt-5-2025-08-07",
            "in 1117, read 1024, out 146, reasoning 64",
        ),
    ] {
        let event = read(&payload(name));
        assert_eq!(event.operation.as_str(), operation, "{name}");
        assert_eq!(event.provider.as_str(), provider, "{name}");
        assert_eq!(event.request_model.as_str(), asked, "{name}");
        assert_eq!(event.response_model.as_ref().map_or("", |model| model.as_str()), answered, "{name}");
        assert_eq!(used(&event), quantities, "{name}");
        assert_eq!(event.certainty, Certainty::Exact, "{name}");
        assert_eq!(event.outcome, CallOutcome::Success, "{name}");
        let estimated = if name == "speech" { Measurement::Estimated } else { Measurement::Measured };
        assert_eq!(event.measurement, estimated, "{name}");
        assert_eq!(event.source.as_str(), "litellm");
        assert_eq!(event.raw_usage.is_some(), name != "speech", "{name}");
    }
}

#[test]
fn what_is_not_counted_in_tokens_is_counted_in_its_own_unit() {
    let of = |call_type: &str, response: Value, usage: Value| {
        used(&read(&changed("rerank", |payload| {
            payload["call_type"] = json!(call_type);
            payload["response"] = response;
            payload["metadata"]["usage_object"] = usage;
        })))
    };
    let pages = json!({"usage_info": {"pages_processed": 3, "doc_size_bytes": 1000}});
    assert_eq!(of("aocr", pages, json!({})), "pages 3");
    assert_eq!(
        of("acreate_video", json!({"id": "video_1"}), json!({"duration_seconds": 8.0})),
        "video_seconds 8"
    );
    assert_eq!(of("asearch", json!({"results": []}), json!({})), "searches 1");
    let images = json!({"data": [{"url": "a"}, {"url": "b"}]});
    assert_eq!(of("aimage_generation", images.clone(), json!({})), "images 2");
    assert_eq!(of("aimage_generation", images, json!({"output_image_count": 2})), "images 2");
    let embedded = json!({"prompt_tokens": 0, "prompt_tokens_details": {"character_count": 40, "image_count": 1,
        "video_length_seconds": 2.5}});
    assert_eq!(of("aembedding", json!({}), embedded), "characters 40, images 1, video_seconds 2.5");
}

/// LiteLLM and the card agree on these prices, so where the costs agree, so do the quantities. (Not of speech: LiteLLM leaves
/// out the spaces, for which OpenAI charges.)
#[test]
fn the_rate_card_makes_of_an_event_what_litellm_says_that_the_call_cost() {
    let card =
        RateCard::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../rates/2026-11"))).unwrap();
    let mut rates = Rates::default();
    rates.put_in_force(&card.revision, card.card.clone()).unwrap();
    for name in [
        "chat",
        "stream",
        "responses",
        "gemini",
        "bedrock",
        "embedding",
        "image_generation",
        "rerank",
        "router",
        "cache_hit",
        "failure",
    ] {
        let payload = payload(name);
        let charge = pricing::price(&read(&payload), &rates).unwrap();
        let theirs = payload["response_cost"].as_f64().unwrap();
        let ours: f64 = charge.cost.to_string().parse().unwrap();
        assert!((ours - theirs).abs() < 1e-12, "{name}: {ours} and {theirs}: {charge:?}");
    }
}

#[test]
fn who_and_what_a_call_was_for_is_in_its_metadata() {
    let event = read(&payload("chat"));
    assert_eq!(event.org_id.as_str(), "acme");
    assert_eq!(event.user_id.as_ref().unwrap().as_str(), "u-17");
    assert_eq!(event.team_id.as_ref().unwrap().as_str(), "team-red");
    assert_eq!(event.module.as_str(), "pim");
    assert_eq!(event.feature.as_ref().unwrap().as_str(), "describe");
    assert_eq!(event.run_id.as_ref().unwrap().as_str(), "run-77");
    let tags: Vec<_> = event.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        tags,
        [
            "batch-import=true",
            "cost_center=42",
            "end_user=customer-9",
            "env=prod",
            "litellm.key_alias=pim-prod",
            "project=catalog"
        ]
    );
    assert_eq!(event.service_tier.as_ref().unwrap().as_str(), "flex");
    assert_eq!(event.request_id.as_ref().unwrap().as_str().len(), 36);
    assert_eq!(event.response_id.as_ref().unwrap().as_str(), "chatcmpl-CnPlain0083");
}

#[test]
fn what_the_payload_does_not_say_the_api_key_does() {
    let bare = changed("chat", |payload| payload["metadata"] = json!({}));
    let rejection = litellm::read(&bare, &anyone()).unwrap_err();
    assert_eq!(rejection.reason, Reason::NoAttribution);
    assert_eq!(rejection.event_id.as_deref(), Some("chatcmpl-CnPlain0083"));
    let event = with_key(|context| litellm::read(&bare, context)).unwrap();
    assert_eq!((event.org_id.as_str(), event.module.as_str()), ("globex", "key-module"));
    assert_eq!(event.user_id.as_ref().unwrap().as_str(), "customer-9");
    let event = with_key(|context| litellm::read(&payload("chat"), context)).unwrap();
    assert_eq!((event.org_id.as_str(), event.module.as_str()), ("acme", "pim"));
}

#[test]
fn a_retry_is_the_same_event_and_another_call_another() {
    let event = read(&payload("chat"));
    assert_eq!(event.event_id, read(&payload("chat")).event_id);
    assert_eq!(event.billing_digest(), read(&payload("chat")).billing_digest());
    // A server whose response ids are empty, null or constant; a client that names every call alike.
    for id in [json!(""), json!("None"), json!("chatcmpl-1")] {
        let other = |call: &str| {
            read(&changed("chat", |payload| {
                payload["id"] = id.clone();
                payload["litellm_call_id"] = json!(call);
            }))
        };
        assert_ne!(other("call-1").event_id, other("call-2").event_id);
    }
    let same_call = |id: &str| {
        read(&changed("chat", |payload| {
            payload["id"] = json!(id);
            payload["litellm_call_id"] = json!("always-this");
        }))
    };
    assert_ne!(same_call("chatcmpl-1").event_id, same_call("chatcmpl-2").event_id);
    let nameless = changed("chat", |payload| {
        payload["id"] = Value::Null;
        payload["litellm_call_id"] = Value::Null;
    });
    assert_eq!(litellm::read(&nameless, &anyone()).unwrap_err().reason, Reason::NoIdentity);
}

#[test]
fn a_batch_that_is_asked_for_twice_is_charged_once() {
    let asked = |name: &str, call: &str| {
        read(&changed(name, |payload| {
            payload["id"] = json!("batch_abc");
            payload["call_type"] = json!("aretrieve_batch");
            if name == "rerank" {
                payload["response"] = json!({"id": "batch_abc", "status": "in_progress", "usage": null});
                payload["metadata"]["usage_object"] = json!({"prompt_tokens": 0, "completion_tokens": 0});
            }
            payload["litellm_call_id"] = json!(call);
        }))
    };
    assert_eq!(asked("chat", "call-1").event_id, asked("chat", "call-2").event_id);
    assert!(asked("chat", "call-1").batch);
    // While it is not done there is no usage, which must not be in the way of what comes.
    assert_ne!(asked("rerank", "call-1").event_id, asked("chat", "call-1").event_id);
}

#[test]
fn failed_attempts_are_events_of_their_own_and_not_in_the_way_of_the_success() {
    let attempts = [payload("router_failure"), payload("router_failure_2"), payload("router")];
    let events: Vec<_> = attempts.iter().map(read).collect();
    assert_eq!(events[0].outcome, CallOutcome::Error);
    assert_eq!((used(&events[0]).as_str(), events[0].certainty), ("", Certainty::Exact));
    assert_eq!(events[0].response_id, None);
    assert!(events[0].event_id != events[1].event_id && events[1].event_id != events[2].event_id);
    // Where the attempts of a call share its id, as an embedding has no other.
    let share = |name: &str, began: f64| {
        read(&changed(name, |payload| {
            payload["id"] = json!("call-1");
            payload["litellm_call_id"] = json!("call-1");
            payload["startTime"] = json!(began);
        }))
    };
    let ids = [
        share("failure", 1_795_411_200.0),
        share("failure", 1_795_411_201.0),
        share("embedding", 1_795_411_202.0),
    ];
    assert!(ids[0].event_id != ids[1].event_id && ids[1].event_id != ids[2].event_id);
}

#[test]
fn what_came_from_litellms_cache_or_was_paid_by_the_client_costs_nothing() {
    let subscribed = |payload: &mut Value| payload["metadata"]["used_client_oauth_token"] = json!(true);
    assert!(read(&changed("anthropic_messages", subscribed)).own_key);
    let event = read(&payload("cache_hit"));
    assert!(event.served_from_cache);
    assert_eq!(used(&event), "in 1117, read 1024, out 146, reasoning 64");
}

#[test]
fn times_are_those_of_the_call() {
    let event = read(&payload("stream"));
    let payload = payload("stream");
    let seconds = |name: &str| payload[name].as_f64().unwrap();
    assert_eq!(event.occurred_at.micros().to_string(), format!("{:.0}", seconds("startTime") * 1e6));
    let millis = |to: &str| format!("{:.0}", (seconds(to) - seconds("startTime")) * 1e3);
    assert_eq!(event.latency_ms.unwrap().to_string(), millis("endTime"));
    assert_eq!(event.time_to_first_token_ms.unwrap().to_string(), millis("completionStartTime"));
    assert_eq!(read(&self::payload("chat")).time_to_first_token_ms, None);
    let late = changed("chat", |payload| payload["startTime"] = json!(1_700_000_000.5));
    assert_eq!(litellm::read(&late, &anyone()).unwrap_err().reason, Reason::TooLate);
    let future = changed("chat", |payload| payload["startTime"] = json!(1_800_000_000));
    assert_eq!(litellm::read(&future, &anyone()).unwrap_err().reason, Reason::OccurredInFuture);
}

#[test]
fn the_name_of_a_model_group_is_no_model() {
    let event = read(&changed("router", |payload| payload["response"]["model"] = json!("smart")));
    assert_eq!(event.response_model.as_ref().unwrap().as_str(), "gpt-5");
    assert_eq!(event.tags["litellm.model_group"], "smart");
}

#[test]
fn a_success_that_does_not_say_what_it_used_is_kept_as_unknown() {
    let silent = changed("chat", |payload| {
        for name in ["metadata", "hidden_params"] {
            payload[name]["usage_object"] = Value::Null;
        }
        payload["response"]["usage"] = Value::Null;
        for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            payload[name] = json!(0);
        }
    });
    let event = read(&silent);
    assert_eq!((used(&event).as_str(), event.certainty), ("", Certainty::Unknown));
}

#[test]
fn a_call_that_went_well_and_is_said_to_have_used_nothing_is_kept_as_unknown() {
    // As LiteLLM logs a stream whose usage was not asked for and whose tokens it could not count.
    let nothing = changed("chat", |payload| {
        let none = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_tokens_details": null,
                          "completion_tokens_details": {"reasoning_tokens": 0, "text_tokens": 0}});
        payload["metadata"]["usage_object"] = none.clone();
        payload["response"]["usage"] = none;
        payload["hidden_params"]["usage_object"] = Value::Null;
        for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            payload[name] = json!(0);
        }
    });
    let event = read(&nothing);
    assert_eq!((used(&event).as_str(), event.certainty), ("", Certainty::Unknown));
    let mut cached = nothing;
    cached["cache_hit"] = json!(true);
    assert_eq!(read(&cached).certainty, Certainty::Exact);
}

/// A payload of an operation of which nobody said what it used.
fn silent(call_type: &str, change: impl FnOnce(&mut Value)) -> UsageEvent {
    read(&changed("chat", |payload| {
        for name in ["metadata", "hidden_params"] {
            payload[name]["usage_object"] = Value::Null;
        }
        payload["response"] = json!({});
        for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            payload[name] = json!(0);
        }
        payload["call_type"] = json!(call_type);
        change(payload);
    }))
}

#[test]
fn a_call_that_was_cut_without_usage_is_kept_as_unknown_and_one_that_failed_used_nothing() {
    let failed = |class: &str| {
        let event = silent("acompletion", |payload| {
            payload["status"] = json!("failure");
            payload["error_information"] = json!({"error_class": class});
        });
        (event.outcome, event.certainty)
    };
    assert_eq!(failed("CancelledError"), (CallOutcome::Cancelled, Certainty::Unknown));
    assert_eq!(failed("ClientDisconnect"), (CallOutcome::Cancelled, Certainty::Unknown));
    assert_eq!(failed("RateLimitError"), (CallOutcome::Error, Certainty::Exact));
}

#[test]
fn only_what_no_provider_charges_for_is_exactly_nothing_without_usage() {
    for free in
        ["acreate_batch", "afile_content", "file_list", "moderation", "a_add_message", "aget_responses"]
    {
        assert_eq!(silent(free, |_| ()).certainty, Certainty::Exact, "{free}");
    }
    for call_type in ["arerank", "acompletion", "arun_thread", "avideo_remix", "an_operation_of_tomorrow"] {
        assert_eq!(silent(call_type, |_| ()).certainty, Certainty::Unknown, "{call_type}");
    }
    assert_eq!(silent("asearch", |_| ()).certainty, Certainty::Exact, "which is one search");
}

#[test]
fn fields_that_are_not_known_cost_nothing_and_those_that_are_wrong_are_named() {
    let newer = changed("chat", |payload| {
        payload["a_field_of_tomorrow"] = json!({"deep": [1, {"er": null}]});
        payload["metadata"]["another"] = json!(["x"]);
        payload["metadata"]["usage_object"]["prompt_tokens_details"]["taste_tokens"] = json!("many");
        payload["response"] = json!("redacted-by-litellm");
    });
    assert_eq!(used(&read(&newer)), "in 1117, read 1024, out 146, reasoning 64");
    let wrong =
        changed("chat", |payload| payload["metadata"]["usage_object"]["prompt_tokens"] = json!("1117"));
    let rejection = litellm::read(&wrong, &anyone()).unwrap_err();
    assert_eq!(rejection.field.as_deref(), Some("metadata.usage_object.prompt_tokens"));
    let old =
        json!({"id": "x", "modelParameters": "{}", "usage": "Usage(..)", "startTime": "2026-11-23 05:00:00"});
    assert!(litellm::read(&old, &anyone()).unwrap_err().detail.contains("generic_api_use_v1"));
    assert_eq!(litellm::read(&Value::Null, &anyone()).unwrap_err().reason, Reason::NotAnObject);
}

#[test]
fn tags_beyond_the_limits_do_not_cost_the_event() {
    let many = changed("chat", |payload| {
        let spend = &mut payload["metadata"]["spend_logs_metadata"];
        for tag in 0..100 {
            spend[format!("tag{tag:03}")] = json!("x".repeat(if tag == 0 { 300 } else { 3 }));
        }
    });
    let event = read(&many);
    assert_eq!(event.tags.len(), 32);
    assert_eq!(event.billing_digest(), read(&many).billing_digest());
}

#[test]
fn ids_of_one_source_are_not_those_of_another() {
    let source = Label::new("proxy-eu").unwrap();
    let context = fluxori_ingest::RequestContext { source: Some(&source), ..anyone() };
    let event = litellm::read(&payload("chat"), &context).unwrap();
    assert_eq!(event.source, source);
    assert_ne!(event.event_id, read(&payload("chat")).event_id);
    assert!(OrgId::new("acme").is_ok_and(|org| org == event.org_id));
}
