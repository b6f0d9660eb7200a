//! Writing a batch: one transaction that checks the epoch, writes everything and moves the cursor.

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, Counters, OrgState, Quarantined};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::posting::{Cause, Posting};
use fluxori_core::rates::PricingTier;
use fluxori_core::time::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::error::LedgerError;
use crate::rows::{self, to_column};
use crate::{GLOBAL_ORG, Ledger};

/// How far a partition has been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Offset of the next record to be applied.
    pub next_offset: i64,
    /// The log's time: running maximum of append times.
    pub log_time: Timestamp,
    /// Append time of the last record applied.
    pub last_append_time: Timestamp,
    /// Digest over key and value of the last record applied.
    pub last_record_digest: Digest,
    /// Digest over the outcome of every record.
    pub outcomes: Digest,
    /// How many records became what.
    pub counters: Counters,
}

/// A global record as it lies in the log.
#[derive(Debug, Clone)]
pub struct GlobalRecord {
    /// Its offset.
    pub offset: i64,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its value.
    pub value: Vec<u8>,
}

/// A posting and the offset of the record that made it.
#[derive(Debug)]
pub struct PostingRow {
    /// The record's offset.
    pub offset: i64,
    /// The posting.
    pub posting: Posting,
}

/// The outcome of a command.
#[derive(Debug)]
pub struct CommandRow {
    /// Whose; none for a global one.
    pub org: Option<OrgId>,
    /// Which.
    pub command_id: CommandId,
    /// The record's offset.
    pub offset: i64,
    /// Of which kind.
    pub kind: &'static str,
    /// Digest of its payload.
    pub payload_digest: Digest,
    /// Why it was not carried out, if so.
    pub rejection: Option<String>,
    /// The log's time when it was applied.
    pub recorded_at: Timestamp,
}

/// A record that was not applied.
#[derive(Debug)]
pub struct QuarantineRow {
    /// The record's offset.
    pub offset: i64,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Why it was not applied.
    pub quarantined: Quarantined,
}

/// Everything that a batch changes.
#[derive(Debug)]
pub struct BatchWrite {
    /// The partition.
    pub partition: i32,
    /// The epoch under which it was taken over.
    pub epoch: i64,
    /// Where the batch begins: the cursor must be here.
    pub start_offset: i64,
    /// Where the cursor is afterwards.
    pub cursor: Cursor,
    /// New postings.
    pub postings: Vec<PostingRow>,
    /// Orgs as they are afterwards.
    pub orgs: Vec<OrgState>,
    /// Allocations as they are afterwards.
    pub allocations: Vec<(OrgId, Allocation)>,
    /// Outcomes of commands.
    pub commands: Vec<CommandRow>,
    /// Records that were not applied.
    pub quarantine: Vec<QuarantineRow>,
    /// Events that were released from the quarantine.
    pub released: Vec<(OrgId, EventId)>,
    /// Global records, ticks left out.
    pub globals: Vec<GlobalRecord>,
    /// Pricing tiers in force afterwards, if a revision was sealed.
    pub tiers: Vec<std::sync::Arc<PricingTier>>,
}

impl Ledger {
    /// Writes a batch in one transaction.
    ///
    /// # Errors
    /// `Fenced` or `UnexpectedCursor` if the partition is not ours any more. `Database` if Postgres failed: then it is
    /// unknown whether the commit took place, and the state in memory must be thrown away and loaded again.
    pub async fn commit(&self, write: &BatchWrite) -> Result<(), LedgerError> {
        let mut transaction = self.pool.begin().await?;
        check_epoch(&mut transaction, write.partition, write.epoch).await?;
        move_cursor(&mut transaction, write).await?;
        insert_postings(&mut transaction, write).await?;
        upsert_orgs(&mut transaction, write).await?;
        upsert_allocations(&mut transaction, write).await?;
        insert_commands(&mut transaction, write).await?;
        insert_quarantine(&mut transaction, write).await?;
        release(&mut transaction, write).await?;
        insert_globals(&mut transaction, write).await?;
        insert_tiers(&mut transaction, write).await?;
        transaction.commit().await?;
        Ok(())
    }
}

