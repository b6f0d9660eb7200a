//! Whether everything came that was emitted.

use anyhow::{Context as _, Result, ensure};
use e2e::{RawLog, ago, eventually, grant, shared, unique, usage};
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_ingest::usage_from_json;
use fluxori_stack::pipeline::Pipeline;
use fluxori_wire::encode_usage;
use serde_json::{Value, json};

/// An event of a producer with this number there.
fn numbered(org: &str, producer: &str, number: i64) -> Result<UsageFields> {
    let event = usage_from_json(usage(org), ago(0).parse()?)?;
    Ok(UsageFields { producer_id: producer.parse()?, producer_seq: number, ..event.into_fields() })
}

fn bytes(fields: UsageFields) -> Result<Vec<u8>> {
    Ok(encode_usage(&UsageEvent::new(fields)?)?)
}

/// What the report says of one producer once so many of its records were read, and everything that was appended before.
fn report(pipeline: &Pipeline, producer: &str, events: i64, more: &[&str]) -> Result<Value> {
    let arguments = [&["producers", "--grace", "0s", "--output", "json"], more].concat();
    eventually("analytics has read them", || {
        let answer = pipeline.credits(&arguments)?;
        let lines = answer.get("producers").and_then(Value::as_array).context("no producers")?;
        let line = lines.iter().find(|line| line["producer_id"] == json!(producer));
        Ok(line
            .filter(|line| line["events"] == json!(events) && line["pending_numbers"] == json!(0))
            .cloned())
    })
}

#[test]
fn a_number_that_never_came_is_reported_and_what_came_twice_or_was_quarantined_is_not() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("complete");
    grant(&pipeline, &org, "1000")?;
    let log = RawLog::of(&pipeline)?;
    // The third of five never came, the second came twice, one is of a call site that does not number.
    let lossy = unique("lossy");
    for number in [1, 2, 2, 5, 4, 0] {
        log.publish(&org, &bytes(numbered(&org, &lossy, number)?)?)?;
    }
    // Everything came: as a duplicate, a conflict, too late, of an org that is not open, under another key, cut short.
    let whole = unique("whole");
    let first = numbered(&org, &whole, 1)?;
    log.publish(&org, &bytes(first.clone())?)?;
    log.publish(&org, &bytes(UsageFields { producer_seq: 2, ..first.clone() })?)?;
    log.publish(&org, &bytes(UsageFields { producer_seq: 3, input_tokens: 7, ..first })?)?;
    let late: Timestamp = ago(40 * 24 * 3600).parse()?;
    log.publish(&org, &bytes(UsageFields { occurred_at: late, ..numbered(&org, &whole, 4)? })?)?;
    let unopened = unique("unopened");
    let org_id = OrgId::new(&unopened)?;
    log.publish(&unopened, &bytes(UsageFields { org_id, ..numbered(&org, &whole, 5)? })?)?;
    log.publish(&unopened, &bytes(numbered(&org, &whole, 6)?)?)?;
    let broken = bytes(numbered(&org, &whole, 7)?)?;
    log.publish(&org, broken.get(..broken.len() / 2).context("half an event")?)?;
    log.publish(&org, &bytes(numbered(&org, &whole, 8)?)?)?;

    let of_lossy = report(&pipeline, &lossy, 6, &[])?;
    assert_eq!(of_lossy["missing"], json!([{"first": 3, "last": 3}]), "{of_lossy}");
    assert_eq!((&of_lossy["missing_numbers"], &of_lossy["unnumbered_events"]), (&json!(1), &json!(1)));
    assert_eq!((&of_lossy["numbers"], &of_lossy["problems"]), (&json!(4), &json!(["missing"])));
    let of_whole = report(&pipeline, &whole, 8, &[])?;
    assert_eq!((&of_whole["missing_numbers"], &of_whole["problems"]), (&json!(0), &json!([])), "{of_whole}");

    let run = |arguments: &[&str]| -> Result<(Option<i32>, String, String)> {
        let output = pipeline.command("credits").arg("producers").args(arguments).output()?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok((output.status.code(), out, err))
    };
    let of_org = ["--org", &org, "--grace", "0s", "--only-problems"];
    let (code, out, _) = run(&of_org)?;
    assert_eq!(code, Some(0));
    assert!(out.contains("1 of its numbers up to 5 never came: 3."), "{out}");
    ensure!(!out.contains(&whole), "{out}");
    let (code, _, err) = run(&[&of_org[..], &["--check"]].concat())?;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("1 of 2 producers"), "{err}");
    // A number that may still be on its way is no problem.
    assert_eq!(run(&["--org", &org, "--check"])?.0, Some(0));
    // A spool that is sent again after a crash fills the gap.
    for number in [2, 3] {
        log.publish(&org, &bytes(numbered(&org, &lossy, number)?)?)?;
    }
    let of_lossy = report(&pipeline, &lossy, 8, &[])?;
    assert_eq!((&of_lossy["missing_numbers"], &of_lossy["problems"]), (&json!(0), &json!([])), "{of_lossy}");
    Ok(())
}
