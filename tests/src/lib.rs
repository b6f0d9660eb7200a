//! What end-to-end tests share: a pipeline of real binaries on the real servers, and the raw log beside it.

pub mod commit_proxy;
pub mod load;
mod sql;
mod sums;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fluxori_core::record::partition_of;
use fluxori_stack::pipeline::{Pipeline, PipelineOptions, binaries_beside};
use fluxori_stack::{Endpoints, Options};
use fluxori_stream::{Publisher, PublisherOptions};
use serde_json::{Value, json};
use uuid::Uuid;

pub use sql::{sql, try_sql};
pub use sums::charged;

/// Partitions of every test's log.
pub const PARTITIONS: u32 = 8;
/// A key that may ask and post for `org-of-key` alone.
pub const ORG_KEY: (&str, &str) = ("key-of-one-org", "org-of-key");

/// The servers that `cargo xtask test` started.
///
/// # Errors
/// The environment does not name them.
pub fn endpoints() -> Result<Endpoints> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| {
            format!("{name} is not set: run `cargo xtask test`, or evaluate what `cargo xtask up` prints")
        })
    };
    Ok(Endpoints {
        kafka_brokers: variable("KAFKA_BROKERS")?,
        database_url: variable("DATABASE_URL")?,
        clickhouse_url: variable("CLICKHOUSE_URL")?,
    })
}

/// A pipeline of its own, its services not yet started.
///
/// # Errors
/// A server or a binary is missing.
pub fn pipeline(settings: &[(&str, &str)]) -> Result<Pipeline> {
    pipeline_at(endpoints()?, settings)
}

/// As [`pipeline`], on servers of choice.
///
/// # Errors
/// A server or a binary is missing.
pub fn pipeline_at(endpoints: Endpoints, settings: &[(&str, &str)]) -> Result<Pipeline> {
    Pipeline::init(options(endpoints, settings)?)
}

/// As [`pipeline`], and nobody has made its ledger yet.
///
/// # Errors
/// A server or a binary is missing.
pub fn pipeline_without_ledger(settings: &[(&str, &str)]) -> Result<Pipeline> {
    Pipeline::init_without_ledger(options(endpoints()?, settings)?)
}

fn options(endpoints: Endpoints, settings: &[(&str, &str)]) -> Result<PipelineOptions> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("e2e_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let binaries = binaries_beside(&std::env::current_exe()?)?;
    ensure!(
        binaries.join("credits").exists(),
        "the binaries are not in {}: run `cargo build --workspace` (`cargo xtask test` does it)",
        binaries.display()
    );
    let folder: PathBuf = binaries.parent().unwrap_or(&binaries).join("e2e").join(&name);
    let mut all = vec![
        ("FLUXORI__KAFKA__SESSION_TIMEOUT_MS".to_owned(), "6000".to_owned()),
        ("FLUXORI__SCHEDULER__TICK_INTERVAL_MS".to_owned(), "200".to_owned()),
        ("FLUXORI__SCHEDULER__PLAN_INTERVAL_MS".to_owned(), "200".to_owned()),
    ];
    all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(PipelineOptions {
        endpoints,
        binaries,
        folder,
        name,
        partitions: PARTITIONS,
        org_keys: vec![(ORG_KEY.0.to_owned(), ORG_KEY.1.to_owned())],
        settings: all,
    })
}

/// A pipeline with all services running and the tests' small rate card in force, shared by the tests that leave it alone; it
/// ends with the last of them.
///
/// # Errors
/// It does not come up.
pub fn shared() -> Result<Arc<Pipeline>> {
    static SHARED: Mutex<Weak<Pipeline>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pipeline) = shared.upgrade() {
        return Ok(pipeline);
    }
    let pipeline = Arc::new(started(&[])?);
    *shared = Arc::downgrade(&pipeline);
    Ok(pipeline)
}

/// A pipeline of its own with all services running and the tests' small rate card in force.
///
/// # Errors
/// It does not come up.
pub fn started(settings: &[(&str, &str)]) -> Result<Pipeline> {
    let pipeline = pipeline(settings)?;
    pipeline.start_all()?;
    apply_rates(&pipeline)?;
    Ok(pipeline)
}

