//! Writing a batch: one transaction that checks the epoch, writes everything and moves the cursor.

mod copy;
mod outcomes;
mod postings;
mod states;

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, Counters, OrgState, Outcome, PlanState, Quarantined};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::posting::{Cause, Posting};
use fluxori_core::rates::PricingTier;
use fluxori_core::record::{Body, Record};
use fluxori_core::time::Timestamp;
use sqlx::{Postgres, Transaction};

use self::copy::CopyRows;
use self::states::Touched;
use crate::Ledger;
use crate::error::LedgerError;
use crate::rows::to_column;

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
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it refers to elsewhere.
    pub reference: Option<String>,
    /// The log's time when it was applied.
    pub recorded_at: Timestamp,
}

impl CommandRow {
    /// What became of a record that is a new command; none for every other record.
    #[must_use]
    pub fn of(record: &Record, outcome: &Outcome, offset: i64, recorded_at: Timestamp) -> Option<Self> {
        let Body::Command(signed) = &record.body else { return None };
        let (org, kind, payload_digest, rejection) = match outcome {
            Outcome::Command { org, kind, payload_digest, rejection, .. } => {
                (Some(org.clone()), *kind, *payload_digest, rejection)
            }
            Outcome::Global(global) => (None, global.kind, global.payload_digest, &global.rejection),
            Outcome::Debited
            | Outcome::Superseded
            | Outcome::Tick
            | Outcome::Duplicate(_)
            | Outcome::Quarantined(_) => {
                return None;
            }
        };
        let command = &signed.command;
        Some(Self {
            org,
            command_id: command.command_id,
            offset,
            kind: kind.as_str(),
            payload_digest,
            rejection: rejection.as_ref().map(|rejection| rejection.0.clone()),
            actor: command.actor.clone(),
            reason: command.reason.clone(),
            reference: command.reference.clone(),
            recorded_at,
        })
    }
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
    /// Plans that changed.
    pub plans: Vec<(OrgId, Option<PlanState>)>,
    /// Allocations as they are afterwards.
    pub allocations: Vec<(OrgId, Allocation)>,
    /// Outcomes of commands.
    pub commands: Vec<CommandRow>,
    /// Records that were not applied.
    pub quarantine: Vec<QuarantineRow>,
    /// Events that were released from the quarantine, and their billing digests.
    pub released: Vec<(OrgId, EventId, Digest)>,
    /// Offsets of records in the quarantine that were dismissed.
    pub dismissed: Vec<(OrgId, i64)>,
    /// Corrections that wait for their event: whose, which event, at which offset, and the record's value.
    pub waiting_corrections: Vec<(OrgId, EventId, i64, Vec<u8>)>,
    /// Events that came and took the correction that waited for them.
    pub corrected: Vec<(OrgId, EventId)>,
    /// Global records, ticks left out.
    pub globals: Vec<GlobalRecord>,
    /// Pricing tiers in force afterwards, if a revision was sealed.
    pub tiers: Vec<std::sync::Arc<PricingTier>>,
}

/// The events that came and took the correction that waited for them: their debits are followed by it.
#[must_use]
pub fn corrected(postings: &[PostingRow]) -> Vec<(OrgId, EventId)> {
    let pairs = postings.iter().zip(postings.iter().skip(1));
    let corrected = pairs.filter_map(|(debit, next)| match (&debit.posting.cause, &next.posting.cause) {
        (Cause::Usage(usage), Cause::Correction(correction, _))
            if debit.offset == next.offset && correction.event_id == usage.event.event_id =>
        {
            Some((debit.posting.org.clone(), correction.event_id))
        }
        _ => None,
    });
    corrected.collect()
}

/// A batch's postings as Postgres takes them. The postings themselves are not needed any more.
#[derive(Debug)]
pub struct EncodedPostings {
    rows: CopyRows,
    touched: Touched,
}

impl BatchWrite {
    /// Encodes the postings, which needs no connection and can be done while another batch is committed.
    ///
    /// # Errors
    /// `Unreadable` if a value cannot be stored.
    pub fn encode_postings(&self) -> Result<EncodedPostings, LedgerError> {
        Ok(EncodedPostings { rows: postings::rows(self)?, touched: Touched::by(self) })
    }
}

impl Ledger {
    /// Writes a batch in one transaction: encodes its postings, then [`Ledger::commit_encoded`].
    ///
    /// # Errors
    /// `Fenced` or `UnexpectedCursor` if the partition is not ours any more. `Database` if Postgres failed: then it is
    /// unknown whether the commit took place, and the state in memory must be thrown away and loaded again.
    pub async fn commit(&self, write: &BatchWrite) -> Result<(), LedgerError> {
        self.commit_encoded(write, &write.encode_postings()?).await
    }

    /// Writes a batch, whose postings these are, in one transaction; [`BatchWrite::postings`] is not looked at.
    ///
    /// # Errors
    /// As [`Ledger::commit`].
    pub async fn commit_encoded(
        &self,
        write: &BatchWrite,
        postings: &EncodedPostings,
    ) -> Result<(), LedgerError> {
        let mut transaction = self.pool.begin().await?;
        check_epoch(&mut transaction, write.partition, write.epoch).await?;
        move_cursor(&mut transaction, write).await?;
        postings::insert(&mut transaction, &postings.rows).await?;
        states::write_orgs(&mut transaction, write, &postings.touched).await?;
        states::upsert_plans(&mut transaction, write).await?;
        states::write_allocations(&mut transaction, write, &postings.touched).await?;
        outcomes::insert_commands(&mut transaction, write).await?;
        outcomes::insert_quarantine(&mut transaction, write).await?;
        outcomes::release(&mut transaction, write).await?;
        outcomes::dismiss(&mut transaction, write).await?;
        outcomes::keep_corrections(&mut transaction, write).await?;
        outcomes::insert_globals(&mut transaction, write).await?;
        outcomes::insert_tiers(&mut transaction, write).await?;
        transaction.commit().await?;
        Ok(())
    }
}

type Tx = Transaction<'static, Postgres>;

/// Locks the epoch until the transaction ends, so that a take-over waits for it.
async fn check_epoch(transaction: &mut Tx, partition: i32, ours: i64) -> Result<(), LedgerError> {
    let found = sqlx::query_scalar!(
        "SELECT epoch FROM control.partition_epochs
         WHERE ledger = current_schema() AND log_partition = $1 FOR SHARE",
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
        "INSERT INTO partition_cursors AS c (log_partition, next_offset, log_time, last_append_time,
             last_record_digest, outcomes_digest, records, debited, commands, rejected, duplicates, quarantined,
             released, superseded)
         SELECT $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
         WHERE $2::bigint = 0 OR EXISTS (SELECT FROM partition_cursors WHERE log_partition = $1)
         ON CONFLICT (log_partition) DO UPDATE SET
             next_offset = $3, log_time = $4, last_append_time = $5, last_record_digest = $6, outcomes_digest = $7,
             records = $8, debited = $9, commands = $10, rejected = $11, duplicates = $12, quarantined = $13,
             released = $14, superseded = $15, committed_at = now()
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
        counters.superseded,
    )
    .execute(&mut **transaction)
    .await?;
    if moved.rows_affected() == 1 {
        Ok(())
    } else {
        Err(LedgerError::UnexpectedCursor { partition: write.partition, expected: write.start_offset })
    }
}
