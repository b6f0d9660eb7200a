//! Our own JSON: an object, an array of them, or one a line.

use axum::response::Response;
use fluxori_ingest::usage_from_bytes;
use fluxori_runtime::http::Problem;

use super::{Protocol, Reading};
use crate::gateway::accept::{Items, Outcomes};
use crate::gateway::answer::answer;
use crate::gateway::items::{media_type, split};

pub(super) struct Native;

impl Protocol for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
        let items = split(&media_type(reading.headers), body, reading.max_items)?;
        let events = items.into_iter().map(|item| usage_from_bytes(item, &reading.context));
        Ok(events.collect::<Vec<_>>().into())
    }

    fn answer(&self, outcomes: &Outcomes) -> Response {
        answer(outcomes)
    }
}
