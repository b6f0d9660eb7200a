//! Usage that came before its price: charged once there is one, and in ledger, usage log and rollups alike.

use std::fs;

use anyhow::{Context as _, Result};
use e2e::{ago, charged, emit, grant, started, text, usage, verify};
use fluxori_stack::pipeline::Pipeline;
use serde_json::{Value, json};

use crate::rebuild::credits_of_owner;

/// Usage of a model that the shipped rate card does not have.
fn unknown(org: &str, count: usize) -> Vec<Value> {
    let event = || {
        let mut event = usage(org);
        if let Some(fields) = event.as_object_mut() {
            fields.insert("request_model".to_owned(), json!("gpt-99-2026-11-01"));
            fields.insert("occurred_at".to_owned(), json!(ago(10)));
        }
        event
    };
    (0..count).map(|_| event()).collect()
}

/// Puts a rate card in force: a revision, and its entries.
fn apply(pipeline: &Pipeline, revision: &str, entries: &str) -> Result<()> {
    let path = pipeline.keys_folder().join(format!("{revision}.toml"));
    let head = format!("revision = \"{revision}\"\nissued_at = \"{}\"\n", ago(0));
    fs::write(&path, head + entries)?;
    let path = path.to_str().context("no text")?.to_owned();
    pipeline.credits(&["rates", "apply", &path, "--output", "json"]).map(drop)
}

fn reprice(pipeline: &Pipeline, words: &[&str]) -> Result<Value> {
    let since = ago(3600);
    pipeline.credits(&[&["reprice", "--since", &since, "--output", "json"], words].concat())
}

/// Of an org: events, those without a price before and after, credits before and after, and the difference.
fn figures(sums: &Value) -> Value {
    let fields =
        ["events", "unpriced_before", "unpriced_after", "credits_before", "credits_after", "difference"];
    fields.iter().map(|field| sums.get(field).cloned().unwrap_or_default()).collect()
}

fn postings(pipeline: &Pipeline, org: &str) -> Result<usize> {
    let listed = pipeline.credits(&["transactions", org, "--limit", "1000", "--output", "json"])?;
    Ok(listed.get("transactions").and_then(Value::as_array).context("no transactions")?.len())
}

