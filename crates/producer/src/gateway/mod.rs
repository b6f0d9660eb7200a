//! Usage events over HTTP, in the formats that callers speak, answered when they are accepted: in the spool on disk, or at the
//! broker.
//!
//! A request walks one way: [`receive`] (key, limits, body) -> the protocol's [`accept::Items`] -> [`accept::accept`] (the
//! key's scope, emitter, acknowledgements) -> the protocol's answer. [`protocols`] has one file for each protocol.

mod accept;
mod answer;
mod encoding;
mod items;
mod prefer;
mod protocols;
mod receive;
mod refusal;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use chrono::{DateTime, Utc};
use fluxori_core::digest::Digest;
use fluxori_core::fold::Halt;
use fluxori_core::id::LogId;
use fluxori_core::time::Timestamp;
use fluxori_emitter::{Durability, EmitError, Emitter, EmitterOptions, SpoolOptions, WhenFull};
use fluxori_ingest::cloudevents::{Mapping, Rule};
use fluxori_runtime::auth::ApiKeys;
use fluxori_runtime::config::{CloudEventsConfig, Config, ProducerConfig, SpoolDurability, WhenSpoolFull};
use fluxori_runtime::limit::RateLimits;
use fluxori_runtime::retry::Failure;
use fluxori_runtime::{ConfigError, Context, clock, retry};
use tokio::sync::Semaphore;

use crate::error::ProducerError;

/// An event that is not accepted in this time is answered with 503: before clients give up by themselves, which many do after 10 s.
const PATIENCE: Duration = Duration::from_secs(6);
/// At the end, how long the broker is waited for with what it does not have yet.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// How often the spool is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Callers wait for the answer, so records wait less for others to travel with.
const LINGER: Duration = Duration::from_millis(2);
/// One try to read the genesis record.
const GENESIS_TIMEOUT: Duration = Duration::from_secs(10);
/// After how many seconds to send again what the broker did not take.
const RETRY_SECONDS: u64 = 5;

/// What requests are handled with.
struct Gateway {
    emitter: Emitter,
    /// Known once the genesis record has been read.
    log: OnceLock<LogId>,
    keys: ApiKeys,
    limits: RateLimits,
    mapping: Arc<Mapping>,
    /// Large bodies are read no more at once than there are processors.
    reading: Arc<Semaphore>,
    max_body_bytes: usize,
    max_items: usize,
    /// What is neither on the disk nor at the broker in this time is answered with 503.
    patience: Duration,
    clock: fn() -> DateTime<Utc>,
}

impl Gateway {
    fn new(emitter: Emitter, config: &Config, clock: fn() -> DateTime<Utc>) -> Result<Self, ConfigError> {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let (keys, producer) = (&config.api_keys, &config.producer);
        let max_body_bytes = size(producer.max_body_bytes);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            emitter,
            log: OnceLock::new(),
            keys: ApiKeys::new(keys),
            limits: RateLimits::new(
                producer.rate_limit_per_second,
                producer.rate_limit_burst,
                keys,
                max_body_bytes,
            ),
            mapping: Arc::new(mapping(&config.cloudevents)?),
            reading: Arc::new(Semaphore::new(processors)),
            max_body_bytes,
            max_items: size(producer.max_items),
            patience: PATIENCE,
            clock,
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)().into()
    }
}

/// The configured rules of CloudEvents.
fn mapping(config: &CloudEventsConfig) -> Result<Mapping, ConfigError> {
    let rules: Vec<_> = config
        .rules
        .iter()
        .map(|rule| Rule {
            when: rule.when.clone(),
            fields: rule.fields.clone(),
            defaults: rule.defaults.clone(),
        })
        .collect();
    Mapping::new(&rules).map_err(|problems| {
        ConfigError::Refused(problems.iter().map(|problem| format!("cloudevents.{problem}")).collect())
    })
}

