use fluxori_core::amount::Credits;
use fluxori_core::fold::{Allocation, AllocationStatus, OrgRecord};
use fluxori_core::id::{AllocationId, OrgId, UserId};
use fluxori_core::time::Timestamp;
use sqlx::PgExecutor;

use crate::rows::allocation::AllocationRow;
use crate::rows::organization::OrganizationRow;
use crate::rows::{self, unreadable};
use crate::{Ledger, LedgerError};

/// An open org as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its state, the allocations apart.
    pub record: OrgRecord,
    /// The partition of its records.
    pub partition: i32,
    /// Credits left in open allocations, or waiting to roll over, less overdraft.
    pub balance: Credits,
    /// Credits owed.
    pub overdraft: Credits,
    /// When the next opening or closing is due.
    pub next_boundary: Option<Timestamp>,
}

/// An org, its allocations and how far its partition has been applied, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgSnapshot {
    /// The org; none if it is not open.
    pub org: Option<Organization>,
    /// Its scheduled and open allocations, in no particular order.
    pub allocations: Vec<Allocation>,
    /// Offset of the next record of its partition to be applied; 0 before the first.
    pub next_offset: i64,
    /// The log's time up to there; none before the first record.
    pub log_time: Option<Timestamp>,
    /// When that was committed, by the database's clock.
    pub committed_at: Option<Timestamp>,
}

impl OrgSnapshot {
    /// What can be spent at `now`: what is left in open allocations that are active then and that `counts` takes,
    /// less the org's overdraft; negative where more is owed. Nothing for an org that is not open.
    ///
    /// # Errors
    /// The sum leaves the range of an amount.
    pub fn available(
        &self,
        now: Timestamp,
        counts: impl Fn(&Allocation) -> bool,
    ) -> Result<Credits, LedgerError> {
        let overdraft = self.org.as_ref().map_or(Credits::ZERO, |org| org.overdraft);
        let spendable = |allocation: &&Allocation| {
            allocation.status == AllocationStatus::Open && allocation.is_active_at(now) && counts(allocation)
        };
        self.allocations
            .iter()
            .filter(spendable)
            .try_fold(overdraft.negated(), |sum, allocation| sum.plus(allocation.remaining))
            .map_err(|error| unreadable("a balance", error))
    }

    /// What can be spent on anything at `now`: from the org's own unscoped allocations and, if `user` is named, the
    /// user's, less the org's overdraft.
    ///
    /// # Errors
    /// The sum leaves the range of an amount.
    pub fn available_for_anything(
        &self,
        now: Timestamp,
        user: Option<&UserId>,
    ) -> Result<Credits, LedgerError> {
        self.available(now, |allocation| {
            let own = allocation.account.user().is_none_or(|owner| Some(owner) == user);
            own && allocation.scope.is_everything()
        })
    }
}

/// What an org's postings add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgSums {
    /// Whose.
    pub org: OrgId,
    /// Credits of all grants.
    pub granted: Credits,
    /// Credits charged for usage.
    pub debited: Credits,
    /// Part of the charges that allocations paid.
    pub consumed: Credits,
    /// Credits owed.
    pub overdraft: Credits,
    /// Credits left in open allocations less overdraft.
    pub balance: Credits,
}

impl TryFrom<OrganizationRow> for Organization {
    type Error = LedgerError;

    fn try_from(row: OrganizationRow) -> Result<Self, LedgerError> {
        Ok(Self {
            partition: row.log_partition,
            balance: rows::credits(row.balance)?,
            overdraft: rows::credits(row.overdraft)?,
            next_boundary: row.next_boundary_at.map(Timestamp::from),
            record: row.record()?,
        })
    }
}