type Tx = Transaction<'static, Postgres>;

/// Locks the epoch until the transaction ends, so that a take-over waits for it.
async fn check_epoch(transaction: &mut Tx, partition: i32, ours: i64) -> Result<(), LedgerError> {
    let found = sqlx::query_scalar!(
        "SELECT epoch FROM control.partition_epochs WHERE log_partition = $1 FOR SHARE",
        partition,
    )
    .fetch_optional(&mut **transaction)
    .await?
    .unwrap_or_default();
    if found == ours { Ok(()) } else { Err(LedgerError::Fenced { partition, ours, found }) }
}

async fn move_cursor(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    let Cursor { next_offset, log_time, last_append_time, last_record_digest, outcomes, counters } =
        &write.cursor;
    let moved = sqlx::query!(
        "INSERT INTO ledger.partition_cursors AS c (log_partition, next_offset, log_time, last_append_time,
             last_record_digest, outcomes_digest, records, debited, commands, rejected, duplicates, quarantined,
             released)
         SELECT $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
         WHERE $2::bigint = 0 OR EXISTS (SELECT FROM ledger.partition_cursors WHERE log_partition = $1)
         ON CONFLICT (log_partition) DO UPDATE SET
             next_offset = $3, log_time = $4, last_append_time = $5, last_record_digest = $6, outcomes_digest = $7,
             records = $8, debited = $9, commands = $10, rejected = $11, duplicates = $12, quarantined = $13,
             released = $14, committed_at = now()
         WHERE c.next_offset = $2::bigint",
        write.partition,
        write.start_offset,
        next_offset,
        to_column(*log_time),
        to_column(*last_append_time),
        last_record_digest.0.as_slice(),
        outcomes.0.as_slice(),
        counters.records,
        counters.debited,
        counters.commands,
        counters.rejected,
        counters.duplicates,
        counters.quarantined,
        counters.released,
    )
    .execute(&mut **transaction)
    .await?;
    if moved.rows_affected() == 1 {
        Ok(())
    } else {
        Err(LedgerError::UnexpectedCursor { partition: write.partition, expected: write.start_offset })
    }
}

#[derive(Default)]
struct PostingColumns {
    org_id: Vec<String>,
    number: Vec<i64>,
    kind: Vec<&'static str>,
    effective_at: Vec<chrono::DateTime<chrono::Utc>>,
    recorded_at: Vec<chrono::DateTime<chrono::Utc>>,
    amount: Vec<Decimal>,
    entries: Vec<Value>,
    event_id: Vec<Option<Uuid>>,
    billing_digest: Vec<Option<Vec<u8>>>,
    command_id: Vec<Option<Uuid>>,
    user_id: Vec<Option<String>>,
    module: Vec<Option<String>>,
    provider: Vec<Option<String>>,
    model: Vec<Option<String>>,
    charge: Vec<Option<Value>>,
    digest: Vec<Vec<u8>>,
    offset: Vec<i64>,
}

impl PostingColumns {
    fn push(&mut self, row: &PostingRow) -> Result<(), LedgerError> {
        let posting = &row.posting;
        let entries =
            serde_json::to_value(&posting.entries).map_err(|error| rows::unreadable("entries", error))?;
        let usage = match &posting.cause {
            Cause::Usage(usage) => Some(usage),
            Cause::Command(..) | Cause::Boundary => None,
        };
        self.org_id.push(posting.org.to_string());
        self.number.push(posting.number);
        self.kind.push(posting.kind.as_str());
        self.effective_at.push(to_column(posting.effective_at));
        self.recorded_at.push(to_column(posting.recorded_at));
        self.amount.push(posting.amount.decimal());
        self.entries.push(entries);
        self.event_id.push(posting.event_id().map(|id| id.0));
        self.billing_digest.push(usage.map(|usage| usage.billing_digest.0.to_vec()));
        self.command_id.push(posting.command_id().map(|id| id.0));
        self.user_id.push(usage.and_then(|usage| usage.event.user_id.as_ref().map(ToString::to_string)));
        self.module.push(usage.map(|usage| usage.event.module.to_string()));
        self.provider.push(usage.map(|usage| usage.event.provider.to_string()));
        self.model.push(usage.map(|usage| usage.event.model().to_string()));
        self.charge.push(usage.map(|usage| rows::charge(usage)));
        self.digest.push(posting.digest.0.to_vec());
        self.offset.push(row.offset);
        Ok(())
    }
}

