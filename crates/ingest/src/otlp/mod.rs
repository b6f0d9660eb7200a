//! Pure: OpenTelemetry traces, as OTLP/HTTP sends them.

use fluxori_core::usage::UsageEvent;

use crate::{Reason, Rejection, RequestContext};

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
    /// How many spans are something else, or wrap a call that is counted by itself.
    pub ignored: usize,
    /// Spans that are calls of a model and no events.
    pub rejected: Vec<RejectedSpan>,
}

/// A span's event.
#[derive(Debug)]
pub struct SpanEvent {
    /// The span's name.
    pub span: String,
    /// Its event.
    pub event: UsageEvent,
}

/// A span that is no event, and why.
#[derive(Debug)]
pub struct RejectedSpan {
    /// The span's name, at most 256 bytes.
    pub span: String,
    /// Why.
    pub rejection: Rejection,
}

/// Reads an `ExportTraceServiceRequest`, already decompressed.
///
/// # Errors
/// The bytes are no such request ([`Reason::NotJson`] or [`Reason::Invalid`]): nothing of it can be read.
pub fn read(bytes: &[u8], encoding: Encoding, context: &RequestContext<'_>) -> Result<Traces, Rejection> {
    let _ = (bytes, encoding, context);
    Err(Rejection {
        event_id: None,
        reason: Reason::Invalid,
        field: None,
        detail: "is not read yet".to_owned(),
    })
}

/// The `ExportTraceServiceResponse`, in the encoding of the request. It goes with status 200 though spans are rejected
/// (`partial_success`): an exporter must not send these again.
#[must_use]
pub fn answer(rejected: &[RejectedSpan], encoding: Encoding) -> Vec<u8> {
    let _ = (rejected, encoding);
    Vec::new()
}
