//! LiteLLM's log of calls, as its `generic_api` logger posts it: a JSON array, one object, or one a line. It declares them all
//! as `application/json`.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use fluxori_ingest::{json, litellm};
use fluxori_runtime::http::Problem;

use super::{Protocol, Reading};
use crate::gateway::accept::{Items, Outcomes};
use crate::gateway::answer::answer;
use crate::gateway::items::{is_lines, media_type, split};

pub(super) struct LiteLlm;

impl Protocol for LiteLlm {
    fn name(&self) -> &'static str {
        "litellm"
    }

    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
        let media_type = match media_type(reading.headers) {
            json if json == "application/json" && is_lines(body) => "application/x-ndjson".to_owned(),
            declared => declared,
        };
        let items = split(&media_type, body, reading.max_items)?;
        let event = |item| json::read(item).and_then(|payload| litellm::read(&payload, &reading.context));
        Ok(items.into_iter().map(event).collect::<Vec<_>>().into())
    }

    fn answer(&self, outcomes: &Outcomes) -> Response {
        answer(outcomes)
    }

    /// LiteLLM tries again after 5xx, and drops what was answered with anything else (`GenericAPILogger` 1.93).
    fn refuse(&self, problem: Problem) -> Response {
        let is_for_now =
            matches!(problem.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let problem = if is_for_now { problem.with_status(StatusCode::SERVICE_UNAVAILABLE) } else { problem };
        problem.into_response()
    }
}