/// A pipeline of its own of which only the ledger consumer runs, with small batches, and the tests' small rate card in force.
///
/// # Errors
/// It does not come up.
pub fn ledger_at(endpoints: Endpoints) -> Result<Pipeline> {
    let pipeline = pipeline_at(endpoints, &[("FLUXORI__LEDGER__BATCH_MAX_RECORDS", "200")])?;
    pipeline.start("ledger-consumer")?;
    pipeline.wait_ready("ledger-consumer")?;
    apply_rates(&pipeline)?;
    Ok(pipeline)
}

/// How servers of a test's own are started.
///
/// # Errors
/// The test's own program cannot be found.
pub fn server_options() -> Result<Options> {
    let binaries = binaries_beside(&std::env::current_exe()?)?;
    Ok(Options { binaries: Some(binaries), quiet: true, ..Options::default() })
}

/// A setting of a pipeline.
///
/// # Errors
/// It has none of that name.
pub fn setting<'a>(pipeline: &'a Pipeline, name: &str) -> Result<&'a str> {
    let found = pipeline.environment().iter().rfind(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str()).with_context(|| format!("the pipeline has no setting {name}"))
}

/// What the ledger consumer says at `/readyz`: whether it is ready, and the whole of its answer.
///
/// # Errors
/// It does not answer.
pub fn readiness(pipeline: &Pipeline) -> Result<(bool, String)> {
    let answer = pipeline.get("ledger-consumer", "/readyz")?;
    Ok((answer.status == 200, answer.body.to_string()))
}

/// Puts the small rate card of the tests in force.
///
/// # Errors
/// It was refused.
pub fn apply_rates(pipeline: &Pipeline) -> Result<()> {
    let card = concat!(env!("CARGO_MANIFEST_DIR"), "/rates/small.toml");
    pipeline.credits(&["rates", "apply", card, "--output", "json"]).map(drop)
}

/// A name that no other test uses.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::now_v7().simple())
}

/// An instant some seconds before (or, negative, after) now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests stand where a caller's clock does")]
pub fn ago(seconds: i64) -> String {
    (chrono::Utc::now() - chrono::TimeDelta::seconds(seconds)).to_rfc3339()
}

/// A usage event of gpt-5 with a new id: 1,000 tokens in and 200 out, 3.25 credits.
#[must_use]
pub fn usage(org: &str) -> Value {
    json!({
        "event_id": Uuid::now_v7(), "org_id": org, "module": "rag-retrieval", "provider": "openai",
        "request_model": "gpt-5", "input_tokens": 1000, "output_tokens": 200,
    })
}

/// Grants credits to an org, effective an hour ago, over REST, and returns the answer's body.
///
/// # Errors
/// It was not answered with 201.
pub fn grant(pipeline: &Pipeline, org: &str, amount: &str) -> Result<Value> {
    let body = json!({
        "org_id": org, "kind": "prepaid", "amount": amount, "effective_at": ago(3600), "reason": "test",
    });
    let answer = pipeline.post("edge", "/v1/allocations", &body)?;
    ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
    Ok(answer.body)
}

/// Posts usage and returns the answer's body.
///
/// # Errors
/// Not all of it was accepted.
pub fn emit(pipeline: &Pipeline, events: &Value) -> Result<Value> {
    let answer = pipeline.post("producer", "/v1/events", events)?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    Ok(answer.body)
}

/// The balance of an org once the ledger has passed a position.
///
/// # Errors
/// It was not answered with 200.
pub fn balance_at(pipeline: &Pipeline, org: &str, position: &str) -> Result<Value> {
    let answer = pipeline.get("edge", &format!("/v1/balance?org_id={org}&at_least={position}"))?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    Ok(answer.body)
}

/// A text field of a JSON object.
///
/// # Errors
/// There is none of that name.
pub fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("no text {field} in {value}"))
}

