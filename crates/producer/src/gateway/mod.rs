//! `POST /v1/events`: usage events over HTTP, answered when the broker has them.
//!
//! A request walks one way: body -> [`body::split`] items -> [`item::read`] events or problems -> emitter ->
//! acknowledgements -> [`answer::Answer`].

mod answer;
mod body;
mod item;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use fluxori_core::digest::Digest;
use fluxori_core::fold::Halt;
use fluxori_core::id::LogId;
use fluxori_core::time::Timestamp;
use fluxori_emitter::{Delivered, EmitError, Emitter, EmitterOptions};
use fluxori_runtime::auth::{ApiKeys, Caller};
use fluxori_runtime::http::{Problem, body_problem};
use fluxori_runtime::retry::Failure;
use fluxori_runtime::{Context, clock, retry};

use crate::error::ProducerError;
use answer::Answer;
use item::ItemProblem;

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 8 << 20;
/// A record that is not acknowledged in this time is answered with 503.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Callers wait for the answer, so records wait less for others to travel with.
const LINGER: Duration = Duration::from_millis(2);
/// One try to read the genesis record.
const GENESIS_TIMEOUT: Duration = Duration::from_secs(10);
/// A long body is read without keeping other requests from the thread for more than so many items.
const ITEMS_AT_ONCE: usize = 100;

#[derive(Clone)]
struct Gateway {
    emitter: Emitter,
    /// Known once the genesis record has been read.
    log: Arc<OnceLock<LogId>>,
    now: fn() -> Timestamp,
    delivery_timeout: Duration,
}

/// The service: listens at once, takes events when the log is known to be the pinned one, ends with the lifecycle.
pub(crate) async fn serve(context: Context) -> Result<(), ProducerError> {
    let kafka = context.config.require_kafka()?;
    let pinned = Digest(context.config.require_genesis()?);
    let emitter = Emitter::new(EmitterOptions {
        topic: kafka.topic.clone(),
        linger: LINGER,
        ..EmitterOptions::new(&kafka.brokers)
    })?;
    if context.config.api_keys.is_empty() {
        tracing::warn!("no api_keys are configured: nobody may post events");
    }
    let ready = context.health.check("log");
    let gateway = Gateway {
        emitter: emitter.clone(),
        log: Arc::default(),
        now: || clock::now().into(),
        delivery_timeout: DELIVERY_TIMEOUT,
    };
    let log = Arc::clone(&gateway.log);
    let router = ApiKeys::new(&context.config.api_keys).protect(routes(gateway));
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
        .route("/v1/events", post(post_events))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(gateway)
}

async fn post_events(
    State(gateway): State<Gateway>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match take(&gateway, &caller, &headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(problem) => retry_later(problem.into_response()),
    }
}

async fn take(
    gateway: &Gateway,
    caller: &Caller,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Problem> {
    let body = body.map_err(|rejection| body_problem(&rejection))?;
    let items = body::split(headers, &body)?;
    let Some(log_id) = gateway.log.get() else { return Err(Problem::unavailable("Kafka")) };
    let now = (gateway.now)();
    // Everything is handed over before the first acknowledgement is waited for, so that a request is one round trip.
    let mut handed_over = Vec::with_capacity(items.len());
    for (index, bytes) in items.into_iter().enumerate() {
        if index % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        handed_over.push(item::read(bytes, caller, now).map(|event| {
            let event_id = event.event_id;
            (event_id, gateway.emitter.emit_acknowledged(event))
        }));
    }
    let mut answer = Answer::new(*log_id);
    let deadline = tokio::time::Instant::now() + gateway.delivery_timeout;
    for item in handed_over {
        match item {
            Ok((event_id, acknowledgement)) => match acknowledged(acknowledgement, deadline).await {
                Ok(delivered) => answer.accepted(event_id, delivered),
                Err(error) => match ItemProblem::of_event(&error) {
                    Some(problem) => answer.rejected(Some(event_id.to_string()), problem),
                    None => answer.unacknowledged(event_id, &error),
                },
            },
            Err(rejected) => answer.rejected(rejected.event_id, rejected.problem),
        }
    }
    answer.count();
    Ok(answer)
}

async fn acknowledged(
    acknowledgement: impl Future<Output = Result<Delivered, EmitError>>,
    deadline: tokio::time::Instant,
) -> Result<Delivered, EmitError> {
    tokio::time::timeout_at(deadline, acknowledgement).await.unwrap_or_else(|_| {
        Err(EmitError::NotAcknowledged { brokers: String::new(), reason: "it took too long".to_owned() })
    })
}

/// Says when to try again, where trying again makes sense.
fn retry_later(mut response: Response) -> Response {
    if response.status() == axum::http::StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

#[cfg(test)]
mod tests;
