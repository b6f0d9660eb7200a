use fluxori_core::amount::{AmountError, Credits};
use fluxori_core::command::{Account, OverdraftPolicy};
use fluxori_core::fold::OrgState;
use rust_decimal::Decimal;

use super::{BatchWrite, Tx};
use crate::error::LedgerError;
use crate::rows::allocation::AllocationRow;
use crate::rows::organization::{PlanRow, suspended_users};
use crate::rows::{self, column, to_column};

pub(super) async fn upsert_orgs(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    let orgs = &write.orgs;
    if orgs.is_empty() {
        return Ok(());
    }
    let sums = |sum: fn(&OrgState) -> Result<Credits, AmountError>| -> Result<Vec<Decimal>, LedgerError> {
        let out_of_range = |error| rows::unreadable("a total", error);
        orgs.iter().map(|org| sum(org).map(Credits::decimal).map_err(out_of_range)).collect()
    };
    sqlx::query!(
        "INSERT INTO organizations (org_id, log_partition, posting_number, head, overdraft_policy, grace_us,
             balance, overdraft, granted, adjusted, charged, consumed, overdraft_incurred, absorbed, repaid, expired,
             next_boundary_at, due, suspended, suspended_users)
         SELECT unnest($1::text[]), $2, unnest($3::bigint[]), unnest($4::bytea[]), unnest($5::text[]),
             unnest($6::bigint[]), unnest($7::numeric[]), unnest($8::numeric[]), unnest($9::numeric[]),
             unnest($10::numeric[]), unnest($11::numeric[]), unnest($12::numeric[]), unnest($13::numeric[]),
             unnest($14::numeric[]), unnest($15::numeric[]), unnest($16::numeric[]), unnest($17::timestamptz[]),
             unnest($18::numeric[]), unnest($19::boolean[]), unnest($20::jsonb[])
         ON CONFLICT (org_id) DO UPDATE SET
             posting_number = excluded.posting_number, head = excluded.head,
             overdraft_policy = excluded.overdraft_policy, grace_us = excluded.grace_us,
             balance = excluded.balance, overdraft = excluded.overdraft, granted = excluded.granted,
             adjusted = excluded.adjusted, charged = excluded.charged, consumed = excluded.consumed,
             overdraft_incurred = excluded.overdraft_incurred, absorbed = excluded.absorbed,
             repaid = excluded.repaid, expired = excluded.expired, next_boundary_at = excluded.next_boundary_at,
             due = excluded.due, suspended = excluded.suspended, suspended_users = excluded.suspended_users",
        &column(orgs, |org| org.org().as_str()) as _,
        write.partition,
        &column(orgs, |org| org.record.number),
        &column(orgs, |org| org.record.head.0.as_slice()) as _,
        &column(orgs, |org| org.record.policy.overdraft.map(OverdraftPolicy::as_str)) as _,
        &column(orgs, |org| i64::try_from(org.record.policy.grace.as_micros()).unwrap_or(i64::MAX)),
        &sums(OrgState::balance)?,
        &sums(OrgState::overdraft)?,
        &column(orgs, |org| org.record.totals.granted.decimal()),
        &column(orgs, |org| org.record.totals.adjusted.decimal()),
        &column(orgs, |org| org.record.totals.charged.decimal()),
        &column(orgs, |org| org.record.totals.consumed.decimal()),
        &column(orgs, |org| org.record.totals.overdraft_incurred.decimal()),
        &column(orgs, |org| org.record.totals.absorbed.decimal()),
        &column(orgs, |org| org.record.totals.repaid.decimal()),
        &column(orgs, |org| org.record.totals.expired.decimal()),
        &column(orgs, |org| org.next_boundary().map(to_column)) as _,
        &column(orgs, |org| org.record.totals.due.decimal()),
        &column(orgs, |org| org.record.suspended.contains(&Account::Organization)),
        &column(orgs, |org| suspended_users(&org.record.suspended)) as _,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

pub(super) async fn upsert_plans(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for (org, plan) in &write.plans {
        let Some(plan) = plan else {
            sqlx::query!("DELETE FROM plans WHERE org_id = $1", org.as_str()).execute(&mut **transaction).await?;
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

pub(super) async fn upsert_allocations(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.allocations.is_empty() {
        return Ok(());
    }
    let rows = write
        .allocations
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
