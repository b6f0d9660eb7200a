//! Which crate may use which: services use shells, shells use pure crates, and nothing points back.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo::{cargo, output};

/// What each crate of ours may depend on among ours. Services may use everything here but one another.
const OURS: [(&str, &[&str]); 19] = [
    ("fluxori-core", &[]),
    ("fluxori-tokens", &[]),
    ("fluxori-estimate", &["fluxori-core", "fluxori-tokens"]),
    ("fluxori-runtime", &[]),
    ("fluxori-stream", &[]),
    ("fluxori-stack", &[]),
    ("fluxori-wire", &["fluxori-core"]),
    ("fluxori-rate-card", &["fluxori-core"]),
    ("fluxori-ledger", &["fluxori-core"]),
    ("fluxori-analytics", &["fluxori-core"]),
    ("fluxori-ingest", &["fluxori-core"]),
    ("fluxori-emitter", &["fluxori-core", "fluxori-wire"]),
    ("fluxori-archive", &["fluxori-core", "fluxori-wire", "fluxori-stream"]),
    (
        "fluxori-applier",
        &["fluxori-core", "fluxori-wire", "fluxori-ledger", "fluxori-stream", "fluxori-runtime"],
    ),
    ("fluxori-examples", &["fluxori-core", "fluxori-wire", "fluxori-emitter"]),
    ("xtask", &["fluxori-stack"]),
    ("e2e", LIBRARIES),
    ("benches", LIBRARIES),
    ("services", LIBRARIES_OF_SERVICES),
];

const LIBRARIES: &[&str] = &[
    "fluxori-core",
    "fluxori-tokens",
    "fluxori-estimate",
    "fluxori-wire",
    "fluxori-rate-card",
    "fluxori-stream",
    "fluxori-ledger",
    "fluxori-analytics",
    "fluxori-runtime",
    "fluxori-emitter",
    "fluxori-ingest",
    "fluxori-archive",
    "fluxori-applier",
    "fluxori-stack",
];

const LIBRARIES_OF_SERVICES: &[&str] = &[
    "fluxori-core",
    "fluxori-tokens",
    "fluxori-estimate",
    "fluxori-wire",
    "fluxori-rate-card",
    "fluxori-stream",
    "fluxori-ledger",
    "fluxori-analytics",
    "fluxori-runtime",
    "fluxori-emitter",
    "fluxori-ingest",
    "fluxori-archive",
    "fluxori-applier",
];

const SERVICES: [&str; 6] =
    ["producer", "ledger-consumer", "analytics-consumer", "expiry-scheduler", "edge", "credits"];

/// Libraries that only some crates may name, so that each is known in one place.
const KEPT_IN: [(&str, &[&str]); 4] = [
    ("sqlx", &["fluxori-ledger"]),
    ("rdkafka", &["fluxori-stream", "fluxori-emitter", "benches"]),
    ("clickhouse", &["fluxori-analytics"]),
    ("backoff", &["fluxori-runtime"]),
];

pub(crate) fn check() -> Result<()> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    let packages =
        metadata.get("packages").and_then(Value::as_array).context("cargo metadata names no packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        wrong.extend(wrong_arrows(package)?);
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Test-only dependencies count for our own crates but not for libraries.
fn wrong_arrows(package: &Value) -> Result<Vec<String>> {
    let ours: BTreeMap<&str, &[&str]> = OURS.into();
    let name = text(package, "name");
    let rule = if SERVICES.contains(&name) { "services" } else { name };
    let may = ours.get(rule).with_context(|| format!("{name} has no rule in xtask/src/arrows.rs"))?;
    let dependencies = package.get("dependencies").and_then(Value::as_array).context("no dependencies")?;
    let mut wrong = Vec::new();
    for dependency in dependencies {
        let (used, for_tests) = (text(dependency, "name"), text(dependency, "kind") == "dev");
        let is_ours = ours.contains_key(used) || SERVICES.contains(&used);
        let allowed = may.contains(&used) || (for_tests && LIBRARIES.contains(&used));
        if is_ours && !allowed {
            wrong.push(format!("{name} must not use {used}"));
        }
        let kept = KEPT_IN.iter().find(|(library, _)| *library == used);
        if kept.is_some_and(|(_, homes)| !for_tests && !homes.contains(&name)) {
            wrong.push(format!("{name} must not name {used}"));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrow_that_points_back_is_named() {
        let wrong = |name: &str, used: &str| {
            wrong_arrows(&json!({"name": name, "dependencies": [{"name": used, "kind": null}]})).unwrap()
        };
        assert_eq!(wrong("fluxori-core", "fluxori-wire"), ["fluxori-core must not use fluxori-wire"]);
        assert_eq!(wrong("edge", "credits"), ["edge must not use credits"]);
        assert_eq!(wrong("edge", "sqlx"), ["edge must not name sqlx"]);
        assert!(wrong("edge", "fluxori-ledger").is_empty());
    }
}
