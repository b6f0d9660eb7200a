//! What the usage log, its rollups and the ledger say that an org was charged.

use anyhow::{Context, Result, ensure};
use fluxori_stack::pipeline::Pipeline;
use serde_json::{Value, json};

use crate::{eventually, text};

/// Events and credits of an org: of the usage log and both rollups.
fn sums(pipeline: &Pipeline, org: &str) -> Result<Vec<(String, String)>> {
    let raw = "sum(row_sign) AS n, sum(credits * row_sign) AS c FROM credit_usage_log";
    let rollup = |view: &str| format!("sum(events) AS n, sum(credits) AS c FROM {view}");
    let ways = [raw.to_owned(), rollup("v_usage_hourly"), rollup("v_usage_daily")];
    let sum = |way: &String| {
        let query = format!(
            "SELECT toString(n) AS events, toString(c) AS credits FROM (SELECT {way} WHERE org_id = '{org}')"
        );
        let rows = pipeline.clickhouse(&query)?;
        let row = rows.first().context("no row")?;
        Ok((text(row, "events")?.to_owned(), text(row, "credits")?.to_owned()))
    };
    ways.iter().map(sum).collect()
}

/// Waits until the usage log comes to the ledger's charges of an org, by all ways: so many events and credits.
///
/// # Errors
/// They do not within a minute.
pub fn charged(pipeline: &Pipeline, org: &str, events: u32, credits: &str) -> Result<()> {
    let expected = (events.to_string(), credits.to_owned());
    eventually("ledger, usage log and rollups say the same", || {
        let sums = sums(pipeline, org)?;
        ensure!(sums.iter().all(|sum| *sum == expected), "{sums:?} and not {expected:?}");
        let listed = pipeline.credits(&["org", "list", "--output", "json"])?;
        let orgs = listed.get("orgs").and_then(Value::as_array).context("no orgs")?;
        let mine = orgs.iter().find(|listed| listed.get("org_id") == Some(&json!(org)));
        let charged = text(mine.context("the org is not listed")?, "debited")?;
        ensure!(charged == credits, "the ledger charged {charged} and not {credits}");
        Ok(Some(()))
    })
}
