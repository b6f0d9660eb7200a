//! Why was this charged? The answer, to the last digit, over REST and by the CLI.

use anyhow::{Context as _, Result, ensure};
use e2e::{emit, eventually, grant, shared, text, unique, usage};
use serde_json::{Value, json};

#[test]
fn a_charge_is_explained_to_the_last_digit() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("explained");
    grant(&pipeline, &org, "100")?;
    let credits = |words: &[&str]| pipeline.credits(&[words, &["--output", "json"]].concat());
    let scoped =
        ["grant", &org, "50", "--module", "pim", "--expires-in", "7d", "--effective-at", &e2e::ago(60)];
    credits(&scoped)?;
    credits(&["grant", &org, "1", "--expires-in", "8d", "--effective-at", &e2e::ago(60)])?;
    let mut event = usage(&org);
    let fields = event.as_object_mut().context("no object")?;
    fields.insert("cache_read_input_tokens".to_owned(), json!(600));
    fields.insert("response_model".to_owned(), json!("gpt-5-2025-08-07"));
    let id = text(&event, "event_id")?.to_owned();
    emit(&pipeline, &json!([event, usage(&org)]))?;
    let explained = eventually("the event is booked", || {
        let answer = pipeline.get("edge", &format!("/v1/transactions/{id}/explain?org_id={org}"))?;
        Ok((answer.status == 200).then_some(answer.body))
    })?;
    ensure!(explained.get("agrees") == Some(&json!(true)), "{explained:#}");
    ensure!(explained.get("read_from") == Some(&json!("log")), "{explained:#}");
    let pricing = explained.get("pricing").context("no pricing")?;
    ensure!(
        text(pricing, "exact_cost")? == "0.002575" && text(pricing, "credits")? == "2.575",
        "{pricing:#}"
    );
    let tier = pricing.get("tier").context("no tier")?;
    ensure!(
        text(tier, "matched_name")? == "gpt-5-2025-08-07" && text(tier, "matched_by")?.len() > 3,
        "{tier}"
    );
    ensure!(tier.get("revision_source").is_some_and(Value::is_string), "{tier}");
    let lines = pricing.get("lines").and_then(Value::as_array).context("no lines")?;
    let costs = lines.iter().map(|line| text(line, "cost")).collect::<Result<Vec<_>>>()?;
    assert_eq!(costs, ["0.0005", "0.000075", "0.002"]);
    let considered = explained.pointer("/burn_down/considered").and_then(Value::as_array).context("none")?;
    let of = |field: &str| {
        considered.iter().map(|line| line.get(field).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    // The org's own, the one that expires first before the others.
    assert_eq!(of("skipped"), [json!("scope"), Value::Null, Value::Null]);
    assert_eq!(of("taken"), [json!("0"), json!("1"), json!("1.575")]);
    assert_eq!(of("held"), [json!("50"), json!("1"), json!("100")]);
    // What was granted since, from a minute ago or from tomorrow on, was not there.
    for seconds in [60, -86_400] {
        credits(&["grant", &org, "7", "--effective-at", &e2e::ago(seconds)])?;
    }
    // After a correction the debit is explained as it was, and the correction beside it.
    credits(&["correct", &org, &id, "--void", "--reason", "the provider took it back"])?;
    let again = credits(&["explain", &org, &id])?;
    ensure!(again.get("agrees") == Some(&json!(true)), "{again:#}");
    ensure!(again.get("burn_down") == explained.get("burn_down"), "{again:#}");
    let given = again.pointer("/corrections/0/given/reason").context("no correction")?;
    assert_eq!(given, "the provider took it back");
    // A grant has no price; what is not there is said.
    let first = credits(&["explain", &org, "1"])?;
    assert_eq!(first.pointer("/posting/kind"), Some(&json!("grant")));
    let unknown = pipeline.get("edge", &format!("/v1/transactions/999/explain?org_id={org}"))?;
    assert_eq!(unknown.status, 404);
    Ok(())
}

#[test]
fn a_call_is_estimated_before_it_is_made_and_costs_that() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("estimated");
    grant(&pipeline, &org, "100")?;
    let request = json!({
        "org_id": org, "input_tokens": 1000, "expected_output_tokens": 200, "max_output_tokens": 400, "cache_share": 0.6,
        "models": [
            {"provider": "anthropic", "model": "claude-sonnet-4-5"}, {"provider": "openai", "model": "gpt-5"},
            {"provider": "openai", "model": "gpt-5-nono"},
        ],
    });
    let answer = pipeline.post("edge", "/v1/estimate", &request)?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    let line =
        |index: usize, field: &str| answer.body.pointer(&format!("/estimates/{index}/{field}")).cloned();
    assert_eq!(line(0, "model"), Some(json!("gpt-5")));
    assert_eq!(line(0, "expected/credits"), Some(json!("2.575")));
    assert_eq!(line(0, "at_most/credits"), Some(json!("5.25")));
    assert_eq!(line(2, "status"), Some(json!("unpriced")));
    ensure!(line(2, "nearest/0") == Some(json!("gpt-5-nano")), "{}", answer.body);
    // The call itself is then charged what was expected.
    let mut event = usage(&org);
    event.as_object_mut().context("no object")?.insert("cache_read_input_tokens".to_owned(), json!(600));
    let position = emit(&pipeline, &json!([event]))?;
    ensure!(position.to_string().contains("accepted"), "{position}");
    eventually("the call is charged", || {
        let listed = pipeline.credits(&["org", "list", "--output", "json"])?;
        let orgs = listed.get("orgs").and_then(Value::as_array).context("no orgs")?;
        let mine = orgs.iter().find(|one| one.get("org_id") == Some(&json!(org))).context("not listed")?;
        Ok((text(mine, "debited")? == "2.575").then_some(()))
    })?;
    let by_cli = pipeline.credits(&[
        "estimate",
        &org,
        "--model",
        "openai/gpt-5",
        "--input-tokens",
        "1000",
        "--expected-output-tokens",
        "200",
        "--max-output-tokens",
        "400",
        "--cache-share",
        "0.6",
        "--output",
        "json",
    ])?;
    assert_eq!(by_cli.pointer("/estimates/0/expected/credits"), Some(&json!("2.575")));
    let other = json!({"org_id": org, "models": [], "input_tokens": 1});
    assert_eq!(pipeline.post("edge", "/v1/estimate", &other)?.status, 422);
    Ok(())
}
