use std::collections::BTreeMap;

use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::id::OrgId;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::cursors::{PartitionCursor, cursors};
use super::snapshot::{Organization, organizations};
use crate::content::{Contents, RowText, waiting_correction};
use crate::rows::allocation::AllocationRow;
use crate::rows::global::{GlobalColumns, TierColumns};
use crate::rows::organization::PlanRow;
use crate::rows::outcome::{CommandColumns, QuarantineColumns};
use crate::rows::posting::TransactionRow;
use crate::{Ledger, LedgerError, rows};

/// All cursors and open orgs at one moment: what a fold of the log up to these cursors must give.
#[derive(Debug)]
pub struct Heads {
    /// By partition.
    pub cursors: Vec<PartitionCursor>,
    /// By id, each with what the rows of its allocations and postings add up to.
    pub organizations: Vec<(Organization, RowSums)>,
    /// What the rows hold.
    pub contents: Contents,
}

/// What the rows of an org's allocations and postings add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSums {
    /// How many allocations there are.
    pub allocations: i64,
    /// Credits left in scheduled and open ones.
    pub remaining: Credits,
    /// Credits spent out of all of them.
    pub consumed: Credits,
    /// Credits that expired in all of them.
    pub expired: Credits,
    /// How many postings there are.
    pub postings: i64,
    /// Credits of all debits and corrections.
    pub debited: Credits,
    /// The digest in the last posting's row.
    pub last_digest: Option<Digest>,
}

/// Postings that are read at once.
const PAGE: i64 = 10_000;

impl Ledger {
    /// All cursors, open orgs and rows in one snapshot. Reads every allocation and posting.
    pub async fn heads(&self) -> Result<Heads, LedgerError> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let heads = heads(&mut transaction, None).await?;
        transaction.commit().await?;
        Ok(heads)
    }

    /// As [`Ledger::heads`], of one org, which lies in `partition`: what is not its own is left out, but for the cursor.
    pub async fn heads_of(&self, org: &OrgId, partition: i32) -> Result<Heads, LedgerError> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut heads = heads(&mut transaction, Some(org)).await?;
        transaction.commit().await?;
        heads.cursors.retain(|cursor| cursor.partition == partition);
        heads.contents.keep_org(org);
        Ok(heads)
    }

    /// The postings of an org with numbers from `first` to `last`, in words.
    pub async fn posting_texts(
        &self,
        org: &OrgId,
        first: i64,
        last: i64,
    ) -> Result<BTreeMap<i64, RowText>, LedgerError> {
        let rows = sqlx::query_as!(
            TransactionRow,
            "SELECT org_id, number, kind, effective_at, recorded_at, amount, entries, event_id, billing_digest, command_id,
                    user_id, module, feature, provider, request_model, model, certainty, revision, reservation_id,
                    charge, split, subject_digest, digest, log_partition, log_offset
             FROM credit_transactions WHERE org_id = $1 AND number BETWEEN $2 AND $3",
            org.as_str(),
            first,
            last,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(|row| (row.number, row.text())).collect())
    }
}

/// In a snapshot of the caller's; of one org only, if it is named, and what is nobody's.
pub(crate) async fn heads(connection: &mut PgConnection, org: Option<&OrgId>) -> Result<Heads, LedgerError> {
    let cursors = cursors(&mut *connection).await?;
    let mut organizations = organizations(&mut *connection).await?;
    organizations.retain(|row| org.is_none_or(|org| row.record.org == *org));
    let org = org.map(OrgId::as_str);
    let sums = row_sums(&mut *connection, org).await?;
    let contents = contents(connection, org).await?;
    // Both are by id, of the same orgs.
    Ok(Heads { cursors, organizations: organizations.into_iter().zip(sums).collect(), contents })
}

