//! The life of the edge: it listens at once, finds its log, and watches the ledger's database.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use fluxori_core::command::Genesis;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Halt, LogIdentity};
use fluxori_core::time::Timestamp;
use fluxori_ledger::Ledger;
use fluxori_runtime::auth::ApiKeys;
use fluxori_runtime::config::ConfigError;
use fluxori_runtime::health::Check;
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{Context, retry};
use fluxori_stream::{LogReader, Publisher, PublisherOptions, StreamError};
use fluxori_wire::{Issuer, WireError};
use tokio_util::sync::CancellationToken;

use crate::at_least::Progress;
use crate::lag::Watermarks;
use crate::limit::{Limits, limit};
use crate::refusal::Refusal;
use crate::state::Edge;
use crate::{allocations, balance, check, commands, openapi, transactions};

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 256 << 10;
/// A command that is not acknowledged in this time is answered with 503.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A query waits so long for a connection to Postgres.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(2);
/// What a request may take beside waiting for the ledger.
const WORK: Duration = Duration::from_secs(15);
/// How often `/readyz` looks at Postgres.
const LOOK: Duration = Duration::from_millis(500);

/// Why the edge cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EdgeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Runtime(#[from] fluxori_runtime::Error),
    #[error("edge.issuer_key_file: {0}")]
    Key(#[from] WireError),
    #[error(transparent)]
    Ledger(#[from] fluxori_ledger::LedgerError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the genesis of the log is not what it must be: {0}")]
    Log(#[from] Halt),
    #[error(
        "the key in edge.issuer_key_file signs for log {key}, and topic {topic} is log {log} by its genesis; name the \
         key file that `credits log init` made for this log"
    )]
    KeyOfAnotherLog { key: String, topic: String, log: String },
}

/// The service, from configuration to shutdown.
pub(crate) async fn serve(context: Context) -> Result<(), EdgeError> {
    let config = &context.config;
    let (kafka, postgres) = (config.require_kafka()?, config.require_postgres()?);
    let pinned = Digest(config.require_genesis()?);
    let issuer = Issuer::read(config.require_issuer_key_file()?)?;
    let ledger =
        Ledger::connect_lazily(postgres.url.expose(), postgres.max_connections, CONNECTION_PATIENCE)?;
    let reader = LogReader::new(&kafka.brokers, &kafka.topic)?;
    let options = PublisherOptions {
        message_timeout: DELIVERY_TIMEOUT,
        ..PublisherOptions::new(kafka.brokers.as_str(), kafka.topic.as_str())
    };
    let patience = config.edge.at_least_timeout();
    let edge = Arc::new(Edge {
        progress: Progress::watch(ledger.clone(), patience),
        watermarks: Arc::new(Watermarks::new(reader.clone())),
        publisher: Publisher::new(&options)?,
        log: OnceLock::new(),
        ledger,
        issuer,
    });
    if config.api_keys.is_empty() {
        tracing::warn!("no api_keys are configured: nobody may ask");
    }
    let log = context.health.check("log");
    let database = context.health.check("postgres");
    let stop = context.lifecycle.soft();
    let limits = Limits::new(&config.edge, &config.api_keys);
    let router = router(Arc::clone(&edge), &ApiKeys::new(&config.api_keys), limits, patience + WORK);
    context.serve("edge.listen", config.edge.listen, router).await?;
    tokio::spawn(watch_database(edge.ledger.clone(), database, stop.clone()));

    log.not_ready(format!("the genesis record of topic {} was not read yet", kafka.topic));
    let what = format!("read the genesis record of topic {} at {}", kafka.topic, kafka.brokers);
    let found = retry(&what, &stop, async || genesis(&reader, pinned).await).await;
    let genesis = match found {
        Ok(genesis) => genesis,
        Err(RetryError::Stopped) => return Ok(()),
        Err(RetryError::Permanent(error)) => return Err(error),
    };
    if edge.issuer.log_id() != genesis.log_id {
        return Err(EdgeError::KeyOfAnotherLog {
            key: edge.issuer.log_id().to_string(),
            topic: kafka.topic.clone(),
            log: genesis.log_id.to_string(),
        });
    }
    tracing::info!(log_id = %genesis.log_id, topic = kafka.topic, partitions = genesis.partitions, "found the log");
    _ = edge.log.set(genesis);
    log.ready();
    stop.cancelled().await;
    Ok(())
}

fn router(edge: Arc<Edge>, keys: &ApiKeys, limits: Limits, deadline: Duration) -> Router {
    let routes = Router::new()
        .route("/v1/balance", get(balance::get_balance))
        .route("/v1/check", post(check::post_check))
        .route("/v1/allocations", post(allocations::post_allocation))
        .route("/v1/commands/{id}", get(commands::get_command))
        .route("/v1/transactions", get(transactions::get_transactions))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(deadline, in_time))
        .layer(middleware::from_fn_with_state(limits, limit))
        .with_state(edge);
    Router::new().route("/openapi.json", get(openapi::get_openapi)).merge(keys.protect(routes))
}

/// No request hangs, whatever a server behind us does.
async fn in_time(State(deadline): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!(
                "there was no answer within {} s; what was asked may still happen",
                deadline.as_secs()
            );
            Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                "too-slow",
                "A service behind this one is too slow",
                detail,
            )
            .into_response()
        }
    }
}

/// What the log's first record says, if it is the pinned one. Another log does not become the right one; all else may:
/// `credits log init` may be about to run.
async fn genesis(reader: &LogReader, pinned: Digest) -> Result<Genesis, Failure<EdgeError>> {
    let first = reader.fetch_one(0, 0).await.map_err(EdgeError::from)?;
    let Some(record) = first.iter().next() else {
        return Err(Failure::Transient(Halt::NoGenesis { partition: 0 }.into()));
    };
    let append_time = Timestamp::from_millis(record.append_time_ms);
    let record = fluxori_wire::decode(record.key, record.value, append_time);
    let identity = LogIdentity::of_first_record(0, Some(pinned), &record);
    identity.map(|identity| identity.genesis).map_err(|halt| Failure::Permanent(halt.into()))
}

/// Shows in `/readyz` whether the ledger can be read.
async fn watch_database(ledger: Ledger, check: Check, stop: CancellationToken) {
    let mut is_ready = false;
    while !stop.is_cancelled() {
        match ledger.cursors().await {
            Ok(_) => {
                if !is_ready {
                    tracing::info!("the ledger can be read");
                }
                is_ready = true;
                check.ready();
            }
            Err(error) => {
                let reason = if error.is_missing_schema() {
                    "the database holds no ledger yet; ledger-consumer makes it when it starts".to_owned()
                } else {
                    error.to_string()
                };
                if is_ready {
                    tracing::warn!(%error, "the ledger cannot be read; asking again");
                }
                is_ready = false;
                check.not_ready(reason);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
