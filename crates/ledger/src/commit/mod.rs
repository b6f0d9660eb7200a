//! Writing a batch: one transaction that checks the epoch, writes everything and moves the cursor.

mod changes;
mod copy;
mod outcomes;
mod postings;
mod states;

use fluxori_core::digest::Digest;
use fluxori_core::fold::Counters;
use fluxori_core::time::Timestamp;
use sqlx::{Postgres, Transaction};

pub use self::changes::{Changes, CommandRow, GlobalRecord, PostingRow, QuarantineRow, RawRecord};
use self::copy::CopyRows;
pub use self::states::OrgRow;
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
    /// Orgs as they are afterwards, by id.
    pub orgs: Vec<OrgRow>,
    /// What else its records changed.
    pub changes: Changes,
}

/// A batch's postings as Postgres takes them. The postings themselves are not needed any more.
#[derive(Debug)]
pub struct EncodedPostings {
    rows: CopyRows,
    /// Of each org of the batch.
    touched: Vec<Touched>,
}

impl BatchWrite {
    /// Encodes the postings, which needs no connection and can be done while another batch is committed. `spare` is what
    /// is not needed any more: it lends its memory.
    ///
    /// # Errors
    /// `Unreadable` if a value cannot be stored.
    pub fn encode_postings(&self, spare: Option<EncodedPostings>) -> Result<EncodedPostings, LedgerError> {
        let (rows, touched) = postings::encode(self, spare.map(|spare| spare.rows))?;
        Ok(EncodedPostings { rows, touched })
    }
}

impl Ledger {
    /// Writes a batch in one transaction: encodes its postings, then [`Ledger::commit_encoded`].
    ///
    /// # Errors
    /// `Fenced` or `UnexpectedCursor` if the partition is not ours any more. `Database` if Postgres failed: then it is
    /// unknown whether the commit took place, and the state in memory must be thrown away and loaded again.
    pub async fn commit(&self, write: &BatchWrite) -> Result<(), LedgerError> {
        self.commit_encoded(write, &write.encode_postings(None)?).await
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