/// Page by page, so that only digests of postings are held.
async fn contents(connection: &mut PgConnection, org: Option<&str>) -> Result<Contents, LedgerError> {
    let mut contents = Contents::default();
    let (mut org_id, mut number) = (String::new(), i64::MIN);
    loop {
        let page = sqlx::query_as!(
            TransactionRow,
            "SELECT org_id, number, kind, effective_at, recorded_at, amount, entries, event_id, billing_digest, command_id,
                    user_id, module, feature, provider, request_model, model, certainty, revision, reservation_id,
                    charge, split, subject_digest, digest, log_partition, log_offset
             FROM credit_transactions
             WHERE (org_id, number) > ($1, $2) AND ($4::text IS NULL OR org_id = $4) ORDER BY org_id, number LIMIT $3",
            org_id,
            number,
            PAGE,
            org,
        )
        .fetch_all(&mut *connection)
        .await?;
        page.iter().for_each(|row| contents.add_posting_row(row));
        let Some(last) = page.into_iter().next_back() else { break };
        (org_id, number) = (last.org_id, last.number);
    }
    let allocations = sqlx::query_as!(
        AllocationRow,
        "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at,
                plan_revision, plan_item, period_start, period_end, status, granted, adjusted, moved, consumed,
                repaid, repaid_in, expired, remaining
         FROM credit_allocations WHERE $1::text IS NULL OR org_id = $1",
        org,
    )
    .fetch_all(&mut *connection)
    .await?;
    allocations.iter().for_each(|row| contents.put(row.text()));
    let commands = sqlx::query_as!(
        CommandColumns,
        "SELECT org_id, command_id, log_partition, log_offset, kind, payload_digest, rejection, actor, reason, reference,
                recorded_at
         FROM commands WHERE $1::text IS NULL OR org_id = $1",
        org,
    )
    .fetch_all(&mut *connection)
    .await?;
    commands.iter().for_each(|row| contents.put(row.text()));
    let quarantine = sqlx::query_as!(
        QuarantineColumns,
        "SELECT org_id, log_partition, log_offset, reason, event_id, append_time, sha256(key) AS key_digest,
                sha256(value) AS value_digest, status
         FROM quarantine WHERE $1::text IS NULL OR org_id = $1",
        org,
    )
    .fetch_all(&mut *connection)
    .await?;
    quarantine.iter().for_each(|row| contents.put(row.text()));
    let plans = sqlx::query_as!(
        PlanRow,
        "SELECT org_id, revision, plan, granted_until FROM plans WHERE $1::text IS NULL OR org_id = $1",
        org,
    )
    .fetch_all(&mut *connection)
    .await?;
    plans.iter().for_each(|row| contents.put(row.text()));
    let waiting = sqlx::query!(
        "SELECT org_id, event_id, log_offset FROM waiting_corrections WHERE $1::text IS NULL OR org_id = $1",
        org,
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in waiting {
        contents.put(waiting_correction(&row.org_id, row.event_id, row.log_offset));
    }
    let globals = sqlx::query_as!(
        GlobalColumns,
        "SELECT log_partition, log_offset, append_time, sha256(value) AS value_digest FROM global_records",
    )
    .fetch_all(&mut *connection)
    .await?;
    globals.iter().for_each(|row| contents.put(row.text()));
    let tiers = sqlx::query_as!(
        TierColumns,
        "SELECT name, revision, provider, model, aliases, org_id, service_tier, region, hours, effective_from, currency,
                source, rates, above FROM credit_pricing_tiers",
    )
    .fetch_all(connection)
    .await?;
    tiers.iter().for_each(|row| contents.put(row.text()));
    Ok(contents)
}

async fn row_sums<'c>(executor: impl PgExecutor<'c>, org: Option<&str>) -> Result<Vec<RowSums>, LedgerError> {
    let rows = sqlx::query!(
        r#"SELECT coalesce(a.allocations, 0) AS "allocations!", a.remaining AS "remaining?",
                  a.consumed AS "consumed?", a.expired AS "expired?",
                  coalesce(t.postings, 0) AS "postings!", t.debited AS "debited?",
                  last.digest AS "last_digest?"
           FROM organizations o
           LEFT JOIN (SELECT org_id, count(*) AS allocations, sum(remaining) AS remaining, sum(consumed) AS consumed,
                             sum(expired) AS expired
                      FROM credit_allocations WHERE $1::text IS NULL OR org_id = $1 GROUP BY org_id) AS a ON a.org_id = o.org_id
           LEFT JOIN (SELECT org_id, count(*) AS postings, sum(amount) FILTER (WHERE kind IN ('debit', 'correct')) AS debited
                      FROM credit_transactions WHERE $1::text IS NULL OR org_id = $1 GROUP BY org_id) AS t ON t.org_id = o.org_id
           LEFT JOIN credit_transactions last ON last.org_id = o.org_id AND last.number = o.posting_number
           WHERE $1::text IS NULL OR o.org_id = $1
           ORDER BY o.org_id"#,
        org,
    )
    .fetch_all(executor)
    .await?;
    let credits = |sum: Option<Decimal>| rows::credits(sum.unwrap_or_default());
    rows.into_iter()
        .map(|row| {
            Ok(RowSums {
                allocations: row.allocations,
                remaining: credits(row.remaining)?,
                consumed: credits(row.consumed)?,
                expired: credits(row.expired)?,
                postings: row.postings,
                debited: credits(row.debited)?,
                last_digest: row.last_digest.map(|digest| rows::digest(&digest)).transpose()?,
            })
        })
        .collect()
}