#[test]
fn usage_without_a_price_is_repriced_once_and_ledger_usage_log_and_rollups_agree() -> Result<()> {
    let pipeline = started(&[])?;
    let orgs = ["held-back", "small", "meantime"];
    for org in orgs {
        grant(&pipeline, org, "1000")?;
    }
    apply(
        &pipeline,
        "meantime",
        "[[terms]]\norg = \"meantime\"\nprovisional = { input = \"1\", output = \"1\" }\n",
    )?;
    for chunk in unknown("held-back", 250).chunks(50) {
        emit(&pipeline, &json!(chunk))?;
    }
    emit(&pipeline, &json!([unknown("small", 2), unknown("meantime", 3), vec![usage("small")]].concat()))?;
    // Nothing until there is a price, but for whom the terms say something for the meantime: 1.2 credits each.
    charged(&pipeline, "held-back", 250, "0")?;
    charged(&pipeline, "small", 3, "3.25")?;
    charged(&pipeline, "meantime", 3, "3.6")?;
    let listed = pipeline.credits(&["rates", "unpriced", "--output", "json"])?;
    let known = listed.get("usage").and_then(Value::as_array).context("no usage")?;
    let of = |line: &Value| {
        ["model", "status", "events", "orgs", "has_a_price_now"].map(|field| line[field].clone())
    };
    let lines: Vec<_> = known.iter().map(of).collect();
    let model = "gpt-99-2026-11-01";
    assert_eq!(
        json!(lines),
        json!([[model, "unpriced", 252, 2, false], [model, "provisional", 3, 1, false]])
    );
    let metrics = pipeline.metrics("ledger-consumer")?;
    let counted = r#"ledger_incomplete_charges_total{charge="unpriced"} 252"#;
    assert!(metrics.contains(counted), "{metrics}");

    // 1,000 tokens in at 2 dollars a million and 200 out at 8: 3.6 credits.
    apply(
        &pipeline,
        "priced",
        "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-99\"\n[[model.price]]\nrates = { input = \"2\", output = \"8\" }\n",
    )?;
    let asked = ["--model", "gpt-99", "--revision", "priced"];
    let stale = reprice(&pipeline, &["--model", "gpt-99", "--revision", "meantime"]);
    let refused = stale.unwrap_err().to_string();
    assert!(refused.contains("is priced"), "{refused}");
    let preview = reprice(&pipeline, &asked)?;
    assert_eq!(text(&preview, "status")?, "preview");
    let lines = preview.get("orgs").and_then(Value::as_array).context("no orgs")?;
    let lines: Vec<_> = lines.iter().map(|line| json!([line["org_id"], figures(line)])).collect();
    let expected = json!([
        ["held-back", [250, 250, 0, "0", "900", "900"]],
        ["meantime", [3, 3, 0, "3.6", "10.8", "7.2"]],
        ["small", [2, 2, 0, "0", "7.2", "7.2"]],
    ]);
    assert_eq!(json!(lines), expected);
    let total = preview.get("total").context("no total")?;
    assert_eq!(figures(total), json!([255, 255, 0, "3.6", "918", "914.4"]));
    charged(&pipeline, "held-back", 250, "0")?;

    // A run that ends before the ledger has come to its commands: the next one finds what is left.
    let first = [&asked[..], &["--publish", "--org", "held-back", "--no-wait"]].concat();
    let published = reprice(&pipeline, &first)?;
    assert_eq!((text(&published, "status")?, &published["commands"]), ("published", &json!(3)));
    let done = reprice(&pipeline, &[&asked[..], &["--publish"]].concat())?;
    assert_eq!((text(&done, "status")?, &done["commands"]), ("applied", &json!(2)));
    charged(&pipeline, "held-back", 250, "900")?;
    charged(&pipeline, "small", 3, "10.45")?;
    charged(&pipeline, "meantime", 3, "10.8")?;
    let before: Vec<_> = orgs.iter().map(|org| postings(&pipeline, org)).collect::<Result<_>>()?;
    for words in [&asked[..], &["--unpriced-only", "--revision", "priced"]] {
        let again = reprice(&pipeline, &[words, &["--publish"]].concat())?;
        assert_eq!((&again["commands"], figures(&again["total"])[0].clone()), (&json!(0), json!(0)));
    }
    let after: Vec<_> = orgs.iter().map(|org| postings(&pipeline, org)).collect::<Result<_>>()?;
    assert_eq!(before, after);
    let nothing = pipeline.credits(&["rates", "unpriced", "--output", "json"])?;
    assert_eq!(nothing, json!({"usage": []}));

    // Why 3.6, and why 1.2 before: what was booked at first, and what priced it at last.
    let listed = pipeline.credits(&["transactions", "meantime", "--output", "json"])?;
    let listed = listed.get("transactions").and_then(Value::as_array).context("no transactions")?;
    let debit = listed.iter().find(|posting| posting["kind"] == "debit").context("no debit")?;
    let event = text(debit, "event_id")?;
    let explained = pipeline.credits(&["explain", "meantime", event, "--output", "json"])?;
    assert_eq!(explained["agrees"], json!(true), "{explained:#}");
    let priced = |when: &str| (explained[when]["status"].clone(), explained[when]["credits"].clone());
    assert_eq!(priced("pricing"), (json!("provisional"), json!("1.2")));
    assert_eq!(priced("repriced"), (json!("complete"), json!("3.6")));

    verify(&pipeline)?;
    credits_of_owner(&pipeline, &["ledger", "rebuild"])?;
    let rebuilt =
        pipeline.credits(&["ledger", "verify", "--schema", "ledger_rebuild", "--output", "json"])?;
    assert_eq!(rebuilt["agree"], json!(true));
    Ok(())
}
