//! Loading what the fold needs from the past, before a batch is folded.

use std::collections::{BTreeSet, HashMap};

use fluxori_core::command::Policy;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, OrgState, OrgTotals};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::time::Timestamp;
use uuid::Uuid;

use crate::Ledger;
use crate::error::LedgerError;
use crate::rows::allocation::AllocationRow;
use crate::rows::{self, unreadable};

/// What a batch needs to know of the past.
#[derive(Debug, Default)]
pub struct Needed {
    /// Orgs whose state is not in memory.
    pub orgs: BTreeSet<OrgId>,
    /// Events that may have been applied before.
    pub events: Vec<(OrgId, EventId)>,
    /// Commands that may have been carried out before.
    pub commands: Vec<(OrgId, CommandId)>,
}

/// What was found of it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// States of orgs that are open; the others are not.
    pub orgs: Vec<OrgState>,
    /// The highest native id of an event that was applied, of each of these orgs that has one: higher ones never were.
    pub newest_events: Vec<(OrgId, EventId)>,
    /// Usage that waits for its org to be opened, in the order of the log.
    pub waiting: Vec<WaitingRecord>,
    /// Events that were applied, and their billing digests.
    pub events: Vec<(OrgId, EventId, Digest)>,
    /// Commands that were carried out or rejected, and the digests of their payloads.
    pub commands: Vec<(OrgId, CommandId, Digest)>,
}

/// A record of usage that waits for its org to be opened.
#[derive(Debug)]
pub struct WaitingRecord {
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Ledger {
    /// Loads what a batch needs.
    pub async fn load(&self, needed: &Needed) -> Result<Loaded, LedgerError> {
        let mut loaded = Loaded::default();
        if !needed.orgs.is_empty() {
            let orgs: Vec<String> = needed.orgs.iter().map(OrgId::to_string).collect();
            self.load_orgs(&orgs, &mut loaded).await?;
            loaded.waiting = self.load_waiting(&orgs).await?;
        }
        if !needed.events.is_empty() {
            loaded.events = self.load_events(&needed.events).await?;
        }
        if !needed.commands.is_empty() {
            loaded.commands = self.load_commands(&needed.commands).await?;
        }
        Ok(loaded)
    }

    async fn load_orgs(&self, orgs: &[String], loaded: &mut Loaded) -> Result<(), LedgerError> {
        let mut allocations: HashMap<String, Vec<Allocation>> = HashMap::new();
        let rows = sqlx::query_as!(
            AllocationRow,
            "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at, status,
                    granted, adjusted, consumed, repaid, expired, remaining
             FROM credit_allocations WHERE org_id = ANY($1) AND status <> 'closed'",
            orgs,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            allocations.entry(row.org_id.clone()).or_default().push(row.read()?);
        }
        let rows = sqlx::query!(
            "SELECT org_id, posting_number, head, overdraft_policy, grace_us, granted, adjusted, charged, consumed,
                    overdraft_incurred, absorbed, repaid, expired, newest_event_id
             FROM organizations WHERE org_id = ANY($1)",
            orgs,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let grace = u64::try_from(row.grace_us).map_err(|_| unreadable("a grace", row.grace_us))?;
            let policy = Policy {
                overdraft: rows::overdraft_policy(&row.overdraft_policy)?,
                grace: std::time::Duration::from_micros(grace),
            };
            let totals = OrgTotals {
                granted: rows::credits(row.granted)?,
                adjusted: rows::credits(row.adjusted)?,
                charged: rows::credits(row.charged)?,
                consumed: rows::credits(row.consumed)?,
                overdraft_incurred: rows::credits(row.overdraft_incurred)?,
                absorbed: rows::credits(row.absorbed)?,
                repaid: rows::credits(row.repaid)?,
                expired: rows::credits(row.expired)?,
            };
            let live = allocations.remove(&row.org_id).unwrap_or_default();
            let org = rows::org_id(&row.org_id)?;
            loaded.newest_events.extend(row.newest_event_id.map(|id| (org.clone(), EventId(id))));
            let head = rows::digest(&row.head)?;
            loaded.orgs.push(OrgState::restore(org, row.posting_number, head, policy, totals, live));
        }
        Ok(())
    }

    async fn load_waiting(&self, orgs: &[String]) -> Result<Vec<WaitingRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT append_time, key, value FROM quarantine
             WHERE org_id = ANY($1) AND reason = 'org_not_open' AND status = 'waiting'
             ORDER BY org_id, log_partition, log_offset",
            orgs,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| WaitingRecord { append_time: row.append_time.into(), key: row.key, value: row.value })
            .collect())
    }

    async fn load_events(
        &self,
        events: &[(OrgId, EventId)],
    ) -> Result<Vec<(OrgId, EventId, Digest)>, LedgerError> {
        let (orgs, ids): (Vec<String>, Vec<Uuid>) =
            events.iter().map(|(org, id)| (org.to_string(), id.0)).unzip();
        let rows = sqlx::query!(
            r#"SELECT t.org_id, t.event_id AS "event_id!", t.billing_digest AS "billing_digest!"
               FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS event_id) AS asked
               JOIN credit_transactions t ON t.org_id = asked.org_id AND t.event_id = asked.event_id"#,
            &orgs,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok((rows::org_id(&row.org_id)?, EventId(row.event_id), rows::digest(&row.billing_digest)?))
            })
            .collect()
    }

    async fn load_commands(
        &self,
        commands: &[(OrgId, CommandId)],
    ) -> Result<Vec<(OrgId, CommandId, Digest)>, LedgerError> {
        let (orgs, ids): (Vec<String>, Vec<Uuid>) =
            commands.iter().map(|(org, id)| (org.to_string(), id.0)).unzip();
        let rows = sqlx::query!(
            "SELECT c.org_id, c.command_id, c.payload_digest
             FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS command_id) AS asked
             JOIN commands c ON c.org_id = asked.org_id AND c.command_id = asked.command_id",
            &orgs,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok((
                    rows::org_id(&row.org_id)?,
                    CommandId(row.command_id),
                    rows::digest(&row.payload_digest)?,
                ))
            })
            .collect()
    }
}
