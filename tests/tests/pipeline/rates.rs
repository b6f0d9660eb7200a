//! A rate card is compared with what is in force, confirmed where it has to be, put in force, and shown.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{balance_at, emit, grant, pipeline, started, text, unique, usage, verify};
use fluxori_stack::pipeline::Pipeline;
use serde_json::Value;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rates/2026-11");

/// A price that is ten times what it was.
const SLIPPED: &str = r#"
revision = "slipped"
issued_at = "2026-11-02T00:00:00Z"

[[model]]
provider = "openai"
model = "o4-mini"
price = [{ effective_from = "2025-04-16T00:00:00Z", rates = { input = "11", output = "4.4", cache_read = "0.275" } }]
"#;

fn credits(pipeline: &Pipeline, arguments: &[&str]) -> Result<Value> {
    pipeline.credits(&[arguments, &["--output", "json"]].concat())
}

fn list<'answer>(answer: &'answer Value, name: &str) -> Result<&'answer Vec<Value>> {
    answer.get(name).and_then(Value::as_array).with_context(|| format!("no {name} in {answer}"))
}

#[test]
fn a_price_that_moves_tenfold_is_confirmed_before_it_is_put_in_force() -> Result<()> {
    let pipeline = started(&[])?;
    let org = unique("org");
    grant(&pipeline, &org, "100")?;
    let mut event = usage(&org);
    if let Some(event) = event.as_object_mut() {
        event.insert("request_model".to_owned(), "o4-mini-2025-04-16".into());
    }
    let spent = emit(&pipeline, &event)?;
    balance_at(&pipeline, &org, text(&spent, "position")?)?;
    let path = pipeline.keys_folder().join("slipped.toml");
    std::fs::write(&path, SLIPPED)?;
    let card = path.to_str().context("path")?;

    let diff = credits(&pipeline, &["rates", "diff", card])?;
    ensure!(diff.get("needs_confirmation") == Some(&Value::Bool(true)), "{diff}");
    let [change] = list(&diff, "changed")?.as_slice() else { bail!("{diff}") };
    ensure!(text(change, "model")? == "o4-mini", "{change}");

    let [affected] = list(&diff, "affected")?.as_slice() else { bail!("{diff}") };
    // 1,000 tokens in at 1.1 and 200 out at 4.4 for a million.
    ensure!((text(affected, "org_id")?, text(affected, "credits")?) == (org.as_str(), "1.98"), "{affected}");

    let Err(refused) = credits(&pipeline, &["rates", "apply", card]) else { bail!("it was not refused") };
    let refused = refused.to_string();
    ensure!(refused.contains("--confirm") && refused.contains("o4-mini"), "{refused}");
    let input = || -> Result<String> {
        let shown = credits(&pipeline, &["rates", "show", "o4-mini", "--provider", "openai"])?;
        let model = list(&shown, "models")?.first().context("no model")?;
        let tier = list(model, "tiers")?.first().context("no tier")?;
        Ok(text(tier.get("rates").context("no rates")?, "input")?.to_owned())
    };
    ensure!(input()? == "1.1", "nothing was published");

    let applied = credits(&pipeline, &["rates", "apply", card, "--confirm"])?;
    ensure!(text(&applied, "status")? == "in_force", "{applied}");
    ensure!(input()? == "11", "it is in force");
    Ok(())
}

#[test]
fn the_shipped_card_is_in_force_in_seconds_and_the_second_time_changes_nothing() -> Result<()> {
    let pipeline = pipeline(&[])?;
    pipeline.start("ledger-consumer")?;
    pipeline.wait_ready("ledger-consumer")?;
    let begin = Instant::now();
    let apply = ["rates", "apply", SHIPPED, "--confirm", "--timeout", "60s"];
    let applied = credits(&pipeline, &apply)?;
    let took = begin.elapsed();
    eprintln!("the shipped card was in force after {took:?}");
    ensure!(text(&applied, "status")? == "in_force", "{applied}");
    ensure!(took < Duration::from_secs(45), "{took:?}");
    ensure!(text(&credits(&pipeline, &apply)?, "status")? == "already_in_force");
    let diff = credits(&pipeline, &["rates", "diff", SHIPPED])?;
    ensure!(list(&diff, "changed")?.is_empty() && list(&diff, "new_models")?.is_empty(), "{diff}");

    let shown = credits(&pipeline, &["rates", "show", "gpt-5-2025-08-07", "--provider", "azure.ai.openai"])?;
    let model = list(&shown, "models")?.first().context("no model")?;
    ensure!(text(model, "model")?.starts_with("gpt-5"), "{model}");
    let listed = credits(
        &pipeline,
        &[
            "rates",
            "list",
            "--provider",
            "deepseek",
            "--model",
            "deepseek-chat",
            "--at",
            "2026-11-22T12:00:00Z",
        ],
    )?;
    ensure!(list(&listed, "tiers")?.len() == 2, "the prices of the day and of the night: {listed}");
    ensure!(credits(&pipeline, &["rates", "show", "gpt-nobody-knows"]).is_err());
    verify(&pipeline)?;
    Ok(())
}
