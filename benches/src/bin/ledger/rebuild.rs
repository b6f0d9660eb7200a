//! How fast `credits ledger rebuild` folds the whole log into a fresh schema beside the live ledger.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::consumer::Consumer;
use crate::floor::drop_database;
use crate::log::Log;

/// Records per second, from the first one to where the live ledger is.
pub(crate) fn records_per_s(log: &Log<'_>) -> Result<f64> {
    let consumer = Consumer::start(log, "rebuild")?;
    consumer.drain()?;
    let database = consumer.database.clone();
    consumer.stop()?;
    let output = log
        .pipeline
        .command("credits")
        .env("DATABASE_URL", &database)
        .env("FLUXORI__POSTGRES__MIGRATE_URL", &database)
        .args(["ledger", "rebuild", "--output", "json"])
        .output()
        .context("cannot run credits")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "credits ledger rebuild: {}", said.trim());
    drop_database(&database)?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| answer.get(name).and_then(Value::as_f64).with_context(|| format!("no {name}"));
    eprintln!("  {} records in {} s", figure("records")?, figure("seconds")?);
    figure("records_per_s")
}
