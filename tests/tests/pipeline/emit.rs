//! Usage emitted by hand.

use std::io::Write as _;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use e2e::{balance_at, eventually, grant, shared, text, unique, usage};
use fluxori_stack::pipeline::Pipeline;
use serde_json::{Value, json};

/// Runs `credits emit` with this on standard input.
fn emit(pipeline: &Pipeline, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = pipeline.command("credits");
    command.arg("emit").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

/// The outcomes of events, and the summary.
fn outcomes(output: &Output) -> Result<(Vec<Value>, Value)> {
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    let mut lines: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let last = lines.pop().context("no summary")?;
    Ok((lines, last.get("summary").context("the last line is no summary")?.clone()))
}

#[test]
fn an_event_described_by_flags_is_charged_and_the_same_again_is_not() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("flags");
    grant(&pipeline, &org, "100")?;
    let event = [
        "--org",
        &org,
        "--module",
        "pim",
        "--provider",
        "openai",
        "--model",
        "gpt-5",
        "--input-tokens",
        "1000",
        "--output-tokens",
        "200",
        "--tag",
        "team=blue",
        "--event-id",
        "call-1",
        "--output",
        "json",
    ];
    for _ in 0..2 {
        let output = emit(&pipeline, &event, "")?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let (lines, summary) = outcomes(&output)?;
        assert_eq!((&lines[0]["status"], &lines[0]["given_id"]), (&json!("accepted"), &json!("call-1")));
        assert_eq!((&lines[0]["accepted"], &summary["accepted"]), (&json!("acknowledged"), &json!(1)));
        let balance = balance_at(&pipeline, &org, text(&summary, "position")?)?;
        assert_eq!(text(&balance, "balance")?, "96.75");
    }
    Ok(())
}

#[test]
fn every_line_has_its_outcome_and_a_bad_one_stops_no_other() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("lines");
    grant(&pipeline, &org, "10000")?;
    let mut negative = usage(&org);
    negative["output_tokens"] = json!(-1);
    let mut input = format!("{}\n\n{{\"event_id\": \n{negative}\n", usage(&org));
    for _ in 0..1_500 {
        input.push_str(&format!("{}\n", usage(&org)));
    }
    let output = emit(&pipeline, &["-", "--output", "json"], &input)?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 of 1503 events were not accepted"));
    let (lines, summary) = outcomes(&output)?;
    let numbers: Vec<i64> = lines.iter().filter_map(|line| line["line"].as_i64()).collect();
    assert_eq!(numbers, [1].into_iter().chain(3..=1_504).collect::<Vec<_>>());
    for (index, words) in [(1, "no JSON"), (2, "output_tokens is negative")] {
        assert_eq!(lines[index]["status"], "rejected");
        assert!(text(&lines[index], "reason")?.contains(words), "{}", lines[index]);
    }
    assert_eq!((&summary["accepted"], &summary["rejected"]), (&json!(1_501), &json!(2)));
    let balance = balance_at(&pipeline, &org, text(&summary, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "5121.75");
    Ok(())
}

#[test]
fn a_dry_run_checks_events_without_any_server() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("dry");
    let mut command = pipeline.command("credits");
    command.env("KAFKA_BROKERS", "127.0.0.1:1").env("FLUXORI__KAFKA__BROKERS", "127.0.0.1:1");
    command.args(["emit", "--dry-run"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let input = format!("{}\n{{}}\n", usage(&org));
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1  valid  ") && said.contains("2  rejected  event_id is missing"), "{said}");
    assert!(said.contains("1 valid, 1 rejected"), "{said}");
    Ok(())
}

#[test]
fn with_a_spool_events_are_accepted_while_no_broker_answers_and_sent_by_the_next_run() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("spooled");
    grant(&pipeline, &org, "100")?;
    let folder = pipeline.keys_folder().join(unique("spool"));
    let run = |brokers: Option<&str>, events: &[Value]| -> Result<(Vec<Value>, Value)> {
        let mut command = pipeline.command("credits");
        if let Some(brokers) = brokers {
            command.env("KAFKA_BROKERS", brokers).env("FLUXORI__KAFKA__BROKERS", brokers);
        }
        let timeout = if brokers.is_some() { "1s" } else { "60s" };
        command.args(["emit", "-", "--output", "json", "--timeout", timeout]);
        command.arg("--spool").arg(&folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let input: String = events.iter().map(|event| format!("{event}\n")).collect();
        child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        outcomes(&output)
    };
    let (lines, summary) = run(Some("127.0.0.1:1"), &[usage(&org), usage(&org)])?;
    assert!(lines.iter().all(|line| line["accepted"] == "spooled"), "{lines:?}");
    assert_eq!((&summary["accepted"], &summary["waiting"]), (&json!(2), &json!(2)));
    let (_, summary) = run(None, &[usage(&org)])?;
    assert_eq!((&summary["recovered"], &summary["waiting"]), (&json!(2), &json!(0)), "{summary}");
    let charged = || {
        let balance = pipeline.credits(&["balance", &org, "--output", "json"])?;
        Ok((text(&balance, "balance")? == "90.25").then_some(()))
    };
    eventually("all three are charged", charged)
}