/// The service: listens at once, takes events when the log is known to be the pinned one, ends with the lifecycle.
pub(crate) async fn serve(context: Context) -> Result<(), ProducerError> {
    let kafka = context.config.require_kafka()?;
    let pinned = Digest(context.config.require_genesis()?);
    let emitter = Emitter::new(EmitterOptions {
        topic: kafka.topic.clone(),
        genesis: Some(pinned),
        linger: LINGER,
        spool: spool(&context.config.producer),
        ..EmitterOptions::new(&kafka.brokers)
    })?;
    if context.config.api_keys.is_empty() {
        tracing::warn!("no api_keys are configured: nobody may post events");
    }
    let ready = context.health.check("log");
    let gateway = Arc::new(Gateway::new(emitter.clone(), &context.config, clock::now)?);
    let router = routes(Arc::clone(&gateway));
    context.serve("producer.listen", context.config.producer.listen, router).await?;

    ready.not_ready(format!("the genesis record of topic {} was not read yet", kafka.topic));
    let what = format!("read the genesis record of topic {} at {}", kafka.topic, kafka.brokers);
    let soft = context.lifecycle.soft();
    let log_id = retry(&what, &soft, || {
        let emitter = emitter.clone();
        async move {
            let asked =
                tokio::task::spawn_blocking(move || emitter.log_identity(Some(pinned), GENESIS_TIMEOUT));
            let identity = asked.await.unwrap_or(Err(EmitError::Closed)).map_err(judge)?;
            Ok(identity.genesis.log_id)
        }
    })
    .await;
    let log_id = match log_id {
        Err(fluxori_runtime::retry::RetryError::Stopped) => return Ok(()),
        other => other?,
    };
    tracing::info!(%log_id, topic = kafka.topic, producer_id = %emitter.producer_id(), "takes events");
    _ = gateway.log.set(log_id);
    ready.ready();
    while tokio::time::timeout(MEASURE_EVERY, soft.cancelled()).await.is_err() {
        measure(&emitter);
    }
    // What is in memory would be lost, and what is on the disk would wait for the next process.
    let flushed = tokio::task::spawn_blocking(move || emitter.flush(LAST_FLUSH)).await;
    if let Ok(Err(error)) = flushed {
        tracing::warn!("{error}");
    }
    Ok(())
}

/// Where events wait for the broker.
fn spool(config: &ProducerConfig) -> SpoolOptions {
    let memory = SpoolOptions::in_memory();
    let when_full = match config.when_spool_full {
        WhenSpoolFull::Reject => WhenFull::Reject,
        WhenSpoolFull::DropOldest => WhenFull::DropOldest,
    };
    let on_disk = |folder: &std::path::Path, durability| SpoolOptions {
        durability,
        max_bytes: config.spool_max_bytes,
        when_full,
        ..SpoolOptions::in_folder(folder)
    };
    match (&config.spool_dir, config.durability) {
        (None, _) | (_, SpoolDurability::None) => SpoolOptions { when_full, ..memory },
        (Some(folder), SpoolDurability::Process) => on_disk(folder, Durability::Process),
        (Some(folder), SpoolDurability::Power) => on_disk(folder, Durability::Power),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn measure(emitter: &Emitter) {
    let counts = emitter.counts();
    metrics::gauge!("producer_spool_events").set(counts.waiting as f64);
    metrics::gauge!("producer_spool_bytes").set(counts.spool_bytes as f64);
    for (lost, count) in [("dropped", counts.dropped), ("damaged", counts.damaged)] {
        metrics::counter!("producer_events_lost_total", "reason" => lost).absolute(count);
    }
}

/// Another log does not become the right one; everything else may: `credits log init` may be about to run.
fn judge(error: EmitError) -> Failure<EmitError> {
    match error {
        EmitError::Log(Halt::NoGenesis { .. }) => Failure::Transient(error),
        EmitError::Log(_) | EmitError::Partitions { .. } | EmitError::Setup(_) => Failure::Permanent(error),
        _ => Failure::Transient(error),
    }
}

fn routes(gateway: Arc<Gateway>) -> Router {
    protocols::begin_counters();
    Router::new()
        .route("/v1/events", post(protocols::events))
        .route("/api/v1/events", post(protocols::openmeter))
        .route("/v1/litellm", post(protocols::litellm))
        .route("/v1/traces", post(protocols::traces))
        .with_state(gateway)
}

#[cfg(test)]
mod tests;
