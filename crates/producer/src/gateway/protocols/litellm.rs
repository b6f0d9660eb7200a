//! LiteLLM's log of calls, as its `generic_api` logger posts it: a JSON array, one object, or one a line. It declares them all
//! as `application/json`.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use fluxori_ingest::{json, litellm};
use fluxori_runtime::http::Problem;

use super::{Protocol, Reading};
use crate::gateway::RETRY_SECONDS;
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

    /// LiteLLM 1.106 tries again after 5xx and drops the rest (`GenericAPILogger._should_retry_exception`).
    fn refuse(&self, problem: Problem) -> Response {
        let now = StatusCode::SERVICE_UNAVAILABLE;
        let problem = match problem.status() {
            StatusCode::TOO_MANY_REQUESTS => problem.with_status(now),
            StatusCode::REQUEST_TIMEOUT => problem.with_status(now).retry_after(RETRY_SECONDS),
            _ => problem,
        };
        problem.into_response()
    }
}
