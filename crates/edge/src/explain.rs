//! `GET /v1/transactions/{id}/explain`: why was this charged?

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use fluxori_applier::explain::{Contexts, ExplainError, Explanation, explain};
use fluxori_core::id::EventId;
use fluxori_ledger::PostingName;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::http::{Problem, QueryParams};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::balance::unknown_org;
use crate::openapi::ReadProblems;
use crate::refusal::Refusal;
use crate::state::Edge;
use crate::turns::Turns;

/// Explanations given at once: each takes a connection to Postgres of its own, beside those of the pool.
const AT_ONCE: usize = 2;

/// What explanations share.
#[derive(Debug)]
pub(crate) struct Explaining {
    contexts: Arc<Contexts>,
    turns: Turns,
}

impl Explaining {
    pub(crate) fn new() -> Self {
        Self { contexts: Arc::new(Contexts::new(None)), turns: Turns::new("explanations", AT_ONCE) }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainQuery {
    /// The org.
    #[param(example = "acme")]
    org_id: String,
    /// A position from an earlier answer: wait until the ledger has passed it.
    at_least: Option<String>,
}

/// Why a posting is what it is
///
/// Its record is read from the log, priced and burned down once more with a trace, and compared with what was booked:
/// quantities, rates, tier and revision with their sources, terms, rounding, the allocations considered with what was taken
/// or why not, and later corrections. `agrees` says whether both are equal, `remarks` what differs or could not be had.
#[utoipa::path(get, path = "/v1/transactions/{id}/explain", tag = "credits",
    params(("id" = String, Path, description = "The posting's number, or the id of the event that it charged"), ExplainQuery),
    responses((status = 200, description = "The explanation", body = serde_json::Value), ReadProblems))]
pub(crate) async fn get_explanation(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<ExplainQuery>,
) -> Result<Json<Explanation>, Refusal> {
    let name = posting_name(&id)?;
    let (org, _) = edge.read(&caller, &query.org_id, query.at_least.as_deref()).await?;
    let turn = edge.explaining.turns.take().await?;
    let (ledger, reader) = (edge.ledger.clone(), edge.reader.clone());
    let (contexts, whose) = (Arc::clone(&edge.explaining.contexts), org.clone());
    // On its own, so that its turn ends with the work even when nobody waits for the answer any more.
    let explained = tokio::spawn(async move {
        let explained = explain(&ledger, &reader, &contexts, &whose, name).await;
        drop(turn);
        explained
    });
    if let Some(explanation) = explained.await.map_err(Problem::internal)?? {
        return Ok(Json(explanation));
    }
    if edge.ledger.organization(&org).await?.is_none() {
        return Err(unknown_org(org.as_str()).into());
    }
    Err(Refusal::new(
        axum::http::StatusCode::NOT_FOUND,
        "unknown-transaction",
        "The org has no such posting",
        format!("org {org} has no posting {id}; it may not have been applied yet, or be in the quarantine"),
    ))
}

fn posting_name(id: &str) -> Result<PostingName, Refusal> {
    if let Ok(number) = id.parse() {
        return Ok(PostingName::Number(number));
    }
    id.parse::<EventId>().map(PostingName::Event).map_err(|_| {
        Refusal::parameter("id", "must be the number of a posting, or the id of an event (a UUID)")
    })
}

impl From<ExplainError> for Refusal {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Ledger(error) => error.into(),
            ExplainError::Stream(_) => Problem::unavailable("Kafka").into(),
            ExplainError::Log(error) => Problem::internal(error).into(),
            ExplainError::Fault(error) => Problem::internal(error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posting_goes_by_its_number_or_by_its_event() {
        assert_eq!(posting_name("7").unwrap(), PostingName::Number(7));
        let event = "01a20458-26b9-73d1-9316-2ea71ccd4448";
        assert_eq!(posting_name(event).unwrap(), PostingName::Event(event.parse().unwrap()));
        assert_eq!(posting_name("seven").unwrap_err().problem().status().as_u16(), 400);
    }
}
