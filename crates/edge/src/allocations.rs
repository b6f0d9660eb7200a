//! `POST /v1/allocations`: a grant, through the log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fluxori_core::command::{Command, CommandBody, CommandKind};
use fluxori_core::fold::Allocation;
use fluxori_core::id::{AllocationId, CommandId, OrgId};
use fluxori_ledger::CommandOutcome;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::clock;
use fluxori_runtime::http::{JsonBody, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::Outcome;
use crate::give::Fate;
use crate::grant::{AllocationRequest, Wanted};
use crate::openapi::WriteProblems;
use crate::refusal::Refusal;
use crate::state::Edge;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A grant that the log has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Granted {
    /// `applied`, or `pending` if the ledger has not come to it yet.
    outcome: Outcome,
    command_id: String,
    /// The allocation that it makes.
    allocation_id: String,
    /// The position of its record: a read with this as `at_least` sees it.
    position: String,
}

/// Grant credits
///
/// The first grant of an org opens it. A request can be repeated under its `Idempotency-Key` whatever became of it: the
/// org is granted once, and answered with the same outcome.
#[utoipa::path(post, path = "/v1/allocations", tag = "commands", request_body = AllocationRequest,
    params(("Idempotency-Key" = String, Header,
        description = "A name of your own for this grant, once per org: 1 to 255 visible ASCII characters")),
    responses(
        (status = 201, description = "Granted", body = Granted,
            headers(("Location" = String, description = "Where the outcome is to be had again"))),
        (status = 202, description = "The log has the grant, and the ledger will come to it", body = Granted,
            headers(("Location" = String, description = "Where to look for the outcome"))),
        WriteProblems))]
pub(crate) async fn post_allocation(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(request): JsonBody<AllocationRequest>,
) -> Result<Response, Refusal> {
    let now = clock::now().into();
    let wanted = request.read(&caller, now)?;
    let key = idempotency_key(&headers)?;
    let org = wanted.org.clone();
    // Refused before anything is asked or published, if it is not known which log this is.
    edge.place(&org)?;
    let command_id = CommandId::from_idempotency_key(&org, key);
    if let Some(outcome) = edge.outcome(&org, command_id).await? {
        return judged(&edge, &wanted, outcome).await;
    }
    let command = Command {
        command_id,
        issued_at: now,
        actor: caller.name.to_string(),
        reason: wanted.reason.clone(),
        reference: wanted.reference.clone(),
        body: CommandBody::Grant(org.clone(), wanted.grant.clone()),
    };
    match edge.give(&org, &command).await? {
        Fate::Judged(outcome) => judged(&edge, &wanted, outcome).await,
        Fate::Pending { offset } => {
            granted(&edge, &org, StatusCode::ACCEPTED, Outcome::Pending, command_id, offset)
        }
        Fate::Quarantined(record) => {
            let reason = format!("{}: {}", record.reason, record.detail);
            tracing::error!(%command_id, %org, reason, "the ledger does not take the edge's commands");
            Err(Problem::internal(format!("command {command_id} is in the quarantine: {reason}"))
                .with("command_id", command_id.to_string())
                .with("quarantined", record.reason)
                .into())
        }
    }
}

/// The client's own name for the command. Without one, a client that tries again after an answer was lost would be granted
/// twice.
fn idempotency_key(headers: &HeaderMap) -> Result<&str, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        let problem = "is missing: name each grant with a text of your own, the same on every retry";
        return Err(Refusal::parameter("Idempotency-Key", problem));
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > 255 || headers.get_all(IDEMPOTENCY_KEY).iter().count() > 1 {
        let problem = "must be one text of 1 to 255 visible ASCII characters";
        return Err(Refusal::parameter("Idempotency-Key", problem));
    }
    Ok(key)
}

/// Answers with what the ledger has decided, now or when the same command came before.
async fn judged(edge: &Edge, wanted: &Wanted, outcome: CommandOutcome) -> Result<Response, Refusal> {
    let id = outcome.command_id;
    if outcome.kind != CommandKind::Grant.as_str() {
        return Err(reused(id, &format!("a command of kind {}", outcome.kind)));
    }
    if outcome.reason != wanted.reason || outcome.reference != wanted.reference {
        return Err(reused(id, "a grant for another reason or reference"));
    }
    if let Some(rejection) = outcome.rejection {
        let position = edge.place(&wanted.org)?.position(outcome.offset);
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "rejected",
            "The ledger rejected the command",
        )
        .detail(rejection)
        .with("command_id", id.to_string())
        .with("position", position)
        .into());
    }
    let made = edge.ledger.allocation(&wanted.org, AllocationId(id.0)).await?;
    if made.is_some_and(|made| !wanted.is_granted_by(&made)) {
        // It may have been changed since: what was granted, the log says.
        match edge.recorded(&outcome).await? {
            Some(CommandBody::Grant(_, grant))
                if wanted.is_granted_by(&Allocation::scheduled(AllocationId(id.0), &grant)) => {}
            _ => return Err(reused(id, "another grant")),
        }
    }
    granted(edge, &wanted.org, StatusCode::CREATED, Outcome::Applied, id, outcome.offset)
}

/// 422 as draft-ietf-httpapi-idempotency-key-header-07 wants it.
fn reused(id: CommandId, what: &str) -> Refusal {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "The Idempotency-Key was used for something else",
    )
    .detail(format!("it names {what} of this org; use a key of its own for each grant"))
    .with("command_id", id.to_string())
    .into()
}

fn granted(
    edge: &Edge,
    org: &OrgId,
    status: StatusCode,
    outcome: Outcome,
    id: CommandId,
    offset: i64,
) -> Result<Response, Refusal> {
    let position = edge.place(org)?.position(offset);
    let location = format!("/v1/commands/{id}?org_id={}&at_least={position}", encoded(org));
    let body = Granted { outcome, command_id: id.to_string(), allocation_id: id.to_string(), position };
    let mut response = (status, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// An org id in a query: all but RFC 3986's unreserved characters as %XX.
fn encoded(org: &OrgId) -> String {
    org.as_str()
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' => c.to_string(),
            // Org ids are ASCII.
            c => format!("%{:02X}", u32::from(c)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_one_short_visible_text() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
            }
            idempotency_key(&headers).map(str::to_owned).map_err(|r| r.problem().status())
        };
        assert_eq!(of(&["purchase-1"]), Ok("purchase-1".to_owned()));
        for wrong in [&[][..], &[""], &["a", "b"], &["\u{e9}"], &[&"x".repeat(256)]] {
            assert_eq!(of(wrong), Err(StatusCode::BAD_REQUEST), "{wrong:?}");
        }
    }

    #[test]
    fn an_org_id_survives_a_location() {
        assert_eq!(encoded(&OrgId::new("a&b=c/d.e").unwrap()), "a%26b%3Dc%2Fd.e");
    }
}
