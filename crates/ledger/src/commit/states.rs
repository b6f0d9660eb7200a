//! Orgs and allocations as they are after a batch.
//!
//! Most orgs of a batch were only debited: their rows are there, and an UPDATE of what a debit can change writes half as
//! much as an upsert, which locks each row before it changes it. No indexed column changes, so that Postgres can keep the
//! new version of a row on the page of the old one, without touching an index (HOT).

use std::collections::{BTreeSet, HashSet};

use fluxori_core::amount::{AmountError, Credits};
use fluxori_core::command::{Account, OverdraftPolicy, Policy};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, OrgState, OrgTotals};
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::posting::{Posting, PostingKind};
use fluxori_core::time::Timestamp;

use super::{BatchWrite, Tx};
use crate::error::LedgerError;
use crate::rows::allocation::AllocationRow;
use crate::rows::organization::{PlanRow, suspended_users};
use crate::rows::{self, column, to_column};

/// An org as it is after a batch. Its plan and its allocations are among the batch's changes.
#[derive(Debug, Clone)]
pub struct OrgRow {
    /// Whose.
    pub org: OrgId,
    /// Number of its last posting.
    pub number: i64,
    /// Running digest up to it.
    pub head: Digest,
    /// What the org has chosen.
    pub policy: Policy,
    /// What its postings add up to.
    pub totals: OrgTotals,
    /// Accounts that are suspended.
    pub suspended: BTreeSet<Account>,
    /// What is left, less what is owed.
    pub balance: Credits,
    /// What is owed.
    pub overdraft: Credits,
    /// When the next opening or closing of an allocation is due.
    pub next_boundary: Option<Timestamp>,
    /// As of when its plan was last set or taken off.
    pub plan_changed_at: Option<Timestamp>,
}

impl OrgRow {
    /// The row of an org.
    ///
    /// # Errors
    /// Its balance is out of range.
    pub fn of(state: &OrgState) -> Result<Self, AmountError> {
        let record = &state.record;
        Ok(Self {
            org: record.org.clone(),
            number: record.number,
            head: record.head,
            policy: record.policy,
            totals: record.totals,
            suspended: record.suspended.clone(),
            balance: state.balance()?,
            overdraft: state.overdraft()?,
            next_boundary: state.next_boundary(),
            plan_changed_at: record.plan_changed_at,
        })
    }
}

/// What a batch's postings did to one of its orgs, beside its state.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    /// Whether there are others than debits: the org may be new, or have new allocations.
    beyond_debits: bool,
    /// The highest native id among the events applied.
    newest_event: Option<EventId>,
}

impl Touched {
    pub(super) fn add(&mut self, posting: &Posting) {
        self.beyond_debits |= posting.kind != PostingKind::Debit;
        self.newest_event = self.newest_event.max(posting.event_id().filter(|id| id.is_native()));
    }
}

type OrgChange<'batch> = (&'batch OrgRow, &'batch Touched);

pub(super) async fn write_orgs(
    transaction: &mut Tx,
    write: &BatchWrite,
    touched: &[Touched],
) -> Result<(), LedgerError> {
    let (others, debited): (Vec<OrgChange<'_>>, Vec<OrgChange<'_>>) =
        write.orgs.iter().zip(touched).partition(|(_, touched)| touched.beyond_debits);
    upsert_orgs(transaction, write.partition, &others).await?;
    update_orgs(transaction, &debited).await
}

async fn update_orgs(transaction: &mut Tx, orgs: &[OrgChange<'_>]) -> Result<(), LedgerError> {
    if orgs.is_empty() {
        return Ok(());
    }
    let updated = sqlx::query!(
        "UPDATE organizations AS o SET
             posting_number = n.posting_number, head = n.head, balance = n.balance, overdraft = n.overdraft,
             charged = n.charged, consumed = n.consumed, overdraft_incurred = n.overdraft_incurred,
             absorbed = n.absorbed, newest_event_id = greatest(o.newest_event_id, n.newest_event_id)
         FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::bigint[]) AS posting_number, unnest($3::bytea[]) AS head,
                   unnest($4::numeric[]) AS balance, unnest($5::numeric[]) AS overdraft,
                   unnest($6::numeric[]) AS charged, unnest($7::numeric[]) AS consumed,
                   unnest($8::numeric[]) AS overdraft_incurred, unnest($9::numeric[]) AS absorbed,
                   unnest($10::uuid[]) AS newest_event_id) AS n
         WHERE o.org_id = n.org_id",
        &column(orgs, |(org, _)| org.org.as_str()) as _,
        &column(orgs, |(org, _)| org.number),
        &column(orgs, |(org, _)| org.head.0.as_slice()) as _,
        &column(orgs, |(org, _)| org.balance.decimal()),
        &column(orgs, |(org, _)| org.overdraft.decimal()),
        &column(orgs, |(org, _)| org.totals.charged.decimal()),
        &column(orgs, |(org, _)| org.totals.consumed.decimal()),
        &column(orgs, |(org, _)| org.totals.overdraft_incurred.decimal()),
        &column(orgs, |(org, _)| org.totals.absorbed.decimal()),
        &column(orgs, |(_, touched)| touched.newest_event.map(|id| id.0)) as _,
    )
    .execute(&mut **transaction)
    .await?;
    all_found("orgs", updated.rows_affected(), orgs.len())
}

