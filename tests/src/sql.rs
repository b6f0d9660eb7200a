//! Plain SQL in a pipeline's ledger, past all code of the product.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use fluxori_stack::pipeline::Pipeline;

/// The rows of a query in a pipeline's ledger, as its owner, each as texts.
///
/// # Errors
/// Postgres does not answer, or refuses.
pub fn sql(pipeline: &Pipeline, query: &str) -> Result<Vec<Vec<String>>> {
    try_sql(pipeline.owner_url(), query)
}

/// As [`sql`], in a database of choice.
///
/// # Errors
/// As [`sql`].
pub fn try_sql(url: &str, query: &str) -> Result<Vec<Vec<String>>> {
    let output = Command::new("psql")
        .args([url, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\t"])
        .args(["--set=ON_ERROR_STOP=1", "--command", query])
        .env("PGCONNECT_TIMEOUT", "5")
        .output()
        .context("cannot run psql")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{query}: {}", said.trim());
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}
