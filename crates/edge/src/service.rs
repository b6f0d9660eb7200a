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
use fluxori_runtime::limit::RateLimits;
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{Context, retry};
use fluxori_stream::{LogReader, Publisher, PublisherOptions, StreamError};
use fluxori_wire::{Issuer, WireError};
use tokio_util::sync::CancellationToken;

use crate::at_least::Progress;
use crate::explain::Explaining;
use crate::lag::Watermarks;
use crate::rates::RatesInForce;
use crate::refusal::{NO_LEDGER, Refusal};
use crate::state::Edge;
use crate::turns::Turns;
use crate::{allocations, balance, check, commands, estimate, explain, openapi, transactions};

/// Largest body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 << 10;
/// The rest of a refused body is read up to the most that any route takes.
const LARGEST_BODY: usize =
    if estimate::MAX_BODY_BYTES > MAX_BODY_BYTES { estimate::MAX_BODY_BYTES } else { MAX_BODY_BYTES };
/// A command that is not acknowledged in this time is answered with 503.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A query waits so long for a connection to Postgres.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(2);
/// What a request may take beside waiting for the ledger.
const WORK: Duration = Duration::from_secs(15);
/// Postgres counts as away when it says nothing for so long.
const SILENCE: Duration = Duration::from_secs(3);
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
        reader: reader.clone(),
        log: OnceLock::new(),
        rates: RatesInForce::new(ledger.clone()),
        explaining: Explaining::new(),
        estimates: Turns::new("estimates", estimate::AT_ONCE),
        ledger,
        issuer,
    });
    if config.api_keys.is_empty() {
        tracing::warn!("no api_keys are configured: nobody may ask");
    }
    let log = context.health.check("log");
    let database = context.health.check("postgres");
    let stop = context.lifecycle.soft();
    let limits = RateLimits::new(
        config.edge.rate_limit_per_second,
        config.edge.rate_limit_burst,
        &config.api_keys,
        LARGEST_BODY,
    );
    let router = router(Arc::clone(&edge), &ApiKeys::new(&config.api_keys), &limits, patience + WORK);
    context.serve("edge.listen", config.edge.listen, router).await?;
    tokio::spawn(watch_database(edge.ledger.clone(), database, stop.clone()));

    log.not_ready(format!("the genesis record of topic {} was not read yet", kafka.topic));
    let what = format!("read the genesis record of topic {} at {}", kafka.topic, kafka.brokers);
    let found = retry(&what, &stop, async || {
        let found = genesis(&reader, pinned).await;
        if let Err(Failure::Transient(error)) = &found {
            log.not_ready(error.to_string());
        }
        found
    })
    .await;
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

fn router(edge: Arc<Edge>, keys: &ApiKeys, limits: &RateLimits, deadline: Duration) -> Router {
    let routes = Router::new()
        .route("/v1/balance", get(balance::get_balance))
        .route("/v1/check", post(check::post_check))
        .route("/v1/allocations", post(allocations::post_allocation))
        .route("/v1/commands/{id}", get(commands::get_command))
        .route("/v1/transactions", get(transactions::get_transactions))
        .route("/v1/transactions/{id}/explain", get(explain::get_explanation))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route(
            "/v1/estimate",
            post(estimate::post_estimate).layer(DefaultBodyLimit::max(estimate::MAX_BODY_BYTES)),
        )
        .layer(middleware::from_fn_with_state(deadline, in_time))
        .with_state(edge);
    let routes = keys.protect(limits.protect(routes));
    Router::new().route("/openapi.json", get(openapi::get_openapi)).merge(routes)
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
    let first = reader.first(0).await.map_err(EdgeError::from)?;
    let Some(record) = first.as_ref().and_then(|first| first.iter().next()) else {
        return Err(Failure::Transient(Halt::NoGenesis { partition: 0 }.into()));
    };
    let append_time = Timestamp::from_millis(record.append_time_ms);
    let record = fluxori_wire::decode(record.key, record.value, append_time);
    let identity = LogIdentity::of_first_record(0, Some(pinned), &record);
    identity.map(|identity| identity.genesis).map_err(|halt| Failure::Permanent(halt.into()))
}

