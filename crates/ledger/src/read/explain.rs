//! What an explanation of a posting needs: the org as it was before it, and what came of it since.

use std::collections::{HashMap, HashSet};

use fluxori_core::amount::Credits;
use fluxori_core::fold::{Allocation, AllocationStatus, OrgState};
use fluxori_core::id::{AllocationId, EventId, OrgId};
use fluxori_core::posting::PostingKind;
use fluxori_core::time::Timestamp;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Organization, TransactionRecord};
use crate::commit::GlobalRecord;
use crate::load::StoredCharge;
use crate::load::charge::ChargeRow;
use crate::rows::allocation::AllocationRow;
use crate::rows::posting::TransactionRow;
use crate::rows::{self, unreadable};
use crate::{Ledger, LedgerError};

/// Most postings since a debit that are taken back to find out what the allocations held before it.
pub const MAX_POSTINGS_SINCE: i64 = 20_000;
/// How long each query of a history may take.
const AT_MOST: &str = "SET LOCAL statement_timeout = '5s'";

/// A posting, by its number or by the event that it charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostingName {
    /// Its number.
    Number(i64),
    /// The event that it charged.
    Event(EventId),
}

/// A posting and what it came of.
#[derive(Debug)]
pub struct PostingHistory {
    /// All postings of the event, the debit first; or the one posting, where it is not of usage.
    pub postings: Vec<TransactionRecord>,
    /// The charge as the first of them has it; none where it is not of usage.
    pub charge: Option<StoredCharge>,
    /// The org as it was before the first of them, as far as it can be told: its policy and the terms of its allocations
    /// are those of now. None where too many postings were booked since, or reading them took too long.
    pub before: Option<OrgState>,
    /// The global records of the partition before the last posting's record.
    pub globals: Vec<GlobalRecord>,
    /// The charge as it is now, where it was corrected.
    pub now: Option<StoredCharge>,
}

impl Ledger {
    /// A posting with all that explains it, at one moment; none if the org has no such posting.
    ///
    /// # Errors
    /// Postgres is away, or what is stored cannot be read.
    pub async fn posting_history(
        &self,
        org: &OrgId,
        name: PostingName,
    ) -> Result<Option<PostingHistory>, LedgerError> {
        let moment = self.at_one_moment().await?;
        let history = match sqlx::raw_sql(AT_MOST).execute(&moment.pool).await {
            Ok(_) => moment.history(org, name).await,
            Err(error) => Err(error.into()),
        };
        moment.pool.close().await;
        history
    }

    async fn history(&self, org: &OrgId, name: PostingName) -> Result<Option<PostingHistory>, LedgerError> {
        let (number, event) = match name {
            PostingName::Number(number) => (Some(number), None),
            PostingName::Event(event) => (None, Some(event.0)),
        };
        let rows = sqlx::query_as!(
            TransactionRow,
            "SELECT org_id, number, kind, effective_at, recorded_at, amount, entries, event_id, billing_digest, command_id,
                    user_id, module, feature, provider, request_model, model, certainty, revision, reservation_id,
                    charge, split, subject_digest, digest, log_partition, log_offset
             FROM credit_transactions WHERE org_id = $1 AND (number = $2 OR event_id = coalesce($3,
                 (SELECT event_id FROM credit_transactions WHERE org_id = $1 AND number = $2)))
             ORDER BY number",
            org.as_str(),
            number,
            event,
        )
        .fetch_all(&self.pool)
        .await?;
        let postings = rows.into_iter().map(TransactionRow::read).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = postings.first() else { return Ok(None) };
        // Only usage was priced and burned down.
        if first.kind != PostingKind::Debit.as_str() {
            let (charge, before, now) = (None, None, None);
            return Ok(Some(PostingHistory { postings, charge, before, globals: Vec::new(), now }));
        }
        let mut globals = self.global_records(first.partition).await?;
        let last = postings.last().map_or(first.offset, |last| last.offset);
        globals.retain(|record| record.offset < last);
        let mut now = None;
        if let Some(event) = first.event_id.filter(|_| postings.len() > 1) {
            now = self.load_charges(&[(org.clone(), event)]).await?.pop();
        }
        let charge = self.charge_of(org, first.number).await?;
        // The last read, because a query that took too long ends the transaction.
        let before = match self.before(org, first).await {
            Err(LedgerError::Database(sqlx::Error::Database(error)))
                if error.code().as_deref() == Some("57014") =>
            {
                None
            }
            before => before?,
        };
        Ok(Some(PostingHistory { postings, charge, before, globals, now }))
    }

