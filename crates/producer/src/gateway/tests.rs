use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use fluxori_core::command::{Command, CommandBody, Genesis};
use fluxori_core::id::{CommandId, GLOBAL_KEY};
use fluxori_core::record::partition_of;
use fluxori_runtime::config::{ApiKeyConfig, CloudEventsRule, HttpConfig, ProducerConfig, Sha256Digest};
use fluxori_stream::{Publisher, PublisherOptions, TopicSpec};
use fluxori_wire::{Issuer, Position};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::encoding::tests::{gzip, zstd};
use super::*;

mod limits;
mod protocols;
mod spool;

fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Keys by their own names: `all`, `one` (org acme), `narrow` (org acme, module pim, source crm) and `old`, which has
/// expired.
fn config() -> Config {
    let key = |name: &str, org: &str| ApiKeyConfig::new(name, Sha256Digest::of(name.as_bytes()), &[org]);
    let only = |name: &str| Some(vec![name.to_owned()]);
    let narrow = ApiKeyConfig { modules: only("pim"), sources: only("crm"), ..key("narrow", "acme") };
    let old = ApiKeyConfig { expires_at: Some(noon_utc()), ..key("old", "*") };
    Config { api_keys: vec![key("all", "*"), key("one", "acme"), narrow, old], ..Config::default() }
}

fn noon_utc() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn router(options: EmitterOptions, log_id: Option<LogId>, config: &Config) -> Router {
    let patience = if options.brokers == NOBODY { Duration::from_millis(500) } else { PATIENCE };
    let gateway = Gateway::new(Emitter::new(options).unwrap(), config, noon_utc).unwrap();
    let gateway = Gateway { patience, ..gateway };
    if let Some(log_id) = log_id {
        gateway.log.set(log_id).unwrap();
    }
    routes(Arc::new(gateway))
}

/// No broker listens there.
const NOBODY: &str = "127.0.0.1:1";

fn nobody() -> EmitterOptions {
    EmitterOptions { linger: Duration::ZERO, ..EmitterOptions::new(NOBODY) }
}

/// No broker: whatever gets as far as the emitter is not acknowledged.
fn alone() -> Router {
    alone_with(&config())
}

fn alone_with(config: &Config) -> Router {
    router(nobody(), Some(LogId(Uuid::nil())), config)
}

struct Answered {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    bytes: Vec<u8>,
    /// The body, where it is JSON.
    body: Value,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn slug(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:fluxori:problem:").unwrap_or(kind)
    }
}

