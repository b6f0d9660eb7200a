//! `GET /v1/balance`: what an org has.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fluxori_core::command::{Account, Scope};
use fluxori_core::fold::Allocation;
use fluxori_core::id::UserId;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{LedgerError, OrgSnapshot, Organization};
use fluxori_runtime::auth::Caller;
use fluxori_runtime::clock;
use fluxori_runtime::http::{Problem, QueryParams};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::openapi::ReadProblems;
use crate::refusal::Refusal;
use crate::state::{Edge, Place};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct BalanceQuery {
    /// The org.
    #[param(example = "acme")]
    org_id: String,
    /// Count this user's own allocations too, and list no other user's.
    user_id: Option<String>,
    /// A position from an earlier answer: wait until the ledger has passed it.
    at_least: Option<String>,
}

/// What an org has, at one moment. All amounts are exact decimals, as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balance {
    #[schema(example = "acme")]
    org_id: String,
    /// The user that was asked for.
    user_id: Option<String>,
    /// Credits left in open allocations, whatever their account and scope, less overdraft.
    #[schema(example = "96.75")]
    balance: String,
    /// Credits owed.
    overdraft: String,
    /// Credits that can be spent on anything now: in the org's unscoped allocations that are open and active, and the
    /// user's if one was asked for, less overdraft.
    available: String,
    /// Whether checks refuse the calls of the org, or of the user that was asked for.
    suspended: bool,
    totals: Totals,
    /// The allocations that are scheduled or open, earliest first.
    allocations: Vec<AllocationView>,
    /// The log's time up to which this is true.
    #[schema(value_type = Option<String>, format = DateTime)]
    as_of: Option<Timestamp>,
    /// The ledger's own position in the org's partition.
    position: Option<String>,
}

/// What all postings of the org add up to.
#[derive(Debug, Serialize, ToSchema)]
struct Totals {
    /// Granted.
    granted: String,
    /// Added by hand, less taken.
    adjusted: String,
    /// Charged for usage: consumed + overdraft_incurred + absorbed.
    charged: String,
    /// Paid by allocations.
    consumed: String,
    /// Charged and owed.
    overdraft_incurred: String,
    /// Charged, recorded as an expense and not owed.
    absorbed: String,
    /// Overdraft that later allocations paid off.
    repaid: String,
    /// Expired unspent.
    expired: String,
    /// Lent by credit limits until their end, and to be paid.
    due: String,
}

/// An allocation. Always granted + adjusted + moved = remaining + consumed + repaid + expired.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AllocationView {
    allocation_id: String,
    #[schema(example = "prepaid")]
    kind: &'static str,
    /// Whose it is; null for the org's.
    user_id: Option<String>,
    scope: ScopeView,
    /// Lower burns first.
    priority: i32,
    /// Paid for, rather than free.
    purchased: bool,
    /// First instant at which it may be spent.
    #[schema(value_type = String, format = DateTime)]
    effective_at: Timestamp,
    /// First instant at which it may no longer be spent; null if it never expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// `scheduled`, `open`, or `rolling_over`: ended, and what is left waits for the next period.
    #[schema(example = "open")]
    status: &'static str,
    granted: String,
    adjusted: String,
    /// Brought in by transfers and rollovers, less what they took out.
    moved: String,
    consumed: String,
    repaid: String,
    expired: String,
    remaining: String,
}

/// What an allocation may be spent on; an empty list means everything.
#[derive(Debug, Serialize, ToSchema)]
struct ScopeView {
    modules: Vec<String>,
    features: Vec<String>,
    models: Vec<String>,
}

/// What an org has
#[utoipa::path(get, path = "/v1/balance", tag = "credits", params(BalanceQuery),
    responses((status = 200, description = "The balance", body = Balance), ReadProblems))]
pub(crate) async fn get_balance(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    QueryParams(query): QueryParams<BalanceQuery>,
) -> Result<Json<Balance>, Refusal> {
    let user = query.user_id.as_deref().map(UserId::new).transpose();
    let user = user.map_err(|error| Refusal::parameter("user_id", error))?;
    let (org, place) = edge.read(&caller, &query.org_id, query.at_least.as_deref()).await?;
    let snapshot = edge.ledger.snapshot(&org, place.partition).await?;
    let row = snapshot.org.clone().ok_or_else(|| unknown_org(org.as_str()))?;
    Ok(Json(balance(row, snapshot, user.as_ref(), place)?))
}

/// 404 for an org that is not open in the ledger.
pub(crate) fn unknown_org(org: &str) -> Problem {
    Problem::new(axum::http::StatusCode::NOT_FOUND, "org-not-open", "There is no such org")
        .detail(format!("org {org:?} is not open in the ledger; its first grant opens it"))
}

fn balance(
    org: Organization,
    snapshot: OrgSnapshot,
    user: Option<&UserId>,
    place: Place<'_>,
) -> Result<Balance, LedgerError> {
    let available = snapshot.available_for_anything(clock::now().into(), user)?;
    let listed = |allocation: &Allocation| {
        user.is_none() || allocation.account.user().is_none_or(|owner| Some(owner) == user)
    };
    let mut allocations = snapshot.allocations;
    allocations.retain(listed);
    allocations.sort_by_key(|allocation| (allocation.effective_at, allocation.id));
    let record = org.record;
    let totals = record.totals;
    let suspended = record.suspended.contains(&Account::Organization)
        || user.is_some_and(|user| record.suspended.contains(&Account::User(user.clone())));
    Ok(Balance {
        org_id: record.org.into(),
        user_id: user.cloned().map(String::from),
        balance: org.balance.to_string(),
        overdraft: org.overdraft.to_string(),
        available: available.to_string(),
        suspended,
        totals: Totals {
            granted: totals.granted.to_string(),
            adjusted: totals.adjusted.to_string(),
            charged: totals.charged.to_string(),
            consumed: totals.consumed.to_string(),
            overdraft_incurred: totals.overdraft_incurred.to_string(),
            absorbed: totals.absorbed.to_string(),
            repaid: totals.repaid.to_string(),
            expired: totals.expired.to_string(),
            due: totals.due.to_string(),
        },
        allocations: allocations.into_iter().map(AllocationView::from).collect(),
        as_of: snapshot.log_time,
        position: place.position_before(snapshot.next_offset),
    })
}

impl From<Allocation> for AllocationView {
    fn from(allocation: Allocation) -> Self {
        Self {
            allocation_id: allocation.id.to_string(),
            kind: allocation.kind.as_str(),
            user_id: allocation.account.user().cloned().map(String::from),
            scope: allocation.scope.into(),
            priority: allocation.priority,
            purchased: allocation.purchased,
            effective_at: allocation.effective_at,
            expires_at: allocation.expires_at,
            status: allocation.status.as_str(),
            granted: allocation.granted.to_string(),
            adjusted: allocation.adjusted.to_string(),
            moved: allocation.moved.to_string(),
            consumed: allocation.consumed.to_string(),
            repaid: allocation.repaid.to_string(),
            expired: allocation.expired.to_string(),
            remaining: allocation.remaining.to_string(),
        }
    }
}

impl From<Scope> for ScopeView {
    fn from(scope: Scope) -> Self {
        Self {
            modules: scope.modules.into_iter().map(String::from).collect(),
            features: scope.features.into_iter().map(String::from).collect(),
            models: scope.models.into_iter().map(String::from).collect(),
        }
    }
}