async fn upsert_orgs(
    transaction: &mut Tx,
    partition: i32,
    orgs: &[OrgChange<'_>],
) -> Result<(), LedgerError> {
    if orgs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO organizations AS o (org_id, log_partition, posting_number, head, overdraft_policy, grace_us,
             balance, overdraft, granted, adjusted, charged, consumed, overdraft_incurred, absorbed, repaid, expired,
             next_boundary_at, newest_event_id, due, suspended, suspended_users, plan_changed_at)
         SELECT unnest($1::text[]), $2, unnest($3::bigint[]), unnest($4::bytea[]), unnest($5::text[]),
             unnest($6::bigint[]), unnest($7::numeric[]), unnest($8::numeric[]), unnest($9::numeric[]),
             unnest($10::numeric[]), unnest($11::numeric[]), unnest($12::numeric[]), unnest($13::numeric[]),
             unnest($14::numeric[]), unnest($15::numeric[]), unnest($16::numeric[]), unnest($17::timestamptz[]),
             unnest($18::uuid[]), unnest($19::numeric[]), unnest($20::boolean[]), unnest($21::jsonb[]),
             unnest($22::timestamptz[])
         ON CONFLICT (org_id) DO UPDATE SET
             posting_number = excluded.posting_number, head = excluded.head,
             overdraft_policy = excluded.overdraft_policy, grace_us = excluded.grace_us,
             balance = excluded.balance, overdraft = excluded.overdraft, granted = excluded.granted,
             adjusted = excluded.adjusted, charged = excluded.charged, consumed = excluded.consumed,
             overdraft_incurred = excluded.overdraft_incurred, absorbed = excluded.absorbed,
             repaid = excluded.repaid, expired = excluded.expired, next_boundary_at = excluded.next_boundary_at,
             newest_event_id = greatest(o.newest_event_id, excluded.newest_event_id), due = excluded.due,
             suspended = excluded.suspended, suspended_users = excluded.suspended_users,
             plan_changed_at = excluded.plan_changed_at",
        &column(orgs, |(org, _)| org.org.as_str()) as _,
        partition,
        &column(orgs, |(org, _)| org.number),
        &column(orgs, |(org, _)| org.head.0.as_slice()) as _,
        &column(orgs, |(org, _)| org.policy.overdraft.map(OverdraftPolicy::as_str)) as _,
        &column(orgs, |(org, _)| i64::try_from(org.policy.grace.as_micros()).unwrap_or(i64::MAX)),
        &column(orgs, |(org, _)| org.balance.decimal()),
        &column(orgs, |(org, _)| org.overdraft.decimal()),
        &column(orgs, |(org, _)| org.totals.granted.decimal()),
        &column(orgs, |(org, _)| org.totals.adjusted.decimal()),
        &column(orgs, |(org, _)| org.totals.charged.decimal()),
        &column(orgs, |(org, _)| org.totals.consumed.decimal()),
        &column(orgs, |(org, _)| org.totals.overdraft_incurred.decimal()),
        &column(orgs, |(org, _)| org.totals.absorbed.decimal()),
        &column(orgs, |(org, _)| org.totals.repaid.decimal()),
        &column(orgs, |(org, _)| org.totals.expired.decimal()),
        &column(orgs, |(org, _)| org.next_boundary.map(to_column)) as _,
        &column(orgs, |(_, touched)| touched.newest_event.map(|id| id.0)) as _,
        &column(orgs, |(org, _)| org.totals.due.decimal()),
        &column(orgs, |(org, _)| org.suspended.contains(&Account::Organization)),
        &column(orgs, |(org, _)| suspended_users(&org.suspended)) as _,
        &column(orgs, |(org, _)| org.plan_changed_at.map(to_column)) as _,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

pub(super) async fn upsert_plans(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for (org, plan) in &write.changes.plans {
        let Some(plan) = plan else {
            sqlx::query!("DELETE FROM plans WHERE org_id = $1", org.as_str())
                .execute(&mut **transaction)
                .await?;
            continue;
        };
        let row = PlanRow::of(org, plan)?;
        sqlx::query!(
            "INSERT INTO plans (org_id, revision, plan, granted_until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (org_id) DO UPDATE SET
                 revision = excluded.revision, plan = excluded.plan, granted_until = excluded.granted_until",
            row.org_id,
            row.revision,
            row.plan,
            row.granted_until,
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

pub(super) async fn write_allocations(
    transaction: &mut Tx,
    write: &BatchWrite,
    touched: &[Touched],
) -> Result<(), LedgerError> {
    let beyond_debits: HashSet<&OrgId> = write
        .orgs
        .iter()
        .zip(touched)
        .filter(|(_, touched)| touched.beyond_debits)
        .map(|(row, _)| &row.org)
        .collect();
    let (others, debited): (Vec<_>, Vec<_>) =
        write.changes.allocations.iter().partition(|(org, _)| beyond_debits.contains(org));
    upsert_allocations(transaction, &others).await?;
    update_allocations(transaction, &debited).await
}

async fn update_allocations(
    transaction: &mut Tx,
    allocations: &[&(OrgId, Allocation)],
) -> Result<(), LedgerError> {
    if allocations.is_empty() {
        return Ok(());
    }
    let updated = sqlx::query!(
        "UPDATE credit_allocations AS a SET consumed = n.consumed, remaining = n.remaining
         FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS allocation_id,
                   unnest($3::numeric[]) AS consumed, unnest($4::numeric[]) AS remaining) AS n
         WHERE a.org_id = n.org_id AND a.allocation_id = n.allocation_id",
        &column(allocations, |(org, _)| org.as_str()) as _,
        &column(allocations, |(_, allocation)| allocation.id.0),
        &column(allocations, |(_, allocation)| allocation.consumed.decimal()),
        &column(allocations, |(_, allocation)| allocation.remaining.decimal()),
    )
    .execute(&mut **transaction)
    .await?;
    all_found("allocations", updated.rows_affected(), allocations.len())
}

async fn upsert_allocations(
    transaction: &mut Tx,
    allocations: &[&(OrgId, Allocation)],
) -> Result<(), LedgerError> {
    if allocations.is_empty() {
        return Ok(());
    }
    let rows = allocations
        .iter()
        .map(|(org, allocation)| AllocationRow::of(org, allocation))
        .collect::<Result<Vec<_>, LedgerError>>()?;
    sqlx::query!(
        "INSERT INTO credit_allocations (org_id, allocation_id, user_id, kind, purchased, priority, scope,
             effective_at, expires_at, status, granted, adjusted, consumed, repaid, expired, remaining, moved, repaid_in,
             plan_revision, plan_item, period_start, period_end)
         SELECT unnest($1::text[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::text[]), unnest($5::boolean[]),
             unnest($6::integer[]), unnest($7::jsonb[]), unnest($8::timestamptz[]), unnest($9::timestamptz[]),
             unnest($10::text[]), unnest($11::numeric[]), unnest($12::numeric[]), unnest($13::numeric[]),
             unnest($14::numeric[]), unnest($15::numeric[]), unnest($16::numeric[]), unnest($17::numeric[]),
             unnest($18::bigint[]), unnest($19::uuid[]), unnest($20::text[]), unnest($21::timestamptz[]),
             unnest($22::timestamptz[])
         ON CONFLICT (org_id, allocation_id) DO UPDATE SET
             expires_at = excluded.expires_at, moved = excluded.moved, repaid_in = excluded.repaid_in,
             status = excluded.status, adjusted = excluded.adjusted, consumed = excluded.consumed,
             repaid = excluded.repaid, expired = excluded.expired, remaining = excluded.remaining",
        &column(&rows, |row| row.org_id.as_str()) as _,
        &column(&rows, |row| row.allocation_id),
        &column(&rows, |row| row.user_id.as_deref()) as _,
        &column(&rows, |row| row.kind.as_str()) as _,
        &column(&rows, |row| row.purchased),
        &column(&rows, |row| row.priority),
        &column(&rows, |row| &row.scope) as _,
        &column(&rows, |row| row.effective_at),
        &column(&rows, |row| row.expires_at) as _,
        &column(&rows, |row| row.status.as_str()) as _,
        &column(&rows, |row| row.granted),
        &column(&rows, |row| row.adjusted),
        &column(&rows, |row| row.consumed),
        &column(&rows, |row| row.repaid),
        &column(&rows, |row| row.expired),
        &column(&rows, |row| row.remaining),
        &column(&rows, |row| row.moved),
        &column(&rows, |row| row.repaid_in),
        &column(&rows, |row| row.plan_revision) as _,
        &column(&rows, |row| row.plan_item.as_deref()) as _,
        &column(&rows, |row| row.period_start) as _,
        &column(&rows, |row| row.period_end) as _,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// A row that was debited and is not there would be a ledger that is not its log's.
fn all_found(what: &str, found: u64, wanted: usize) -> Result<(), LedgerError> {
    if usize::try_from(found) == Ok(wanted) {
        return Ok(());
    }
    Err(rows::unreadable(&format!("too few {what} that were debited:"), format!("{found} of {wanted}")))
}
