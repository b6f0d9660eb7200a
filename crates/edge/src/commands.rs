//! `GET /v1/commands/{id}`: what became of a command.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fluxori_core::time::Timestamp;
use fluxori_ledger::CommandOutcome;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::http::QueryParams;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::openapi::ReadProblems;
use crate::refusal::Refusal;
use crate::state::{Edge, Place};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandQuery {
    /// The org that the command was for.
    #[param(example = "acme")]
    org_id: String,
    /// A position from an earlier answer: wait until the ledger has passed it.
    at_least: Option<String>,
}

/// What became of a command.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandAnswer {
    command_id: String,
    #[schema(example = "grant")]
    kind: String,
    outcome: Outcome,
    /// Why it was not carried out.
    rejection: Option<String>,
    /// The log's time when the ledger came to it.
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    /// The position of its record.
    position: String,
}

/// Whether a command was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was.
    Applied,
    /// It was not.
    Rejected,
    /// The log has it, and the ledger has not come to it yet.
    Pending,
}

/// What became of a command
#[utoipa::path(get, path = "/v1/commands/{id}", tag = "commands",
    params(("id" = String, Path, description = "The command's id"), CommandQuery),
    responses((status = 200, description = "It was applied or rejected", body = CommandAnswer), ReadProblems))]
pub(crate) async fn get_command(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<CommandQuery>,
) -> Result<Json<CommandAnswer>, Refusal> {
    let id = id.parse().map_err(|error| Refusal::parameter("id", error))?;
    let (org, place) = edge.read(&caller, &query.org_id, query.at_least.as_deref()).await?;
    let outcome = edge.outcome(&org, id).await?.ok_or_else(|| {
        let detail = format!(
            "the ledger knows no command {id} of org {org}; it may not have come to it yet, or have set its record aside"
        );
        Refusal::new(StatusCode::NOT_FOUND, "no-command", "There is no such command", detail)
    })?;
    Ok(Json(answer(outcome, place)))
}

fn answer(outcome: CommandOutcome, place: Place<'_>) -> CommandAnswer {
    CommandAnswer {
        command_id: outcome.command_id.to_string(),
        kind: outcome.kind,
        outcome: if outcome.rejection.is_some() { Outcome::Rejected } else { Outcome::Applied },
        rejection: outcome.rejection,
        recorded_at: outcome.recorded_at,
        position: place.position(outcome.offset),
    }
}
