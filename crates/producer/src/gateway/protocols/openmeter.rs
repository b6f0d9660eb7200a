//! OpenMeter's API for events, so that its clients work when they are pointed here: 204 with no body when all is well, else
//! an RFC 9457 problem. Unlike there, good events of a batch are taken beside bad ones; sent again, they count once.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use fluxori_runtime::http::Problem;
use serde_json::{Value, json};

use super::cloudevents::read_any;
use super::{Protocol, Reading};
use crate::gateway::accept::{Items, Outcome, Outcomes};
use crate::gateway::answer::problem;

/// So many rejected events are described in one answer.
const MAX_DESCRIBED: usize = 100;

pub(super) struct OpenMeter;

impl Protocol for OpenMeter {
    fn name(&self) -> &'static str {
        "openmeter"
    }

    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
        read_any(body, reading)
    }

    fn answer(&self, outcomes: &Outcomes) -> Response {
        let Some(problem) = problem(outcomes) else {
            return StatusCode::NO_CONTENT.into_response();
        };
        if problem.status() != StatusCode::UNPROCESSABLE_ENTITY {
            return problem.into_response();
        }
        let rejected: Vec<Value> = outcomes
            .items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| match &item.outcome {
                Outcome::Rejected(problem) => {
                    Some(json!({"index": index, "id": item.event_id, "field": problem.field, "message": problem.detail}))
                }
                _ => None,
            })
            .take(MAX_DESCRIBED)
            .collect();
        let counts = outcomes.counts();
        let first = outcomes.first_rejected().map(|problem| problem.detail.as_str()).unwrap_or_default();
        Problem::new(StatusCode::BAD_REQUEST, "events-rejected", "Bad Request")
            .detail(format!(
                "{} of {} events were rejected{}; the first: {first}",
                counts.rejected,
                outcomes.items.len(),
                if counts.rejected < outcomes.items.len() { ", the others were taken" } else { "" },
            ))
            .with("validationErrors", rejected)
            .into_response()
    }
}