/// Shows in `/readyz` whether the ledger can be read.
async fn watch_database(ledger: Ledger, check: Check, stop: CancellationToken) {
    let mut was_ready = false;
    while !stop.is_cancelled() {
        let problem = match tokio::time::timeout(SILENCE, ledger.cursors()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) if error.is_missing_schema() => Some(NO_LEDGER.to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("Postgres says nothing for {} s", SILENCE.as_secs())),
        };
        let is_ready = problem.is_none();
        match problem {
            None => {
                if !was_ready {
                    tracing::info!("the ledger can be read");
                }
                check.ready();
            }
            Some(problem) => {
                if was_ready {
                    tracing::warn!(problem, "the ledger cannot be read; asking again");
                }
                check.not_ready(problem);
            }
        }
        was_ready = is_ready;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderValue;
    use fluxori_core::id::LogId;
    use fluxori_runtime::config::{ApiKeyConfig, Sha256Digest};
    use tower::ServiceExt as _;

    use super::*;

    /// The edge's routes with no server behind them, and the log that it found before, if it did.
    fn alone(log: Option<Genesis>) -> Router {
        let ledger =
            Ledger::connect_lazily("postgres://nobody@127.0.0.1:1/nothing", 1, Duration::from_millis(50));
        let ledger = ledger.unwrap();
        let edge = Edge {
            progress: Progress::watch(ledger.clone(), Duration::from_millis(100)),
            watermarks: Arc::new(Watermarks::new(LogReader::new("127.0.0.1:1", "none").unwrap())),
            publisher: Publisher::new(&PublisherOptions {
                message_timeout: Duration::from_millis(500),
                ..PublisherOptions::new("127.0.0.1:1", "none")
            })
            .unwrap(),
            reader: LogReader::new("127.0.0.1:1", "none").unwrap(),
            log: log.map_or_else(OnceLock::new, OnceLock::from),
            rates: RatesInForce::new(ledger.clone()),
            explaining: Explaining::new(),
            estimates: Turns::new("estimates", estimate::AT_ONCE),
            ledger,
            issuer: Issuer::new(LogId(uuid::Uuid::nil()), "edge", [7; 32]),
        };
        let key = |key: &str, org: &str| {
            ApiKeyConfig::new(&format!("key of {org}"), Sha256Digest::of(key.as_bytes()), &[org])
        };
        let keys = [key("all", "*"), key("acme's", "acme")];
        let limits = RateLimits::new(200, 3, &keys, LARGEST_BODY);
        router(Arc::new(edge), &ApiKeys::new(&keys), &limits, Duration::from_secs(5))
    }

    async fn ask(router: &Router, path: &str, key: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn every_route_but_the_description_wants_a_key_and_one_for_the_org() {
        let router = alone(None);
        assert_eq!(ask(&router, "/openapi.json", None).await.status(), 200);
        for path in [
            "/v1/balance",
            "/v1/transactions",
            "/v1/transactions/7/explain",
            "/v1/commands/01a20458-26b9-73d1-9316-2ea71ccd4448",
        ] {
            let router = alone(None);
            assert_eq!(ask(&router, path, None).await.status(), 401, "{path}");
            let other = ask(&router, &format!("{path}?org_id=globex"), Some("acme's")).await;
            assert_eq!(other.status(), 403, "{path}");
        }
    }

    async fn post(path: &str, key: Option<&str>, body: &str) -> Response {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        alone(None).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_asked_with_a_body_wants_a_key_and_one_for_the_org_too() {
        let check = r#"{"org_id":"ORG","module":"chat"}"#;
        let estimate =
            r#"{"org_id":"ORG","models":[{"provider":"openai","model":"gpt-5"}],"input_tokens":1}"#;
        for (path, body) in [("/v1/check", check), ("/v1/estimate", estimate)] {
            let (ours, other) = (body.replace("ORG", "acme"), body.replace("ORG", "globex"));
            assert_eq!(post(path, None, &ours).await.status(), 401, "{path}");
            assert_eq!(post(path, Some("acme's"), &other).await.status(), 403, "{path}");
            // No server is there to answer who may ask.
            assert_eq!(post(path, Some("acme's"), &ours).await.status(), 503, "{path}");
        }
    }

    #[tokio::test]
    async fn while_the_log_is_not_known_a_read_is_told_to_come_back() {
        let answer = ask(&alone(None), "/v1/balance?org_id=acme", Some("all")).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["ratelimit"], "\"key\";r=2");
    }

    #[tokio::test]
    async fn a_grant_without_a_key_is_refused_before_anything_is_asked_or_published() {
        let log_id = LogId(uuid::Uuid::nil());
        let router = alone(Some(Genesis { log_id, root_key: [0; 32], rules_version: 1, partitions: 4 }));
        let request = Request::post("/v1/allocations")
            .header("authorization", "Bearer all")
            .header("content-type", "application/json")
            .body(Body::from(r#"{"org_id":"acme","kind":"prepaid","amount":"1","reason":"test"}"#));
        let answer = router.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.contains("Idempotency-Key"), "{text}");
    }

    #[tokio::test]
    async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
        let router = alone(None);
        for _ in 0..3 {
            assert_eq!(ask(&router, "/v1/balance", Some("all")).await.status(), 400);
        }
        let answer = ask(&router, "/v1/balance", Some("all")).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (429, &HeaderValue::from(1))
        );
        assert_eq!(ask(&router, "/v1/balance", Some("acme's")).await.status(), 400);
    }
}
