//! What becomes of usage that is posted, good and bad.

use anyhow::{Context, Result};
use e2e::{
    ago, balance_at, emit, eventually, grant, publish, publish_to, quarantined, shared, text, unique, usage,
};
use fluxori_core::record::partition_of;
use serde_json::{Value, json};

fn item(body: &Value, index: usize) -> Result<&Value> {
    body.get("items").and_then(|items| items.get(index)).with_context(|| format!("no item {index} in {body}"))
}

#[test]
fn a_malformed_record_is_quarantined_and_its_neighbours_go_on() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("malformed");
    grant(&pipeline, &org, "100")?;
    emit(&pipeline, &usage(&org))?;
    let event = fluxori_ingest::usage_from_json(usage(&org), ago(0).parse()?)?;
    let good = fluxori_wire::encode_usage(&event)?;
    let mut other_schema = good.clone();
    other_schema[4] ^= 0xff;
    let cut = &good[..good.len() / 2];
    for value in [b"not avro at all".as_slice(), &other_schema, cut] {
        publish(&pipeline, &org, value)?;
    }
    let elsewhere = (partition_of(org.as_bytes(), 8) + 1) % 8;
    publish_to(&pipeline, elsewhere, &org, &good)?;
    let after = emit(&pipeline, &usage(&org))?;
    let balance = balance_at(&pipeline, &org, text(&after, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "93.5");
    let mut reasons: Vec<String> = quarantined(&pipeline, &org)?
        .iter()
        .map(|record| text(record, "reason").map(str::to_owned))
        .collect::<Result<_>>()?;
    reasons.sort();
    assert_eq!(reasons, ["malformed", "malformed", "schema_not_in_force"]);
    eventually("the record in a wrong partition is quarantined", || {
        let listed =
            pipeline.credits(&["quarantine", "list", "--reason", "wrong_partition", "--output", "json"])?;
        let text = listed.to_string();
        Ok(text.contains("wrong_partition").then_some(()))
    })
}

#[test]
fn bad_items_are_refused_by_name_and_their_neighbours_accepted() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("items");
    grant(&pipeline, &org, "100")?;
    let with = |field: &str, value: Value| {
        let mut event = usage(&org);
        event[field] = value;
        event
    };
    let batch = json!([
        usage(&org),
        with("output_tokens", json!(-1)),
        with("cache_read_input_tokens", json!(1001)),
        with("occurred_at", json!(ago(-3600))),
        with("occurred_at", json!(ago(40 * 24 * 3600))),
        with("input_token", json!(5)),
        usage(&org),
    ]);
    let answer = pipeline.post("producer", "/v1/events", &batch)?;
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (422, "application/problem+json"),
        "{}",
        answer.body
    );
    for (index, word) in
        [(1, "output_tokens"), (2, "cache"), (3, "occurred_at"), (4, "35 days"), (5, "input_token")]
    {
        let refused = item(&answer.body, index)?;
        assert_eq!(text(refused, "status")?, "rejected", "{refused}");
        assert!(refused.to_string().contains(word), "{refused}");
    }
    for index in [0, 6] {
        assert_eq!(text(item(&answer.body, index)?, "status")?, "accepted");
        assert_eq!(text(item(&answer.body, index)?, "accepted")?, "acknowledged");
    }
    let balance = balance_at(&pipeline, &org, text(&answer.body, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "93.5");
    Ok(())
}

#[test]
fn lines_of_json_are_taken_one_by_one() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("lines");
    grant(&pipeline, &org, "100")?;
    let body = format!("{}\n{{\"broken\": \n\n{}\n", usage(&org), usage(&org));
    let headers = [("content-type", "application/x-ndjson")];
    let answer =
        pipeline.post_as("producer", "/v1/events", &headers, body.as_bytes(), Some(pipeline.admin_key()))?;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let balance = balance_at(&pipeline, &org, text(&answer.body, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "93.5");
    Ok(())
}

#[test]
fn what_is_no_json_or_too_large_or_of_another_type_is_a_clear_problem() -> Result<()> {
    let pipeline = shared()?;
    let key = Some(pipeline.admin_key());
    let post = |kind: &str, body: &[u8]| {
        pipeline.post_as("producer", "/v1/events", &[("content-type", kind)], body, key)
    };
    for (status, kind, body) in [
        (400, "application/json", b"{".to_vec()),
        (415, "text/plain", b"{}".to_vec()),
        (413, "application/json", vec![b' '; 9 << 20]),
    ] {
        let answer = post(kind, &body)?;
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (status, "application/problem+json"),
            "{}",
            answer.body
        );
        assert!(text(&answer.body, "title").is_ok());
    }
    Ok(())
}

#[test]
fn a_foreign_id_is_one_event_however_often_it_is_posted() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("foreign");
    grant(&pipeline, &org, "100")?;
    let mut event = usage(&org);
    event["event_id"] = json!("chatcmpl-42");
    emit(&pipeline, &event)?;
    let again = emit(&pipeline, &event)?;
    let balance = balance_at(&pipeline, &org, text(&again, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "96.75");
    Ok(())
}