async fn send(router: &Router, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answered {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Answered { status, headers, bytes, body }
}

async fn post_as(router: &Router, key: &str, media_type: &str, body: impl Into<Body>) -> Answered {
    let key = format!("Bearer {key}");
    send(router, "/v1/events", &[("authorization", &key), ("content-type", media_type)], body).await
}

async fn post_json(router: &Router, body: Value) -> Answered {
    post_as(router, "all", "application/json", body.to_string()).await
}

fn event(id: &str) -> Value {
    json!({"event_id": id, "org_id": "acme", "module": "pim", "provider": "openai",
           "request_model": "gpt-5", "input_tokens": 10, "output_tokens": 2})
}

fn changed(mut event: Value, field: &str, value: Value) -> Value {
    event[field] = value;
    event
}

#[tokio::test]
async fn only_a_configured_key_that_has_not_expired_may_post_and_is_told_why() {
    let router = alone();
    for (key, slug) in [("wrong", "unknown-key"), ("", "no-key"), ("old", "expired-key")] {
        for path in ["/v1/events", "/api/v1/events", "/v1/litellm", "/v1/traces"] {
            let authorization = format!("Bearer {key}");
            let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
            let answered = send(&router, path, &headers, event("a").to_string()).await;
            assert_eq!(answered.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(answered.header("www-authenticate"), "Bearer");
            if path == "/v1/traces" {
                assert_eq!(answered.body["code"], 16);
            } else {
                assert_eq!(answered.header("content-type"), "application/problem+json");
                assert_eq!(answered.slug(), slug, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_of_another_org_module_or_source_is_forbidden_item_by_item() {
    let router = alone();
    let ours = changed(event("a"), "source", json!("crm"));
    for (field, slug) in
        [("org_id", "org-not-allowed"), ("module", "module-not-allowed"), ("source", "source-not-allowed")]
    {
        let other = changed(ours.clone(), field, json!("other"));
        let answered = post_as(&router, "narrow", "application/json", other.to_string()).await;
        assert_eq!((answered.status, answered.slug()), (StatusCode::FORBIDDEN, slug), "{field}");
        let problem = &answered.body["items"][0]["problem"];
        assert_eq!(problem["type"], format!("urn:fluxori:problem:{slug}"));
        assert_eq!(problem["field"], field);
        let mixed = json!([other, {"event_id": "b"}]).to_string();
        let answered = post_as(&router, "narrow", "application/json", mixed).await;
        assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    // With nobody else in it the event gets as far as the broker, which is not there.
    let answered = post_as(&router, "narrow", "application/json", ours.to_string()).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_an_event_does_not_say_is_what_its_key_is_for() {
    let mut event = event("a");
    event.as_object_mut().unwrap().retain(|name, _| name != "org_id" && name != "module");
    let answered = post_as(&alone(), "narrow", "application/json", event.to_string()).await;
    assert_eq!(answered.body["items"][0]["status"], "unacknowledged", "{}", answered.body);
    let answered = post_as(&alone(), "one", "application/json", event.to_string()).await;
    assert_eq!(answered.body["items"][0]["problem"]["field"], "module");
}

#[tokio::test]
async fn a_body_that_is_no_json_too_large_or_of_another_type_is_refused_as_a_whole() {
    let router = alone();
    for (media_type, body, status) in [
        ("application/json", "{".to_owned(), StatusCode::BAD_REQUEST),
        ("application/x-www-form-urlencoded", "{}".to_owned(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/x-ndjson", "x".repeat((8 << 20) + 1), StatusCode::PAYLOAD_TOO_LARGE),
        ("application/x-ndjson", "{}\n".repeat(10_001), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answered = post_as(&router, "all", media_type, body).await;
        assert_eq!(answered.status, status, "{}", answered.body);
        assert_eq!(answered.body["status"], status.as_u16());
    }
}

#[tokio::test]
async fn rejected_items_say_which_and_why() {
    let negative = changed(event("a"), "output_tokens", json!(-1));
    let future = changed(event("b"), "occurred_at", json!("2026-11-22T13:00:00Z"));
    let twice = event("c").to_string().replace("\"org_id\"", "\"org_id\":\"x\",\"org_id\"");
    let lines = format!("{negative}\nnot json\n\n{future}\n{twice}\n");
    let answered = post_as(&alone(), "all", "application/x-ndjson", lines).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answered.header("content-type"), "application/problem+json");
    assert_eq!(answered.slug(), "events-rejected");
    assert_eq!((&answered.body["accepted"], &answered.body["rejected"]), (&json!(0), &json!(4)));
    assert_eq!(answered.body["position"], Value::Null);
    assert_eq!(
        answered.body["items"][0],
        json!({"index": 0, "event_id": "a", "status": "rejected", "problem": {
            "type": "urn:fluxori:problem:invalid", "title": "The event is not valid",
            "detail": "output_tokens is negative", "field": "output_tokens"}})
    );
    assert_eq!(answered.body["items"][1]["problem"]["type"], "urn:fluxori:problem:not-json");
    let future = &answered.body["items"][2];
    assert_eq!((&future["index"], &future["problem"]["field"]), (&json!(2), &json!("occurred_at")));
    assert_eq!(future["problem"]["type"], "urn:fluxori:problem:occurred-in-future");
    let twice = &answered.body["items"][3]["problem"];
    assert_eq!((&twice["field"], &twice["type"]), (&json!("org_id"), &json!("urn:fluxori:problem:not-json")));
}

#[tokio::test]
async fn what_the_broker_does_not_acknowledge_is_503_with_the_items_to_send_again() {
    let answered = post_json(&alone(), json!([event("a"), {"event_id": "b"}])).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answered.header("retry-after"), "5");
    assert_eq!(answered.body["unacknowledged"], 1);
    assert_eq!(answered.body["items"][0]["status"], "unacknowledged");
    assert_eq!(answered.body["items"][1]["status"], "rejected");
}

#[tokio::test]
async fn nothing_is_taken_before_the_log_is_known() {
    let answered = post_json(&router(nobody(), None, &config()), event("a")).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answered.header("retry-after"), "5");
}

/// A log of its own on the broker that `KAFKA_BROKERS` names.
async fn fresh_log(partitions: i32) -> (EmitterOptions, LogId, Digest) {
    let brokers = std::env::var("KAFKA_BROKERS").unwrap_or_default();
    assert!(
        !brokers.is_empty(),
        "KAFKA_BROKERS is not set: this test needs a broker; `cargo xtask test` starts one"
    );
    let topic = format!("producer-test-{}", Uuid::now_v7().simple());
    let spec = TopicSpec { name: topic.clone(), partitions, replication: 1, min_insync_replicas: 1 };
    spec.create(&brokers).await.unwrap();
    let log_id = LogId(Uuid::now_v7());
    let root = Issuer::new(log_id, "root", [7; 32]);
    let command = Command {
        command_id: CommandId(log_id.0),
        issued_at: noon(),
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        reference: None,
        body: CommandBody::Genesis(Genesis {
            log_id,
            root_key: root.public_key(),
            rules_version: 1,
            partitions,
        }),
    };
    let publisher = Publisher::new(&PublisherOptions::new(&brokers, &topic)).unwrap();
    let value = root.sign(&command).unwrap();
    for partition in 0..partitions {
        publisher.publish(partition, GLOBAL_KEY.as_bytes(), &value).await.unwrap();
    }
    let digest = Digest::of(&fluxori_wire::encode_payload(&command).unwrap());
    (EmitterOptions { topic, ..EmitterOptions::new(brokers) }, log_id, digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn good_items_are_acknowledged_with_their_positions_beside_bad_ones() {
    let (options, log_id, digest) = fresh_log(4).await;
    let asked = options.clone();
    let identity = tokio::task::spawn_blocking(move || {
        Emitter::new(asked).unwrap().log_identity(Some(digest), Duration::from_secs(20))
    });
    assert_eq!(identity.await.unwrap().unwrap().genesis.log_id, log_id);

    let router = router(options, Some(log_id), &config());
    let one = post_json(&router, event("call-1")).await;
    assert_eq!(one.status, StatusCode::OK, "{}", one.body);
    let partition = partition_of(b"acme", 4);
    let position = Position::of(log_id, partition, 1).to_string();
    assert_eq!(one.body["position"], position);
    let item = &one.body["items"][0];
    assert_eq!((&item["status"], &item["accepted"]), (&json!("accepted"), &json!("acknowledged")));
    assert_eq!((&item["index"], &item["position"]), (&json!(0), &json!(position)));

    let mut bad = event("call-3");
    bad["reasoning_output_tokens"] = json!(3);
    let mixed = post_json(&router, json!([event("call-2"), bad, event("call-1")])).await;
    assert_eq!(mixed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((&mixed.body["accepted"], &mixed.body["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(mixed.body["position"], Position::of(log_id, partition, 3).to_string());
    let statuses: Vec<_> =
        mixed.body["items"].as_array().unwrap().iter().map(|item| item["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["accepted", "rejected", "accepted"]);
    assert_eq!(mixed.body["items"][2]["event_id"], one.body["items"][0]["event_id"], "the same foreign id");

    let orgs = (0..1_000).map(|n| {
        let mut event = event(&format!("call-{n}"));
        event["org_id"] = json!(format!("org-{n}"));
        event.to_string()
    });
    let lines = orgs.collect::<Vec<_>>().join("\n");
    let many = post_as(&router, "all", "application/x-ndjson", lines).await;
    assert_eq!((many.status, &many.body["accepted"]), (StatusCode::OK, &json!(1_000)));
    let position: Position = many.body["position"].as_str().unwrap().parse().unwrap();
    assert_eq!(position.offsets.len(), 4, "one token covers all partitions");

    let text = event("call-4").to_string();
    for (encoding, packed) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
        let headers = [
            ("authorization", "Bearer all"),
            ("content-type", "application/json"),
            ("content-encoding", encoding),
        ];
        let answered = send(&router, "/v1/events", &headers, packed).await;
        assert_eq!((answered.status, &answered.body["accepted"]), (StatusCode::OK, &json!(1)), "{encoding}");
    }
}