async fn insert_postings(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.postings.is_empty() {
        return Ok(());
    }
    let mut columns = PostingColumns::default();
    write.postings.iter().try_for_each(|row| columns.push(row))?;
    sqlx::query!(
        "INSERT INTO ledger.credit_transactions (org_id, number, kind, effective_at, recorded_at, amount, entries,
             event_id, billing_digest, command_id, user_id, module, provider, model, charge, digest, log_partition,
             log_offset)
         SELECT unnest($1::text[]), unnest($2::bigint[]), unnest($3::text[]), unnest($4::timestamptz[]),
             unnest($5::timestamptz[]), unnest($6::numeric[]), unnest($7::jsonb[]), unnest($8::uuid[]),
             unnest($9::bytea[]), unnest($10::uuid[]), unnest($11::text[]), unnest($12::text[]), unnest($13::text[]),
             unnest($14::text[]), unnest($15::jsonb[]), unnest($16::bytea[]), $17, unnest($18::bigint[])",
        &columns.org_id,
        &columns.number,
        &columns.kind as _,
        &columns.effective_at,
        &columns.recorded_at,
        &columns.amount,
        &columns.entries,
        &columns.event_id as _,
        &columns.billing_digest as _,
        &columns.command_id as _,
        &columns.user_id as _,
        &columns.module as _,
        &columns.provider as _,
        &columns.model as _,
        &columns.charge as _,
        &columns.digest,
        write.partition,
        &columns.offset,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Orgs are written one by one: a batch touches few compared with its postings.
async fn upsert_orgs(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for org in &write.orgs {
        let totals = &org.totals;
        let out_of_range = |error| rows::unreadable("a total", error);
        let balance = org.balance().map_err(out_of_range)?;
        let overdraft = org.overdraft().map_err(out_of_range)?;
        sqlx::query!(
            "INSERT INTO ledger.organizations (org_id, log_partition, posting_number, head, overdraft_policy, grace_us,
                 balance, overdraft, granted, adjusted, charged, consumed, overdraft_incurred, absorbed, repaid,
                 expired, next_boundary_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (org_id) DO UPDATE SET
                 posting_number = excluded.posting_number, head = excluded.head,
                 overdraft_policy = excluded.overdraft_policy, grace_us = excluded.grace_us,
                 balance = excluded.balance, overdraft = excluded.overdraft, granted = excluded.granted,
                 adjusted = excluded.adjusted, charged = excluded.charged, consumed = excluded.consumed,
                 overdraft_incurred = excluded.overdraft_incurred, absorbed = excluded.absorbed,
                 repaid = excluded.repaid, expired = excluded.expired, next_boundary_at = excluded.next_boundary_at",
            org.org.as_str(),
            write.partition,
            org.number,
            org.head.0.as_slice(),
            org.policy.overdraft.as_str(),
            i64::try_from(org.policy.grace.as_micros()).unwrap_or(i64::MAX),
            balance.decimal(),
            overdraft.decimal(),
            totals.granted.decimal(),
            totals.adjusted.decimal(),
            totals.charged.decimal(),
            totals.consumed.decimal(),
            totals.overdraft_incurred.decimal(),
            totals.absorbed.decimal(),
            totals.repaid.decimal(),
            totals.expired.decimal(),
            org.next_boundary().map(to_column),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn upsert_allocations(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for (org, allocation) in &write.allocations {
        let scope =
            serde_json::to_value(&allocation.scope).map_err(|error| rows::unreadable("a scope", error))?;
        sqlx::query!(
            "INSERT INTO ledger.credit_allocations (org_id, allocation_id, user_id, kind, purchased, priority, scope,
                 effective_at, expires_at, status, granted, adjusted, consumed, repaid, expired, remaining)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
             ON CONFLICT (org_id, allocation_id) DO UPDATE SET
                 status = excluded.status, adjusted = excluded.adjusted, consumed = excluded.consumed,
                 repaid = excluded.repaid, expired = excluded.expired, remaining = excluded.remaining",
            org.as_str(),
            allocation.id.0,
            allocation.account.user().map(ToString::to_string),
            allocation.kind.as_str(),
            allocation.purchased,
            allocation.priority,
            scope,
            to_column(allocation.effective_at),
            allocation.expires_at.map(to_column),
            allocation.status.as_str(),
            allocation.granted.decimal(),
            allocation.adjusted.decimal(),
            allocation.consumed.decimal(),
            allocation.repaid.decimal(),
            allocation.expired.decimal(),
            allocation.remaining.decimal(),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn insert_commands(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for row in &write.commands {
        sqlx::query!(
            "INSERT INTO ledger.commands (org_id, command_id, log_partition, log_offset, kind, payload_digest,
                 rejection, recorded_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            row.org.as_ref().map_or(GLOBAL_ORG, |org| org.as_str()),
            row.command_id.0,
            write.partition,
            row.offset,
            row.kind,
            row.payload_digest.0.as_slice(),
            row.rejection.as_deref(),
            to_column(row.recorded_at),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn insert_quarantine(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for row in &write.quarantine {
        let quarantined = &row.quarantined;
        // Postgres' text cannot hold NUL; a detail may quote what a producer sent.
        let detail = quarantined.detail.replace('\0', "\u{fffd}");
        sqlx::query!(
            "INSERT INTO ledger.quarantine (org_id, log_partition, log_offset, reason, detail, event_id, append_time,
                 key, value)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            quarantined.org.as_ref().map_or("", |org| org.as_str()),
            write.partition,
            row.offset,
            quarantined.reason.as_str(),
            detail,
            quarantined.event_id.map(|id| id.0),
            to_column(row.append_time),
            row.key.as_deref(),
            row.value.as_deref(),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn release(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.released.is_empty() {
        return Ok(());
    }
    let (orgs, ids): (Vec<String>, Vec<Uuid>) =
        write.released.iter().map(|(org, id)| (org.to_string(), id.0)).unzip();
    sqlx::query!(
        "UPDATE ledger.quarantine AS q SET status = 'released'
         FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS event_id) AS r
         WHERE q.org_id = r.org_id AND q.event_id = r.event_id AND q.reason = 'org_not_open' AND q.status = 'waiting'",
        &orgs,
        &ids,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn insert_globals(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for record in &write.globals {
        sqlx::query!(
            "INSERT INTO ledger.global_records (log_partition, log_offset, append_time, value) VALUES ($1, $2, $3, $4)",
            write.partition,
            record.offset,
            to_column(record.append_time),
            record.value.as_slice(),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

/// Every partition seals the same revision; the first one writes its tiers.
async fn insert_tiers(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for tier in &write.tiers {
        let price = &tier.price;
        let aliases: Vec<String> = price.aliases.iter().map(ToString::to_string).collect();
        let prices = serde_json::to_value(&price.usd_per_million_tokens)
            .map_err(|error| rows::unreadable("a price", error))?;
        sqlx::query!(
            "INSERT INTO ledger.credit_pricing_tiers (provider, model, effective_from, revision, aliases,
                 usd_per_million_tokens)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            price.provider.as_str(),
            price.model.as_str(),
            to_column(price.effective_from),
            tier.revision.as_str(),
            &aliases,
            prices,
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
