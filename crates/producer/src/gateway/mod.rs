//! Usage events over HTTP, in the formats that callers speak, answered when the broker has them.
//!
//! A request walks one way: [`receive`] (key, limits, body) -> the protocol's [`accept::Items`] -> [`accept::accept`] (the
//! key's scope, emitter, acknowledgements) -> the protocol's answer. [`protocols`] has one file for each protocol.

mod accept;
mod answer;
mod encoding;
mod items;
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
use fluxori_emitter::{EmitError, Emitter, EmitterOptions};
use fluxori_ingest::cloudevents::{Mapping, Rule};
use fluxori_runtime::auth::ApiKeys;
use fluxori_runtime::config::{CloudEventsConfig, Config};
use fluxori_runtime::limit::RateLimits;
use fluxori_runtime::retry::Failure;
use fluxori_runtime::{ConfigError, Context, clock, retry};
use tokio::sync::Semaphore;

use crate::error::ProducerError;

/// A record that is not acknowledged in this time is answered with 503.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Callers wait for the answer, so records wait less for others to travel with.
const LINGER: Duration = Duration::from_millis(2);
/// One try to read the genesis record.
const GENESIS_TIMEOUT: Duration = Duration::from_secs(10);
/// After how many seconds to send again what the broker did not take.
const RETRY_SECONDS: u64 = 5;

/// What requests are handled with; clones share it.
#[derive(Clone)]
struct Gateway {
    emitter: Emitter,
    /// Known once the genesis record has been read.
    log: Arc<OnceLock<LogId>>,
    keys: ApiKeys,
    limits: RateLimits,
    mapping: Arc<Mapping>,
    /// Large bodies are read no more at once than there are processors.
    reading: Arc<Semaphore>,
    max_body_bytes: usize,
    max_items: usize,
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
            log: Arc::default(),
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
        linger: LINGER,
        delivery_timeout: DELIVERY_TIMEOUT,
        ..EmitterOptions::new(&kafka.brokers)
    })?;
    if context.config.api_keys.is_empty() {
        tracing::warn!("no api_keys are configured: nobody may post events");
    }
    let ready = context.health.check("log");
    let gateway = Gateway::new(emitter.clone(), &context.config, clock::now)?;
    let log = Arc::clone(&gateway.log);
    context.serve("producer.listen", context.config.producer.listen, routes(gateway)).await?;

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
    _ = log.set(log_id);
    ready.ready();
    // Requests under way wait for their acknowledgements themselves; nothing else is in the queue.
    soft.cancelled().await;
    Ok(())
}

/// Another log does not become the right one; everything else may: `credits log init` may be about to run.
fn judge(error: EmitError) -> Failure<EmitError> {
    match error {
        EmitError::Log(Halt::NoGenesis { .. }) => Failure::Transient(error),
        EmitError::Log(_) | EmitError::Partitions { .. } | EmitError::Setup(_) => Failure::Permanent(error),
        _ => Failure::Transient(error),
    }
}

fn routes(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/events", post(protocols::events))
        .route("/api/v1/events", post(protocols::openmeter))
        .route("/v1/litellm", post(protocols::litellm))
        .route("/v1/traces", post(protocols::traces))
        .with_state(gateway)
}

#[cfg(test)]
mod tests;
