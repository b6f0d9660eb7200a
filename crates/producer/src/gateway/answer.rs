//! Pure: our own answer, per item and as a whole.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use fluxori_emitter::{Accepted, Delivered};
use fluxori_runtime::http::Problem;
use fluxori_wire::Position;
use serde::Serialize;
use serde_json::Value;

use super::RETRY_SECONDS;
use super::accept::{ItemId, Outcome, Outcomes};
use super::refusal::ItemProblem;

/// The answer to all items.
#[derive(Debug, Serialize)]
struct Answer<'o> {
    accepted: usize,
    rejected: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    unacknowledged: Option<usize>,
    position: Option<String>,
    items: Vec<ItemAnswer<'o>>,
}

/// The answer to one item; `index` counts from 0 in the order of the request.
#[derive(Debug, Serialize)]
struct ItemAnswer<'o> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'o ItemId>,
    #[serde(flatten)]
    status: Status<'o>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Status<'o> {
    Accepted {
        accepted: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<String>,
    },
    Rejected {
        problem: &'o ItemProblem,
    },
    Unacknowledged {
        problem: &'o ItemProblem,
    },
}

/// 200 if every event was accepted, else the problem of the whole, with every item in both.
pub(super) fn answer(outcomes: &Outcomes) -> Response {
    let counts = outcomes.counts();
    let items: Vec<_> = outcomes
        .items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let status = match &item.outcome {
                Outcome::Accepted(Accepted::Spooled) => {
                    Status::Accepted { accepted: "spooled", position: None }
                }
                Outcome::Accepted(Accepted::Acknowledged(Delivered { partition, offset })) => {
                    let position =
                        outcomes.log_id.map(|log| Position::of(log, *partition, *offset).to_string());
                    Status::Accepted { accepted: "acknowledged", position }
                }
                Outcome::Rejected(problem) => Status::Rejected { problem },
                Outcome::Unacknowledged(problem) => Status::Unacknowledged { problem },
            };
            ItemAnswer { index, event_id: item.event_id.as_ref(), status }
        })
        .collect();
    let answer = Answer {
        accepted: counts.acknowledged + counts.spooled,
        rejected: counts.rejected,
        unacknowledged: (counts.unacknowledged > 0).then_some(counts.unacknowledged),
        position: outcomes.position().map(|position| position.to_string()),
        items,
    };
    let Some(problem) = problem(outcomes) else { return Json(answer).into_response() };
    match serde_json::to_value(answer) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .fold(problem, |problem, (name, value)| problem.with(&name, value))
            .into_response(),
        _ => problem.into_response(),
    }
}

/// The problem of a request as a whole; none if every item was accepted.
pub(super) fn problem(outcomes: &Outcomes) -> Option<Problem> {
    let (counts, total) = (outcomes.counts(), outcomes.items.len());
    if counts.unacknowledged > 0 {
        let problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-acknowledged",
            "Not every event was acknowledged",
        );
        return Some(problem.retry_after(RETRY_SECONDS).detail(format!(
            "{} of {total} events were not acknowledged; send these again as they are, under the same ids: what the log \
             has already counts once",
            counts.unacknowledged
        )));
    }
    if counts.rejected == 0 {
        return None;
    }
    if let (true, Some(first)) = (counts.forbidden == total, outcomes.first_rejected()) {
        return Some(
            Problem::new(StatusCode::FORBIDDEN, first.kind, first.title)
                .detail("the key may post none of these events; items says why"),
        );
    }
    Some(
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "events-rejected",
            "Events were rejected; the others were accepted",
        )
        .detail(format!("{} of {total} events were rejected; items says why", counts.rejected)),
    )
}
