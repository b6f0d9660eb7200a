//! Usage in the formats of others, over HTTP: each ends in a debit, once.

use anyhow::{Context, Result, ensure};
use e2e::{ago, balance_at, emit, eventually, grant, shared, started, text, unique, usage};
use fluxori_stack::pipeline::{Answer, Pipeline};
use serde_json::{Value, json};

fn post(pipeline: &Pipeline, path: &str, media_type: &str, body: &[u8]) -> Result<Answer> {
    post_with(pipeline, path, &[("content-type", media_type)], body)
}

fn post_with(pipeline: &Pipeline, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    pipeline.post_as("producer", path, headers, body, Some(pipeline.admin_key()))
}

/// Waits until what was posted is debited: 3.25 credits for 1,000 tokens in and 200 out of gpt-5.
fn debited(pipeline: &Pipeline, org: &str, balance: &str) -> Result<()> {
    eventually(&format!("the balance of {org} is {balance}"), || {
        let answer = pipeline.get("edge", &format!("/v1/balance?org_id={org}"))?;
        Ok((text(&answer.body, "balance")? == balance).then_some(()))
    })
}

fn cloud_event(org: &str, id: &str, counts: Value) -> Value {
    let mut data = json!({"provider": "openai", "model": "gpt-5", "module": "pim"});
    if let (Some(data), Value::Object(counts)) = (data.as_object_mut(), counts) {
        data.extend(counts);
    }
    json!({"specversion": "1.0", "type": "prompt", "id": id, "source": "my-app", "subject": org, "time": ago(1),
           "data": data})
}

#[test]
fn a_cloud_event_in_any_mode_is_a_debit_and_the_same_one_when_it_comes_again() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("cloudevents");
    grant(&pipeline, &org, "100")?;
    let data = json!({"prompt_tokens": 1000, "completion_tokens": 200});
    let event = cloud_event(&org, "e-1", data);
    let batch = json!([event, cloud_event(&org, "e-2", json!({"input_tokens": 1000, "output_tokens": 200}))]);
    let structured =
        post(&pipeline, "/v1/events", "application/cloudevents+json", event.to_string().as_bytes())?;
    ensure!(structured.status == 200, "{}", structured.body);
    let batch =
        post(&pipeline, "/v1/events", "application/cloudevents-batch+json", batch.to_string().as_bytes())?;
    ensure!(batch.status == 200, "{}", batch.body);
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "prompt"),
        ("ce-id", "e-1"),
        ("ce-source", "my-app"),
        ("ce-subject", org.as_str()),
    ];
    let data = event.get("data").context("data")?.to_string();
    let binary = post_with(&pipeline, "/v1/events", &headers, data.as_bytes())?;
    ensure!(binary.status == 200, "{}", binary.body);
    let balance = balance_at(&pipeline, &org, text(&binary.body, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "93.5", "two events, whatever came again");
    Ok(())
}

#[test]
fn openmeters_api_takes_its_clients_events_with_204() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("openmeter");
    grant(&pipeline, &org, "100")?;
    let batch = json!([
        cloud_event(&org, "in", json!({"tokens": "1000", "type": "input"})),
        cloud_event(&org, "out", json!({"tokens": 200, "type": "output"})),
    ]);
    for _ in 0..2 {
        let body = batch.to_string();
        let answer =
            post(&pipeline, "/api/v1/events", "application/cloudevents-batch+json", body.as_bytes())?;
        assert_eq!((answer.status, answer.body), (204, Value::Null));
    }
    debited(&pipeline, &org, "96.75")
}

#[test]
fn litellms_log_is_a_debit_however_it_is_posted() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("litellm");
    grant(&pipeline, &org, "100")?;
    #[expect(clippy::disallowed_methods, reason = "tests stand where a caller's clock does")]
    let now = chrono::Utc::now().timestamp();
    let payload = |id: &str| {
        json!({"id": id, "litellm_call_id": format!("call-{id}"), "status": "success", "call_type": "acompletion",
               "custom_llm_provider": "openai", "model": "gpt-5", "startTime": now - 2, "endTime": now - 1,
               "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
               "metadata": {"user_api_key_org_id": org, "spend_logs_metadata": {"fluxori_module": "pim"}}})
    };
    let (one, two) = (payload("one"), payload("two"));
    for (media_type, body) in [
        ("application/json", json!([one, two]).to_string()),
        ("application/json", one.to_string()),
        ("application/x-ndjson", format!("{one}\n{two}\n")),
    ] {
        let answer = post(&pipeline, "/v1/litellm", media_type, body.as_bytes())?;
        ensure!(answer.status == 200, "{}", answer.body);
    }
    debited(&pipeline, &org, "93.5")
}

