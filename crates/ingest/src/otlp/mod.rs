//! Pure: OpenTelemetry traces, as OTLP/HTTP sends them: events of the spans that are calls of a model.
//!
//! Read are the GenAI semantic conventions as they are, as they were, and the names of other instrumentations that are in the
//! field (the `names` module has the list). All other spans are ignored and counted: agents, tools, workflows and chains
//! only wrap calls, so their sums would count twice. Where two instrumentations saw one call, and both are in one
//! request, one is counted: the inner of two nested spans, the more detailed of two with one response id.
//!
//! # Identity
//!
//! `gen_ai.response.id` where it has 20 characters or more; a shorter one together with the trace id, since some servers
//! number their responses and begin anew; else trace id and span id. All are the same when an exporter sends again. The
//! response id comes first because whoever saw the same call knows the same one, in another trace, too.
//!
//! # Who and what
//!
//! | field | from, the first that is there |
//! |---|---|
//! | org | `fluxori.org_id` of the span or its resource, the API key |
//! | module | `fluxori.module` of the span or its resource, the API key, `service.name` (but `unknown_service…`) |
//! | feature, team | `fluxori.feature`, `fluxori.team_id` of the span or its resource |
//! | user | `fluxori.user_id`, `enduser.id`, `user.id` of the span |
//! | run | `fluxori.run_id`, `gen_ai.conversation.id`, `session.id` of the span |
//! | reservation | `fluxori.reservation_id`, `fluxori.reservation_final` (boolean) of the span |
//! | costs nothing | `fluxori.own_key`, `fluxori.served_from_cache` (booleans) of the span |
//! | tags | `fluxori.tag.NAME` and `traceloop.association.properties.NAME` of the span; `gen_ai.agent.id`, `gen_ai.agent.name`, `deployment.environment.name` as `agent_id`, `agent_name`, `environment` |
//!
//! A call that went well and says nothing of its usage (a stream whose client did not ask for it) is kept, its certainty
//! `unknown`.

mod attributes;
mod bounds;
mod calls;
mod event;
mod json;
mod names;
mod wire;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use fluxori_core::usage::UsageEvent;
use prost::Message as _;
use serde_json::Value;

use crate::{Reason, Rejection, RequestContext};
use attributes::{Attributes, OfResource};
use calls::Call;

/// How a request and its answer are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// What a request holds.
#[derive(Debug, Default)]
pub struct Traces {
    /// Spans that are calls of a model, in the order of the request.
    pub events: Vec<SpanEvent>,
    /// How many spans are something else, or show a call that is counted by another span.
    pub ignored: usize,
    /// Spans that are calls of a model and no events.
    pub rejected: Vec<RejectedSpan>,
}

/// A span's event.
#[derive(Debug)]
pub struct SpanEvent {
    /// The span's name, at most 128 characters.
    pub span: String,
    /// Its event.
    pub event: UsageEvent,
}

/// A span that is no event, and why.
#[derive(Debug)]
pub struct RejectedSpan {
    /// The span's name, at most 128 characters.
    pub span: String,
    /// Why.
    pub rejection: Rejection,
}

/// Reads an `ExportTraceServiceRequest`, already decompressed.
///
/// # Errors
/// The bytes are no such request ([`Reason::NotJson`], [`Reason::NotAnObject`] or [`Reason::Invalid`]): nothing of it can be
/// read. It holds more than 100,000 spans, or 1,000 attributes of one span or resource ([`Reason::TooLarge`]).
pub fn read(bytes: &[u8], encoding: Encoding, context: &RequestContext<'_>) -> Result<Traces, Rejection> {
    let (request, unread) = match encoding {
        Encoding::Protobuf => {
            bounds::check(bytes)?;
            let request = wire::Request::decode(bytes).map_err(|error| {
                let detail = format!("the body is no ExportTraceServiceRequest in protobuf: {error}");
                Rejection::new(Reason::Invalid, detail)
            })?;
            (request, Vec::new())
        }
        Encoding::Json => json::read(bytes)?,
    };
    Ok(traces(&request, unread, context))
}

