//! `GET /v1/transactions`: the immutable postings of an org.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fluxori_core::posting::{Entry, Target};
use fluxori_core::time::Timestamp;
use fluxori_ledger::TransactionRecord;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::http::QueryParams;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::balance::unknown_org;
use crate::openapi::ReadProblems;
use crate::refusal::Refusal;
use crate::state::{Edge, Place};

/// Most postings of one answer.
const MAX_LIMIT: u32 = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransactionsQuery {
    /// The org.
    #[param(example = "acme")]
    org_id: String,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 500, default = 50, required = false)]
    limit: u32,
    /// Only postings numbered below: `next_before` of the page before.
    #[param(minimum = 1)]
    before: Option<i64>,
    /// A position from an earlier answer: wait until the ledger has passed it.
    at_least: Option<String>,
}

const fn default_limit() -> u32 {
    50
}

/// Postings of an org, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Transactions {
    transactions: Vec<Transaction>,
    /// What to send as `before` for the next page; null if there is none.
    next_before: Option<i64>,
}

/// An immutable posting. Amounts are exact decimals, as text.
#[derive(Debug, Serialize, ToSchema)]
struct Transaction {
    /// Gapless per org, from 1.
    number: i64,
    #[schema(example = "debit")]
    kind: String,
    /// Credits: charged, granted, opened, repaid, expired or adjusted.
    #[schema(example = "3.25")]
    amount: String,
    /// When it took effect.
    #[schema(value_type = String, format = DateTime)]
    effective_at: Timestamp,
    /// The log's time when it was booked.
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    /// The legs.
    entries: Vec<EntryView>,
    /// How a debit was priced: status, tier, revision, cost in US dollars, and quantity and rate of each line.
    #[schema(value_type = Option<Object>)]
    charge: Option<Value>,
    /// The usage that was charged.
    event_id: Option<String>,
    /// The command that was carried out.
    command_id: Option<String>,
    user_id: Option<String>,
    module: Option<String>,
    feature: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    /// SHA-256 over all postings of the org up to this one.
    digest: String,
    /// The position of the record that made it.
    position: String,
}

/// One leg of a posting.
#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    /// `allocation`, `overdraft`, `absorbed` or `due`.
    #[schema(example = "allocation")]
    target: &'static str,
    /// Which allocation.
    allocation_id: Option<String>,
    /// Whose account; null for the org's.
    user_id: Option<String>,
    /// Credits added, or taken if negative.
    #[schema(example = "-3.25")]
    amount: String,
}

/// The postings of an org, newest first
#[utoipa::path(get, path = "/v1/transactions", tag = "credits", params(TransactionsQuery),
    responses((status = 200, description = "A page of postings", body = Transactions), ReadProblems))]
pub(crate) async fn get_transactions(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    QueryParams(query): QueryParams<TransactionsQuery>,
) -> Result<Json<Transactions>, Refusal> {
    if !(1..=MAX_LIMIT).contains(&query.limit) {
        return Err(Refusal::parameter("limit", format!("must be 1 to {MAX_LIMIT}")));
    }
    if query.before.is_some_and(|before| before < 1) {
        return Err(Refusal::parameter("before", "must be 1 or above, as next_before said"));
    }
    let (org, place) = edge.read(&caller, &query.org_id, query.at_least.as_deref()).await?;
    let found = edge.ledger.transactions(&org, query.before, query.limit).await?;
    if found.is_empty() && edge.ledger.organization(&org).await?.is_none() {
        return Err(unknown_org(org.as_str()).into());
    }
    let next_before = next_before(found.last().map(|last| last.number));
    let transactions = found.into_iter().map(|record| transaction(record, place)).collect();
    Ok(Json(Transactions { transactions, next_before }))
}

/// The numbers are gapless, so there is a next page exactly if the last posting of this one is not the first of all.
fn next_before(last: Option<i64>) -> Option<i64> {
    last.filter(|number| *number > 1)
}

fn transaction(record: TransactionRecord, place: Place<'_>) -> Transaction {
    Transaction {
        number: record.number,
        kind: record.kind,
        amount: record.amount.to_string(),
        effective_at: record.effective_at,
        recorded_at: record.recorded_at,
        entries: record.entries.into_iter().map(EntryView::from).collect(),
        charge: record.charge,
        event_id: record.event_id.map(|id| id.to_string()),
        command_id: record.command_id.map(|id| id.to_string()),
        user_id: record.user_id,
        module: record.module,
        feature: record.feature,
        provider: record.provider,
        model: record.model,
        digest: record.digest.to_string(),
        position: place.position(record.offset),
    }
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let (target, allocation_id) = match entry.target {
            Target::Allocation(id) => ("allocation", Some(id.to_string())),
            Target::Overdraft => ("overdraft", None),
            Target::Absorbed => ("absorbed", None),
            Target::Due => ("due", None),
        };
        let user_id = entry.account.user().cloned().map(String::from);
        Self { target, allocation_id, user_id, amount: entry.amount.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_at_the_first_posting() {
        assert_eq!(next_before(Some(51)), Some(51));
        assert_eq!(next_before(Some(1)), None);
        assert_eq!(next_before(None), None);
    }
}
