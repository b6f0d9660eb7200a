//! CloudEvents 1.0 over HTTP: structured, batch and binary (CloudEvents' HTTP binding, 3).

use axum::http::{HeaderMap, header};
use axum::response::Response;
use fluxori_ingest::cloudevents::{read, read_binary};
use fluxori_runtime::http::Problem;

use super::{Protocol, Reading};
use crate::gateway::accept::{Items, Outcomes};
use crate::gateway::answer::answer;
use crate::gateway::items::{elements, media_type, split};

pub(super) struct CloudEvents(pub(super) Mode);

/// How the events lie in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One, in JSON.
    Structured,
    /// A JSON array of them.
    Batch,
    /// One, with its attributes in the headers.
    Binary,
}

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// The mode of a request with these headers; none if it holds no CloudEvents.
pub(super) fn mode_of(headers: &HeaderMap) -> Option<Mode> {
    match media_type(headers).as_str() {
        STRUCTURED => Some(Mode::Structured),
        BATCH => Some(Mode::Batch),
        _ => headers.contains_key("ce-specversion").then_some(Mode::Binary),
    }
}

impl Protocol for CloudEvents {
    fn name(&self) -> &'static str {
        "cloudevents"
    }

    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
        let structured = |items: Vec<&[u8]>| {
            let events = items.into_iter().map(|item| read(item, reading.mapping, &reading.context));
            events.collect::<Vec<_>>().into()
        };
        match self.0 {
            Mode::Structured => Ok(structured(vec![body])),
            Mode::Batch => Ok(structured(elements(body, reading.max_items)?)),
            Mode::Binary => {
                let attributes = reading
                    .headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value.as_bytes())));
                let content_type = reading.headers.get(header::CONTENT_TYPE);
                let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
                let event = read_binary(attributes, content_type, body, reading.mapping, &reading.context);
                Ok(vec![event].into())
            }
        }
    }

    fn answer(&self, outcomes: &Outcomes) -> Response {
        answer(outcomes)
    }
}

/// Events as OpenMeter's API takes them: one or several, and plain JSON stands for either.
pub(super) fn read_any(body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
    let items = match media_type(reading.headers).as_str() {
        STRUCTURED => vec![body],
        BATCH => elements(body, reading.max_items)?,
        other => split(other, body, reading.max_items)?,
    };
    let events = items.into_iter().map(|item| read(item, reading.mapping, &reading.context));
    Ok(events.collect::<Vec<_>>().into())
}