    async fn charge_of(&self, org: &OrgId, number: i64) -> Result<Option<StoredCharge>, LedgerError> {
        let row = sqlx::query_as!(
            ChargeRow,
            r#"SELECT org_id, event_id AS "event_id!", amount, effective_at, user_id, module AS "module!", feature,
                      provider AS "provider!", request_model AS "request_model!", model AS "model!",
                      revision AS "revision!", entries, charge AS "charge!", split, subject_digest
               FROM credit_transactions WHERE org_id = $1 AND number = $2 AND event_id IS NOT NULL"#,
            org.as_str(),
            number,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(ChargeRow::read).transpose()
    }

    /// The org as it was before a posting: what its allocations hold now, less what later postings brought.
    async fn before(
        &self,
        org: &OrgId,
        posting: &TransactionRecord,
    ) -> Result<Option<OrgState>, LedgerError> {
        let number = posting.number;
        let Some(Organization { record, .. }) = self.organization(org).await? else { return Ok(None) };
        if record.number - number >= MAX_POSTINGS_SINCE {
            return Ok(None);
        }
        let since = sqlx::query!(
            r#"SELECT (leg -> 'target' ->> 'allocation')::uuid AS "allocation!",
                      sum((leg ->> 'amount')::numeric) AS "amount!",
                      bool_or(kind = 'open') AS "opened!", bool_or(kind = 'close') AS "closed!"
               FROM credit_transactions, jsonb_array_elements(entries::jsonb) AS leg
               WHERE org_id = $1 AND number >= $2 AND jsonb_typeof(leg -> 'target') = 'object'
               GROUP BY 1"#,
            org.as_str(),
            number,
        )
        .fetch_all(&self.pool)
        .await?;
        let since: HashMap<Uuid, (Decimal, bool, bool)> =
            since.into_iter().map(|row| (row.allocation, (row.amount, row.opened, row.closed))).collect();
        let ids: Vec<Uuid> = since.keys().copied().collect();
        // An allocation goes by the command that granted it or moved credits into it; those of a plan do not.
        let granted = sqlx::query_scalar!(
            r#"SELECT command_id AS "command_id!" FROM credit_transactions
               WHERE org_id = $1 AND number > $2 AND kind IN ('grant', 'transfer') AND command_id IS NOT NULL"#,
            org.as_str(),
            number,
        )
        .fetch_all(&self.pool)
        .await?;
        let granted: HashSet<Uuid> = granted.into_iter().collect();
        let rows = sqlx::query_as!(
            AllocationRow,
            "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at,
                    plan_revision, plan_item, period_start, period_end, status, granted, adjusted, moved, consumed,
                    repaid, repaid_in, expired, remaining
             FROM credit_allocations WHERE org_id = $1 AND (status <> 'closed' OR allocation_id = ANY($2))",
            org.as_str(),
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut allocations = Vec::with_capacity(rows.len());
        for row in rows.into_iter().filter(|row| !granted.contains(&row.allocation_id)) {
            let since = since.get(&row.allocation_id).copied().unwrap_or_default();
            let allocation = as_before(row.read()?, since)?;
            if was_there(&allocation, posting.recorded_at) {
                allocations.push(allocation);
            }
        }
        Ok(Some(OrgState::restore(record, allocations)))
    }
}

/// Whether an allocation, as it was before a posting of that time of the log, can have been there: it would have been open
/// by then. This is how those of a plan tell that they were granted since.
fn was_there(allocation: &Allocation, recorded_at: Timestamp) -> bool {
    allocation.status != AllocationStatus::Scheduled || allocation.effective_at > recorded_at
}

/// An allocation before the postings that brought it so much, and opened or closed it.
fn as_before(
    mut allocation: Allocation,
    (brought, opened, closed): (Decimal, bool, bool),
) -> Result<Allocation, LedgerError> {
    let out_of_range = |error| unreadable(&format!("allocation {}", AllocationId(allocation.id.0)), error);
    let had_opened = allocation.status != AllocationStatus::Scheduled;
    allocation.status = match (had_opened && !opened, closed) {
        (false, _) => AllocationStatus::Scheduled,
        (true, true) => AllocationStatus::Open,
        (true, false) => allocation.status,
    };
    let held = if had_opened { allocation.remaining } else { Credits::ZERO };
    allocation.remaining = held.minus(rows::credits(brought)?).map_err(out_of_range)?;
    Ok(allocation)
}

#[cfg(test)]
mod tests {
    use fluxori_core::command::{Account, AllocationKind, Grant, Scope};

    use super::*;

    #[test]
    fn an_allocation_that_was_granted_since_was_not_there_and_one_that_had_not_begun_was() {
        let posted = Timestamp::from_millis(1_000);
        let grant = |begins: i64| Grant {
            account: Account::Organization,
            kind: AllocationKind::Prepaid,
            amount: "7".parse().unwrap(),
            effective_at: Timestamp::from_millis(begins),
            expires_at: None,
            priority: 0,
            scope: Scope::default(),
            purchased: false,
            period: None,
        };
        // As it is now: open, with its credits; and what came since: it was opened, or nothing.
        let before = |begins, opened| {
            let mut now = Allocation::scheduled(AllocationId(Uuid::nil()), &grant(begins));
            now.status = AllocationStatus::Open;
            let brought = if opened { Decimal::from(7) } else { Decimal::ZERO };
            as_before(now, (brought, opened, false)).unwrap()
        };
        assert!(was_there(&before(900, false), posted));
        assert!(was_there(&before(1_001, true), posted));
        assert!(!was_there(&before(900, true), posted));
    }
}