impl Ledger {
    /// An org, its live allocations and the cursor of `partition`, which is the org's, in one statement.
    pub async fn snapshot(&self, org: &OrgId, partition: i32) -> Result<OrgSnapshot, LedgerError> {
        // One row for each live allocation, and one without if there are none.
        let rows = sqlx::query!(
            r#"SELECT c.next_offset AS "next_offset?", c.log_time AS "log_time?", c.committed_at AS "committed_at?",
                      o.org_id AS "org_id?", o.posting_number AS "posting_number?", o.head AS "head?",
                      o.overdraft_policy, o.grace_us AS "grace_us?", o.suspended AS "suspended?",
                      o.suspended_users AS "suspended_users?", o.balance AS "balance?",
                      o.overdraft AS "overdraft?", o.granted AS "org_granted?", o.adjusted AS "org_adjusted?",
                      o.charged AS "org_charged?", o.consumed AS "org_consumed?",
                      o.overdraft_incurred AS "overdraft_incurred?", o.absorbed AS "absorbed?",
                      o.repaid AS "org_repaid?", o.expired AS "org_expired?", o.due AS "due?",
                      o.next_boundary_at, o.plan_changed_at, p.revision AS "revision?", p.plan AS "plan?",
                      p.granted_until AS "granted_until?",
                      a.allocation_id AS "allocation_id?", a.user_id AS "user_id?", a.kind AS "kind?",
                      a.purchased AS "purchased?", a.priority AS "priority?", a.scope AS "scope?",
                      a.effective_at AS "effective_at?", a.expires_at AS "expires_at?",
                      a.plan_revision, a.plan_item, a.period_start, a.period_end, a.status AS "status?",
                      a.granted AS "granted?", a.adjusted AS "adjusted?", a.moved AS "moved?",
                      a.consumed AS "consumed?", a.repaid AS "repaid?", a.repaid_in AS "repaid_in?",
                      a.expired AS "expired?", a.remaining AS "remaining?"
               FROM (SELECT $1::text AS org_id, $2::integer AS log_partition) AS asked
               LEFT JOIN partition_cursors c ON c.log_partition = asked.log_partition
               LEFT JOIN organizations o ON o.org_id = asked.org_id
               LEFT JOIN plans p ON p.org_id = asked.org_id
               LEFT JOIN credit_allocations a ON a.org_id = asked.org_id AND a.status <> 'closed'"#,
            org.as_str(),
            partition,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut snapshot = OrgSnapshot {
            org: None,
            allocations: Vec::with_capacity(rows.len()),
            next_offset: 0,
            log_time: None,
            committed_at: None,
        };
        for row in rows {
            snapshot.next_offset = row.next_offset.unwrap_or(0);
            snapshot.log_time = row.log_time.map(Timestamp::from);
            snapshot.committed_at = row.committed_at.map(Timestamp::from);
            // The columns are NOT NULL: where the row's id is there, so are they.
            if let (None, Some(org_id)) = (&snapshot.org, row.org_id) {
                let columns = OrganizationRow {
                    org_id,
                    log_partition: partition,
                    posting_number: row.posting_number.unwrap_or_default(),
                    head: row.head.unwrap_or_default(),
                    overdraft_policy: row.overdraft_policy,
                    grace_us: row.grace_us.unwrap_or_default(),
                    suspended: row.suspended.unwrap_or_default(),
                    suspended_users: row.suspended_users.unwrap_or_default(),
                    balance: row.balance.unwrap_or_default(),
                    overdraft: row.overdraft.unwrap_or_default(),
                    granted: row.org_granted.unwrap_or_default(),
                    adjusted: row.org_adjusted.unwrap_or_default(),
                    charged: row.org_charged.unwrap_or_default(),
                    consumed: row.org_consumed.unwrap_or_default(),
                    overdraft_incurred: row.overdraft_incurred.unwrap_or_default(),
                    absorbed: row.absorbed.unwrap_or_default(),
                    repaid: row.org_repaid.unwrap_or_default(),
                    expired: row.org_expired.unwrap_or_default(),
                    due: row.due.unwrap_or_default(),
                    next_boundary_at: row.next_boundary_at,
                    plan_changed_at: row.plan_changed_at,
                    plan_revision: row.revision,
                    plan: row.plan,
                    granted_until: row.granted_until,
                    newest_event_id: None,
                };
                snapshot.org = Some(columns.try_into()?);
            }
            let Some(allocation_id) = row.allocation_id else { continue };
            let columns = AllocationRow {
                org_id: org.to_string(),
                allocation_id,
                user_id: row.user_id,
                kind: row.kind.unwrap_or_default(),
                purchased: row.purchased.unwrap_or_default(),
                priority: row.priority.unwrap_or_default(),
                scope: row.scope.unwrap_or_default(),
                effective_at: row.effective_at.unwrap_or_default(),
                expires_at: row.expires_at,
                plan_revision: row.plan_revision,
                plan_item: row.plan_item,
                period_start: row.period_start,
                period_end: row.period_end,
                status: row.status.unwrap_or_default(),
                granted: row.granted.unwrap_or_default(),
                adjusted: row.adjusted.unwrap_or_default(),
                moved: row.moved.unwrap_or_default(),
                consumed: row.consumed.unwrap_or_default(),
                repaid: row.repaid.unwrap_or_default(),
                repaid_in: row.repaid_in.unwrap_or_default(),
                expired: row.expired.unwrap_or_default(),
                remaining: row.remaining.unwrap_or_default(),
            };
            snapshot.allocations.push(columns.read()?);
        }
        Ok(snapshot)
    }

    /// One open org.
    pub async fn organization(&self, org: &OrgId) -> Result<Option<Organization>, LedgerError> {
        let row = sqlx::query_as!(
            OrganizationRow,
            "SELECT o.org_id, o.log_partition, o.posting_number, o.head, o.overdraft_policy, o.grace_us, o.suspended,
               o.suspended_users, o.balance, o.overdraft, o.granted, o.adjusted, o.charged, o.consumed,
               o.overdraft_incurred, o.absorbed, o.repaid, o.expired, o.due, o.next_boundary_at,
               o.plan_changed_at, (SELECT revision FROM plans p WHERE p.org_id = o.org_id) AS plan_revision,
               (SELECT plan FROM plans p WHERE p.org_id = o.org_id) AS plan,
               (SELECT granted_until FROM plans p WHERE p.org_id = o.org_id) AS granted_until,
               o.newest_event_id
               FROM organizations o
               WHERE o.org_id = $1",
            org.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Organization::try_from).transpose()
    }

    /// The allocations of an org, closed ones too if wanted; latest beginning first.
    pub async fn allocations(&self, org: &OrgId, closed_too: bool) -> Result<Vec<Allocation>, LedgerError> {
        let rows = sqlx::query_as!(
            AllocationRow,
            "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at,
                    plan_revision, plan_item, period_start, period_end, status, granted, adjusted, moved, consumed,
                    repaid, repaid_in, expired, remaining
             FROM credit_allocations WHERE org_id = $1 AND ($2 OR status <> 'closed')
             ORDER BY effective_at DESC, allocation_id",
            org.as_str(),
            closed_too,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(AllocationRow::read).collect()
    }

    /// One allocation, closed or not.
    pub async fn allocation(&self, org: &OrgId, id: AllocationId) -> Result<Option<Allocation>, LedgerError> {
        let row = sqlx::query_as!(
            AllocationRow,
            "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at,
                    plan_revision, plan_item, period_start, period_end, status, granted, adjusted, moved, consumed,
                    repaid, repaid_in, expired, remaining
             FROM credit_allocations WHERE org_id = $1 AND allocation_id = $2",
            org.as_str(),
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(AllocationRow::read).transpose()
    }

    /// What each org's postings add up to, by org.
    pub async fn sums(&self) -> Result<Vec<OrgSums>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT org_id, granted, charged, consumed, overdraft, balance FROM organizations ORDER BY org_id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(OrgSums {
                    org: rows::org_id(&row.org_id)?,
                    granted: rows::credits(row.granted)?,
                    debited: rows::credits(row.charged)?,
                    consumed: rows::credits(row.consumed)?,
                    overdraft: rows::credits(row.overdraft)?,
                    balance: rows::credits(row.balance)?,
                })
            })
            .collect()
    }
}

/// All open orgs, by id.
pub(super) async fn organizations<'c>(
    executor: impl PgExecutor<'c>,
) -> Result<Vec<Organization>, LedgerError> {
    let rows = sqlx::query_as!(
        OrganizationRow,
        "SELECT o.org_id, o.log_partition, o.posting_number, o.head, o.overdraft_policy, o.grace_us, o.suspended,
               o.suspended_users, o.balance, o.overdraft, o.granted, o.adjusted, o.charged, o.consumed,
               o.overdraft_incurred, o.absorbed, o.repaid, o.expired, o.due, o.next_boundary_at,
               o.plan_changed_at, (SELECT revision FROM plans p WHERE p.org_id = o.org_id) AS plan_revision,
               (SELECT plan FROM plans p WHERE p.org_id = o.org_id) AS plan,
               (SELECT granted_until FROM plans p WHERE p.org_id = o.org_id) AS granted_until,
               o.newest_event_id
               FROM organizations o
               ORDER BY o.org_id",
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Organization::try_from).collect()
}