fn traces(request: &wire::Request, unread: Vec<RejectedSpan>, context: &RequestContext<'_>) -> Traces {
    let of_resources: Vec<OfResource<'_>> = request
        .resource_spans
        .iter()
        .map(|spans| spans.resource.as_ref().map(|resource| OfResource::new(&resource.attributes)))
        .map(Option::unwrap_or_default)
        .collect();
    let spans: Vec<(&wire::Span, &OfResource<'_>)> = request
        .resource_spans
        .iter()
        .zip(&of_resources)
        .flat_map(|(resource, of_resource)| {
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| (span, of_resource))
        })
        .collect();
    let calls: Vec<Call<'_>> = spans
        .iter()
        .filter_map(|(span, of_resource)| {
            let attributes = Attributes::new(&span.attributes, of_resource);
            let operation = calls::operation(span, attributes)?;
            Some(Call { span, attributes, operation })
        })
        .collect();
    let all: Vec<&wire::Span> = spans.iter().map(|(span, _)| *span).collect();
    let seen_twice = calls::seen_twice(&all, &calls);
    let mut traces = Traces::default();
    let mut known = HashMap::new();
    for (call, _) in calls.iter().zip(seen_twice).filter(|(_, seen_twice)| !seen_twice) {
        let span: String = String::from_utf8_lossy(&call.span.name).chars().take(128).collect();
        match event::read(call, context) {
            Ok(event) => match known.entry(event.event_id) {
                Entry::Vacant(place) => {
                    place.insert(traces.events.len());
                    traces.events.push(SpanEvent { span, event });
                }
                Entry::Occupied(place) => {
                    if let Some(first) = traces.events.get_mut(*place.get())
                        && details(&event) > details(&first.event)
                    {
                        *first = SpanEvent { span, event };
                    }
                }
            },
            Err(rejection) => {
                let rejection = Rejection { event_id: event::given_id(call), ..rejection };
                traces.rejected.push(RejectedSpan { span, rejection });
            }
        }
    }
    traces.ignored = spans.len() - traces.events.len() - traces.rejected.len();
    traces.rejected.extend(unread);
    traces
}

/// How much an event says of what was used.
fn details(event: &UsageEvent) -> usize {
    let tokens = event.tokens();
    let parts = [
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        tokens.audio_input,
        tokens.image_input,
        tokens.reasoning,
        tokens.audio_output,
        tokens.image_output,
    ];
    parts.iter().filter(|count| **count > 0).count()
}

/// Most rejected spans that an answer names.
const MAX_NAMED: usize = 8;

/// The `ExportTraceServiceResponse`, in the encoding of the request. It goes with status 200 though spans are rejected
/// (`partial_success`): an exporter must not send these again.
#[must_use]
pub fn answer(rejected: &[RejectedSpan], encoding: Encoding) -> Vec<u8> {
    let mut reasons: Vec<String> = rejected
        .iter()
        .take(MAX_NAMED)
        .map(|span| format!("{}: {}", span.span, span.rejection.detail))
        .collect();
    if rejected.len() > MAX_NAMED {
        reasons.push(format!("and {} more", rejected.len() - MAX_NAMED));
    }
    let (count, message) = (i64::try_from(rejected.len()).unwrap_or(i64::MAX), reasons.join("; "));
    match encoding {
        Encoding::Protobuf => {
            let partial_success = wire::PartialSuccess { rejected_spans: count, error_message: message };
            wire::Response { partial_success: (count > 0).then_some(partial_success) }.encode_to_vec()
        }
        Encoding::Json if count == 0 => b"{}".to_vec(),
        Encoding::Json => {
            let partial: Value =
                serde_json::json!({"rejectedSpans": count.to_string(), "errorMessage": message});
            serde_json::json!({"partialSuccess": partial}).to_string().into_bytes()
        }
    }
}
