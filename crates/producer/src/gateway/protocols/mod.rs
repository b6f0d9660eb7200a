//! What callers speak. A request walks one way, whatever they speak: body -> items -> events -> emitter -> answer; a protocol
//! says how its items are read and how its answer looks.

mod cloudevents;
mod litellm;
mod native;
mod openmeter;
mod otlp;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fluxori_ingest::RequestContext;
use fluxori_ingest::cloudevents::Mapping;
use fluxori_runtime::http::Problem;

use super::accept::{Items, Outcomes, Patience, accept};
use super::encoding::{ACCEPTED, Encoding};
use super::items::{media_type, too_many};
use super::receive::{KeyStandsFor, Received, receive};
use super::{Gateway, RETRY_SECONDS, prefer};

/// Smaller bodies than this are read where they come; others, and packed ones, where they hold nobody up.
const SMALL_BODY: usize = 32 << 10;

/// One way to say usage over HTTP.
trait Protocol: Send + Sync {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// Reads a body.
    ///
    /// # Errors
    /// The body as a whole cannot be read.
    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem>;

    /// The answer when every item has come to something.
    fn answer(&self, outcomes: &Outcomes) -> Response;

    /// The answer to a request of which nothing was taken.
    fn refuse(&self, problem: Problem) -> Response {
        problem.into_response()
    }
}

/// What a body is read with.
struct Reading<'r> {
    headers: &'r HeaderMap,
    context: RequestContext<'r>,
    mapping: &'r Mapping,
    max_items: usize,
}

/// `POST /v1/events`: our own JSON, or CloudEvents where the content type or a header `ce-specversion` says so.
pub(super) async fn events(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let protocol: Box<dyn Protocol> = match cloudevents::mode_of(request.headers()) {
        Some(mode) => Box::new(cloudevents::CloudEvents(mode)),
        None => Box::new(native::Native),
    };
    handle(&gateway, request, protocol).await
}

/// `POST /api/v1/events`: as OpenMeter's API takes events.
pub(super) async fn openmeter(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    handle(&gateway, request, Box::new(openmeter::OpenMeter)).await
}

/// `POST /v1/litellm`: as LiteLLM's `generic_api` logger posts its log.
pub(super) async fn litellm(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    handle(&gateway, request, Box::new(litellm::LiteLlm)).await
}

/// `POST /v1/traces`: OTLP/HTTP.
pub(super) async fn traces(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let protocol = otlp::Otlp::of(&media_type(request.headers()));
    handle(&gateway, request, Box::new(protocol)).await
}

/// The one way of every request.
async fn handle(gateway: &Gateway, request: Request, protocol: Box<dyn Protocol>) -> Response {
    let (left, received) = receive(gateway, request).await;
    let name = protocol.name();
    let outcome = match received {
        Ok(received) => take(gateway, received, protocol).await,
        Err(problem) => Err((protocol, problem)),
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err((protocol, problem)) => {
            let labels = [("protocol", name.to_owned()), ("problem", problem.slug().to_owned())];
            metrics::counter!("producer_requests_refused_total", &labels).increment(1);
            let is_encoding = problem.slug() == "unknown-encoding";
            let mut response = protocol.refuse(problem);
            if is_encoding {
                response.headers_mut().insert(header::ACCEPT_ENCODING, ACCEPTED);
            }
            response
        }
    };
    if let Some(left) = left {
        gateway.limits.describe(left, response.headers_mut());
    }
    response
}

type Refused = (Box<dyn Protocol>, Problem);

async fn take(
    gateway: &Gateway,
    received: Received,
    protocol: Box<dyn Protocol>,
) -> Result<Response, Refused> {
    // What is on the disk may wait for the log to be known; who waits for the broker could wait in vain.
    if gateway.log.get().is_none() && gateway.emitter.options().spool.folder.is_none() {
        return Err((protocol, Problem::unavailable("Kafka").retry_after(RETRY_SECONDS)));
    }
    let wait = prefer::wait(&received.headers);
    let (protocol, caller, items) = read(gateway, received, protocol).await?;
    let ignored = items.ignored;
    let patience = Patience { for_position: wait, at_most: gateway.patience };
    let outcomes = accept(gateway, &caller, items.items, patience).await;
    count(protocol.name(), &outcomes, ignored);
    let mut response = protocol.answer(&outcomes);
    if let Some(wait) = wait {
        response.headers_mut().insert(prefer::APPLIED, prefer::applied(wait));
    }
    Ok(response)
}

/// Unpacks and reads a body; a large one on a thread of its own, no more of them at once than there are processors.
async fn read(
    gateway: &Gateway,
    received: Received,
    protocol: Box<dyn Protocol>,
) -> Result<(Box<dyn Protocol>, fluxori_runtime::auth::Caller, Items), Refused> {
    let Received { caller, headers, encoding, body } = received;
    let (mapping, now) = (Arc::clone(&gateway.mapping), gateway.now());
    let (max_body_bytes, max_items) = (gateway.max_body_bytes, gateway.max_items);
    let is_small = encoding == Encoding::Identity && body.len() < SMALL_BODY;
    let name = protocol.name();
    let work = move || {
        let stands_for = KeyStandsFor::of(&caller);
        let context = stands_for.context(now);
        let reading = Reading { headers: &headers, context, mapping: &mapping, max_items };
        let items = match encoding {
            Encoding::Identity => protocol.read(&body, &reading),
            packed => packed.decode(&body, max_body_bytes).and_then(|body| protocol.read(&body, &reading)),
        };
        let items = items.and_then(|items| match items.items.len() {
            found if found > max_items => Err(too_many(found, max_items)),
            _ => Ok(items),
        });
        match items {
            Ok(items) => Ok((protocol, caller, items)),
            Err(problem) => Err((protocol, problem)),
        }
    };
    if is_small {
        return work();
    }
    // The turn ends with the work, and not when the client hangs up.
    let turn = Arc::clone(&gateway.reading).acquire_owned().await;
    let in_turn = move || {
        let _turn = turn;
        work()
    };
    match tokio::task::spawn_blocking(in_turn).await {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(protocol = name, %error, "a body could not be read");
            Err((Box::new(native::Native), Problem::internal(error)))
        }
    }
}

/// Begins every series of [`count`] at 0: what rises from nothing is no increase to who watches it.
pub(super) fn begin_counters() {
    let protocols: [&dyn Protocol; 5] = [
        &native::Native,
        &cloudevents::CloudEvents(cloudevents::Mode::Batch),
        &openmeter::OpenMeter,
        &litellm::LiteLlm,
        &otlp::Otlp::of(""),
    ];
    for protocol in protocols {
        for outcome in OUTCOMES {
            metrics::counter!("producer_events_total", "protocol" => protocol.name(), "outcome" => outcome)
                .increment(0);
        }
    }
}

/// What may become of an item.
const OUTCOMES: [&str; 5] = ["acknowledged", "spooled", "rejected", "unacknowledged", "ignored"];

/// Counts the items in the service's metrics.
fn count(protocol: &'static str, outcomes: &Outcomes, ignored: usize) {
    let counts = outcomes.counts();
    let counts = [counts.acknowledged, counts.spooled, counts.rejected, counts.unacknowledged, ignored];
    for (outcome, count) in OUTCOMES.into_iter().zip(counts) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            metrics::counter!("producer_events_total", "protocol" => protocol, "outcome" => outcome)
                .increment(count);
        }
    }
}

/// The 400 problem of a body that is not what its protocol sends.
fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-body", "The body is not as its content type says")
        .detail(detail)
}