#[test]
fn a_span_of_a_model_call_is_a_debit_and_its_exporter_is_told_of_a_partial_success() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("otlp");
    grant(&pipeline, &org, "100")?;
    #[expect(clippy::disallowed_methods, reason = "tests stand where a caller's clock does")]
    let now = chrono::Utc::now().timestamp();
    let nanos = |second: i64| format!("{second}000000000");
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let count = |key: &str, value: i64| json!({"key": key, "value": {"intValue": value.to_string()}});
    let span = |id: &str, input: i64| {
        json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": id, "name": "chat gpt-5", "kind": 3,
               "startTimeUnixNano": nanos(now - 2), "endTimeUnixNano": nanos(now - 1), "attributes": [
                   attribute("gen_ai.operation.name", "chat"), attribute("gen_ai.provider.name", "openai"),
                   attribute("gen_ai.request.model", "gpt-5"), attribute("fluxori.module", "pim"),
                   count("gen_ai.usage.input_tokens", input), count("gen_ai.usage.output_tokens", 200)]})
    };
    let request = |spans: Value| {
        json!({"resourceSpans": [{"resource": {"attributes": [attribute("fluxori.org_id", &org)]},
               "scopeSpans": [{"scope": {"name": "test"}, "spans": spans}]}]})
    };
    let good = request(json!([span("eee19b7ec3c1b174", 1000)])).to_string();
    let answer = post(&pipeline, "/v1/traces", "application/json", good.as_bytes())?;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"), "{}", answer.body);
    assert_eq!(answer.body.pointer("/partialSuccess/rejectedSpans"), None);
    let mixed = request(json!([span("eee19b7ec3c1b174", 1000), span("eee19b7ec3c1b175", -5)])).to_string();
    let answer = post(&pipeline, "/v1/traces", "application/json", mixed.as_bytes())?;
    assert_eq!(answer.status, 200);
    let rejected = answer.body.pointer("/partialSuccess/rejectedSpans").context("no partial success")?;
    assert!(rejected == &json!("1") || rejected == &json!(1), "{}", answer.body);
    debited(&pipeline, &org, "96.75")
}

#[test]
fn a_providers_usage_object_in_an_event_of_ours_is_a_debit() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("provider");
    grant(&pipeline, &org, "100")?;
    let mut event = usage(&org);
    event.as_object_mut().context("object")?.retain(|name, _| !name.ends_with("_tokens"));
    event["usage"] = json!({"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200});
    let answer = emit(&pipeline, &event)?;
    let balance = balance_at(&pipeline, &org, text(&answer, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "96.75");
    Ok(())
}

#[test]
fn what_is_accepted_while_kafka_is_away_is_debited_after_a_kill_and_a_restart() -> Result<()> {
    let folder = std::env::temp_dir().join(unique("fluxori-e2e-spool"));
    let pipeline = started(&[("FLUXORI__PRODUCER__SPOOL_DIR", &folder.to_string_lossy())])?;
    let org = unique("spooled");
    grant(&pipeline, &org, "100")?;
    ensure!(pipeline.stop("producer")?, "the producer does not end cleanly");
    pipeline.start_with("producer", &[("KAFKA_BROKERS", "127.0.0.1:1")])?;
    let body = json!([usage(&org), usage(&org)]).to_string();
    let answer = eventually("the producer listens", || {
        Ok(post(&pipeline, "/v1/events", "application/json", body.as_bytes()).ok())
    })?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let item = answer.body.pointer("/items/1").context("items")?;
    assert_eq!(text(item, "accepted")?, "spooled");
    pipeline.kill("producer")?;
    pipeline.start("producer")?;
    debited(&pipeline, &org, "93.5")?;
    let headers = [("content-type", "application/json"), ("prefer", "wait=10")];
    let answer = post_with(&pipeline, "/v1/events", &headers, usage(&org).to_string().as_bytes())?;
    let balance = balance_at(&pipeline, &org, text(&answer.body, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "90.25");
    drop(pipeline);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
