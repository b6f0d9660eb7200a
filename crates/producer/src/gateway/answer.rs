//! Pure: what the caller is told, per item and as a whole.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fluxori_core::id::{EventId, LogId};
use fluxori_emitter::{Delivered, EmitError};
use fluxori_runtime::http::Problem;
use fluxori_wire::Position;
use serde::Serialize;
use serde_json::{Value, json};

use super::item::{ItemProblem, ORG_NOT_ALLOWED};
use super::retry_later;

/// The answer to a request, collected item by item.
pub(super) struct Answer {
    log_id: LogId,
    position: Option<Position>,
    items: Vec<ItemAnswer>,
}

/// The answer to one item; `index` counts from 0 in the order of the request.
#[derive(Debug, Serialize)]
struct ItemAnswer {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Outcome {
    /// The log has it.
    Accepted {
        /// How: `acknowledged` by the broker.
        accepted: &'static str,
        position: String,
    },
    /// It will never be taken as it is.
    Rejected { problem: ItemProblem },
    /// The log may or may not have it: send it again as it is, under the same id.
    Unacknowledged { problem: ItemProblem },
}

impl Answer {
    pub(super) const fn new(log_id: LogId) -> Self {
        Self { log_id, position: None, items: Vec::new() }
    }

    pub(super) fn accepted(&mut self, event_id: EventId, delivered: Delivered) {
        let Delivered { partition, offset } = delivered;
        let position = Position::of(self.log_id, partition, offset).to_string();
        self.position
            .get_or_insert_with(|| Position::of(self.log_id, partition, offset))
            .include(partition, offset);
        self.push(Some(event_id.to_string()), Outcome::Accepted { accepted: "acknowledged", position });
    }

    pub(super) fn rejected(&mut self, event_id: Option<String>, problem: ItemProblem) {
        self.push(event_id, Outcome::Rejected { problem });
    }

    pub(super) fn unacknowledged(&mut self, event_id: EventId, error: &EmitError) {
        let problem = ItemProblem::unacknowledged(error);
        self.push(Some(event_id.to_string()), Outcome::Unacknowledged { problem });
    }

    /// Counts the items in the service's metrics.
    pub(super) fn count(&self) {
        let (accepted, rejected, unacknowledged) = self.counts();
        for (outcome, count) in
            [("accepted", accepted), ("rejected", rejected), ("unacknowledged", unacknowledged)]
        {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            metrics::counter!("producer_events_total", "outcome" => outcome).increment(count);
        }
    }

    fn push(&mut self, event_id: Option<String>, outcome: Outcome) {
        self.items.push(ItemAnswer { index: self.items.len(), event_id, outcome });
    }

    fn counts(&self) -> (usize, usize, usize) {
        let count = |of: fn(&Outcome) -> bool| self.items.iter().filter(|item| of(&item.outcome)).count();
        (
            count(|outcome| matches!(outcome, Outcome::Accepted { .. })),
            count(|outcome| matches!(outcome, Outcome::Rejected { .. })),
            count(|outcome| matches!(outcome, Outcome::Unacknowledged { .. })),
        )
    }

    fn is_forbidden(&self) -> bool {
        self.items.iter().all(
            |item| matches!(&item.outcome, Outcome::Rejected { problem } if problem.kind == ORG_NOT_ALLOWED),
        )
    }

    /// The problem of the request as a whole; none if every item was accepted.
    fn problem(&self) -> Option<Problem> {
        let total = self.items.len();
        match self.counts() {
            (_, 0, 0) => None,
            (_, _, unacknowledged) if unacknowledged > 0 => Some(
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not-acknowledged",
                    "The broker did not acknowledge every event",
                )
                .detail(format!(
                    "{unacknowledged} of {total} events were not acknowledged; send these again as they are, under \
                     the same ids: what the log has already counts once"
                )),
            ),
            _ if self.is_forbidden() => Some(
                Problem::new(StatusCode::FORBIDDEN, ORG_NOT_ALLOWED, "This API key is not for this org")
                    .detail("every event is of an org that the key may not post for"),
            ),
            (_, rejected, _) => Some(
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "events-rejected",
                    "Events were rejected; the others were accepted",
                )
                .detail(format!("{rejected} of {total} events were rejected; items says why")),
            ),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let (accepted, rejected, unacknowledged) = self.counts();
        let mut members = json!({
            "accepted": accepted,
            "rejected": rejected,
            "position": self.position.map(|position| position.to_string()),
            "items": self.items,
        });
        if let (Some(members), true) = (members.as_object_mut(), unacknowledged > 0) {
            members.insert("unacknowledged".to_owned(), unacknowledged.into());
        }
        let (Some(problem), Value::Object(members)) = (problem, &members) else {
            return Json(members).into_response();
        };
        let problem =
            members.iter().fold(problem, |problem, (name, value)| problem.with(name, value.clone()));
        retry_later(problem.into_response())
    }
}
