//! Loading what the fold needs from the past, before a batch is folded.

use std::collections::{BTreeSet, HashMap};

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, KnownEvent, OrgState};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::time::Timestamp;
use uuid::Uuid;

use crate::Ledger;
use crate::error::LedgerError;
use crate::rows;
use crate::rows::allocation::AllocationRow;
use crate::rows::column;
use crate::rows::organization::OrganizationRow;

pub(crate) mod charge;

pub use charge::StoredCharge;

/// What a batch needs to know of the past.
#[derive(Debug, Default)]
pub struct Needed {
    /// Orgs whose state is not in memory.
    pub orgs: BTreeSet<OrgId>,
    /// Events that may have been applied before.
    pub events: Vec<(OrgId, EventId)>,
    /// Commands that may have been carried out before.
    pub commands: Vec<(OrgId, CommandId)>,
    /// Events that records of the batch correct, supersede or release.
    pub watched: Vec<(OrgId, EventId)>,
    /// Usage that records of the batch release: by id and billing digest.
    pub released: Vec<(OrgId, EventId, Digest)>,
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
    /// Corrections that wait for their event.
    pub waiting_corrections: Vec<WaitingRecord>,
    /// Events that were applied, by revision.
    pub events: Vec<(OrgId, EventId, KnownEvent)>,
    /// Commands that were carried out or rejected, and the digests of their payloads.
    pub commands: Vec<(OrgId, CommandId, Digest)>,
    /// The charges of watched events, as they are now.
    pub charges: Vec<StoredCharge>,
    /// Usage in the quarantine that is to be released, once of each content.
    pub quarantined: Vec<WaitingRecord>,
    /// Closed allocations that the watched charges took from, or that repaid overdraft of their orgs.
    pub closed: Vec<(OrgId, Allocation)>,
}

/// A record that waits: usage for its org to be opened or for its release, a correction for its event.
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
            loaded.waiting_corrections = self.load_waiting_corrections(&orgs).await?;
        }
        if !needed.events.is_empty() {
            loaded.events = self.load_events(&needed.events).await?;
        }
        if !needed.commands.is_empty() {
            loaded.commands = self.load_commands(&needed.commands).await?;
        }
        if !needed.watched.is_empty() {
            loaded.charges = self.load_charges(&needed.watched).await?;
            loaded.closed = self.load_closed(&loaded.charges).await?;
        }
        if !needed.released.is_empty() {
            loaded.quarantined = self.load_quarantined(&needed.released).await?;
        }
        Ok(loaded)
    }

    async fn load_orgs(&self, orgs: &[String], loaded: &mut Loaded) -> Result<(), LedgerError> {
        let mut allocations: HashMap<String, Vec<Allocation>> = HashMap::new();
        let rows = sqlx::query_as!(
            AllocationRow,
            "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at,
                    plan_revision, plan_item, period_start, period_end, status, granted, adjusted, moved, consumed,
                    repaid, repaid_in, expired, remaining
             FROM credit_allocations WHERE org_id = ANY($1) AND status <> 'closed'",
            orgs,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            allocations.entry(row.org_id.clone()).or_default().push(row.read()?);
        }
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
               WHERE o.org_id = ANY($1)",
            orgs,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let allocations = allocations.remove(&row.org_id).unwrap_or_default();
            let newest_event = row.newest_event_id.map(EventId);
            let record = row.record()?;
            loaded.newest_events.extend(newest_event.map(|id| (record.org.clone(), id)));
            loaded.orgs.push(OrgState::restore(record, allocations));
        }
        Ok(())
    }

    async fn load_waiting(&self, orgs: &[String]) -> Result<Vec<WaitingRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT append_time, key, value FROM quarantine
             WHERE org_id = ANY($1) AND reason = 'org_not_open' AND status = 'waiting'
               AND NOT EXISTS (SELECT FROM organizations o WHERE o.org_id = quarantine.org_id)
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

    async fn load_waiting_corrections(&self, orgs: &[String]) -> Result<Vec<WaitingRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT org_id, value FROM waiting_corrections WHERE org_id = ANY($1) ORDER BY org_id, event_id",
            orgs,
        )
        .fetch_all(&self.pool)
        .await?;
        let waiting = rows.into_iter().map(|row| WaitingRecord {
            append_time: Timestamp::default(),
            key: Some(row.org_id.into_bytes()),
            value: Some(row.value),
        });
        Ok(waiting.collect())
    }

    /// Usage that waited for its org and could not be priced when that was opened is among it.
    async fn load_quarantined(
        &self,
        released: &[(OrgId, EventId, Digest)],
    ) -> Result<Vec<WaitingRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT q.append_time, q.key, q.value
             FROM (SELECT DISTINCT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS event_id,
                       unnest($3::bytea[]) AS billing_digest) AS asked
             CROSS JOIN LATERAL (
                 SELECT append_time, key, value FROM quarantine
                 WHERE org_id = asked.org_id AND event_id = asked.event_id
                   AND billing_digest = asked.billing_digest AND status <> 'released'
                   AND (reason <> 'org_not_open'
                        OR EXISTS (SELECT FROM organizations o WHERE o.org_id = asked.org_id))
                 LIMIT 1) AS q",
            &column(released, |(org, ..)| org.as_str()) as _,
            &column(released, |(_, id, _)| id.0),
            &column(released, |(.., digest)| digest.0.as_slice()) as _,
        )
        .fetch_all(&self.pool)
        .await?;
        let quarantined = rows.into_iter().map(|row| WaitingRecord {
            append_time: row.append_time.into(),
            key: row.key,
            value: row.value,
        });
        Ok(quarantined.collect())
    }

    async fn load_events(
        &self,
        events: &[(OrgId, EventId)],
    ) -> Result<Vec<(OrgId, EventId, KnownEvent)>, LedgerError> {
        let (orgs, ids): (Vec<String>, Vec<Uuid>) =
            events.iter().map(|(org, id)| (org.to_string(), id.0)).unzip();
        let rows = sqlx::query!(
            r#"SELECT t.org_id, t.event_id AS "event_id!", t.billing_digest AS "billing_digest!", t.revision AS "revision!"
               FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS event_id) AS asked
               JOIN credit_transactions t ON t.org_id = asked.org_id AND t.event_id = asked.event_id
               WHERE t.billing_digest IS NOT NULL"#,
            &orgs,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let billing_digest = rows::digest(&row.billing_digest)?;
                let known = KnownEvent { billing_digest, revision: row.revision };
                Ok((rows::org_id(&row.org_id)?, EventId(row.event_id), known))
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