/// Asks again until there is an answer, or a minute is over.
///
/// # Errors
/// There was none in time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    let mut last = None;
    while begin.elapsed() < Duration::from_secs(60) {
        match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    match last {
        Some(error) => Err(error.context(format!("not within a minute: {what}"))),
        None => bail!("not within a minute: {what}"),
    }
}

/// The records in the quarantine of an org (`""`: of none).
///
/// # Errors
/// They cannot be listed.
pub fn quarantined(pipeline: &Pipeline, org: &str) -> Result<Vec<Value>> {
    let listed = pipeline.credits(&["quarantine", "list", "--org", org, "--output", "json"])?;
    let records = listed.get("records").or(Some(&listed)).and_then(Value::as_array);
    Ok(records.context("quarantine list prints no records")?.clone())
}

/// Publishes bytes to the log as they are.
pub struct RawLog {
    publisher: Publisher,
    runtime: tokio::runtime::Runtime,
}

impl RawLog {
    /// The log of a pipeline.
    ///
    /// # Errors
    /// Its settings make no sense.
    pub fn of(pipeline: &Pipeline) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { publisher: Publisher::new(&publisher_options(pipeline)?)?, runtime })
    }

    /// Publishes under an org's key, and returns partition and offset.
    ///
    /// # Errors
    /// The broker did not acknowledge.
    pub fn publish(&self, key: &str, value: &[u8]) -> Result<(i32, i64)> {
        self.publish_to(partition_of(key.as_bytes(), i32::try_from(PARTITIONS)?), key, value)
    }

    /// As [`RawLog::publish`], to a partition of choice.
    ///
    /// # Errors
    /// The broker did not acknowledge.
    pub fn publish_to(&self, partition: i32, key: &str, value: &[u8]) -> Result<(i32, i64)> {
        let published = self.publisher.publish(partition, key.as_bytes(), value);
        let position = self.runtime.block_on(published)?;
        Ok((position.partition, position.offset))
    }
}

/// [`RawLog::publish`] for one record.
///
/// # Errors
/// The broker did not acknowledge.
pub fn publish(pipeline: &Pipeline, key: &str, value: &[u8]) -> Result<(i32, i64)> {
    RawLog::of(pipeline)?.publish(key, value)
}

/// [`RawLog::publish_to`] for one record.
///
/// # Errors
/// The broker did not acknowledge.
pub fn publish_to(pipeline: &Pipeline, partition: i32, key: &str, value: &[u8]) -> Result<(i32, i64)> {
    RawLog::of(pipeline)?.publish_to(partition, key, value)
}

fn publisher_options(pipeline: &Pipeline) -> Result<PublisherOptions> {
    Ok(PublisherOptions::new(
        setting(pipeline, "KAFKA_BROKERS")?,
        setting(pipeline, "FLUXORI__KAFKA__TOPIC")?,
    ))
}

/// Folds the log again and compares it with the ledger.
///
/// # Errors
/// They differ, or cannot be compared.
pub fn verify(pipeline: &Pipeline) -> Result<()> {
    let verified = pipeline.credits(&["ledger", "verify", "--output", "json"])?;
    ensure!(verified.get("agree") == Some(&Value::Bool(true)), "the ledger differs from its log: {verified}");
    Ok(())
}

/// Sums of events and credits of the usage log and both rollups: `(events, raw, hourly, daily)`, credits as text.
///
/// # Errors
/// ClickHouse does not answer.
pub fn rollups(pipeline: &Pipeline) -> Result<(String, String, String, String)> {
    let one = |query: &str, field: &str| -> Result<String> {
        let rows = pipeline.clickhouse(query)?;
        let value = rows.first().and_then(|row| row.get(field)).context("no row")?;
        Ok(value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
    };
    let raw = "SELECT toString(sum(row_sign)) AS events, toString(sum(credits * row_sign)) AS credits \
               FROM credit_usage_log";
    let hourly = "SELECT toString(sum(credits)) AS credits FROM v_usage_hourly";
    let daily = "SELECT toString(sum(credits)) AS credits FROM v_usage_daily";
    Ok((one(raw, "events")?, one(raw, "credits")?, one(hourly, "credits")?, one(daily, "credits")?))
}
