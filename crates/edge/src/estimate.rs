//! `POST /v1/estimate`: what will this call cost?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fluxori_estimate::{EstimateRequest, Estimates, estimate};
use fluxori_runtime::auth::Caller;
use fluxori_runtime::clock;
use fluxori_runtime::http::{JsonBody, Problem};

use crate::openapi::WriteProblems;
use crate::refusal::Refusal;
use crate::state::Edge;

/// Largest body, in bytes. Whoever has more can count it and send `input_tokens`.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;
/// Estimates made at once: counting tokens is work for a processor, and cannot be given up when nobody waits for it.
pub(crate) const AT_ONCE: usize = 2;

/// What will this call cost?
///
/// Messages, text, or a number of tokens in; cost and credits out, expected and at most, for each of up to 50 models, the
/// cheapest first. Tokens are exact for models whose vocabulary is public and an estimate with a margin for others, and the
/// answer says which. The org's own prices and terms hold. Nothing is reserved.
#[utoipa::path(post, path = "/v1/estimate", tag = "credits", request_body = EstimateRequest,
    responses((status = 200, description = "A line for each model", body = Estimates), WriteProblems))]
pub(crate) async fn post_estimate(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    JsonBody(request): JsonBody<EstimateRequest>,
) -> Result<Json<Estimates>, Refusal> {
    caller.require(request.org_id.as_str())?;
    let rates = edge.rates.now().await?;
    let turn = edge.estimates.take().await?;
    let at = clock::now().into();
    let answer = tokio::task::spawn_blocking(move || {
        let answer = estimate(&request, at, &rates);
        drop(turn);
        answer
    });
    let answer = answer.await;
    let answer = answer.map_err(Problem::internal)?.map_err(|error| {
        let title = "Fields of the request are not valid";
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields", title, error.to_string())
    })?;
    Ok(Json(answer))
}
