//! LiteLLM's log of calls, as its `generic_api` logger posts it: a JSON array, one object, or one a line.

use axum::response::Response;
use fluxori_ingest::{json, litellm};
use fluxori_runtime::http::Problem;

use super::{Protocol, Reading};
use crate::gateway::accept::{Items, Outcomes};
use crate::gateway::answer::answer;
use crate::gateway::items::{media_type, split};

pub(super) struct LiteLlm;

impl Protocol for LiteLlm {
    fn name(&self) -> &'static str {
        "litellm"
    }

    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
        let items = split(&media_type(reading.headers), body, reading.max_items)?;
        let event = |item| json::read(item).and_then(|payload| litellm::read(&payload, &reading.context));
        Ok(items.into_iter().map(event).collect::<Vec<_>>().into())
    }

    fn answer(&self, outcomes: &Outcomes) -> Response {
        answer(outcomes)
    }
}
