use fluxori_core::digest::Digest;
use fluxori_core::fold::Counters;
use fluxori_core::time::Timestamp;
use sqlx::PgExecutor;

use crate::rows;
use crate::{Cursor, Ledger, LedgerError};

/// How far the ledger has applied a partition, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionCursor {
    /// The partition.
    pub partition: i32,
    /// How far it has been applied.
    pub cursor: Cursor,
    /// When the last batch was committed, by the database's clock.
    pub committed_at: Timestamp,
}

impl PartitionCursor {
    /// Whether the record at `offset` has been applied.
    #[must_use]
    pub const fn has_passed(&self, offset: i64) -> bool {
        self.cursor.next_offset > offset
    }
}

impl Ledger {
    /// The cursors of all partitions that were ever applied, by partition.
    pub async fn cursors(&self) -> Result<Vec<PartitionCursor>, LedgerError> {
        cursors(&self.pool).await
    }
}

pub(crate) async fn cursors<'c>(executor: impl PgExecutor<'c>) -> Result<Vec<PartitionCursor>, LedgerError> {
    let rows = sqlx::query!(
        "SELECT log_partition, next_offset, log_time, last_append_time, last_record_digest, outcomes_digest, records,
                debited, commands, rejected, duplicates, quarantined, released, superseded, committed_at
         FROM partition_cursors ORDER BY log_partition",
    )
    .fetch_all(executor)
    .await?;
    let digest = |bytes: &[u8]| -> Result<Digest, LedgerError> { rows::digest(bytes) };
    rows.into_iter()
        .map(|row| {
            let counters = Counters {
                records: row.records,
                debited: row.debited,
                commands: row.commands,
                rejected: row.rejected,
                duplicates: row.duplicates,
                quarantined: row.quarantined,
                released: row.released,
                superseded: row.superseded,
            };
            let cursor = Cursor {
                next_offset: row.next_offset,
                log_time: row.log_time.into(),
                last_append_time: row.last_append_time.into(),
                last_record_digest: digest(&row.last_record_digest)?,
                outcomes: digest(&row.outcomes_digest)?,
                counters,
            };
            Ok(PartitionCursor {
                partition: row.log_partition,
                cursor,
                committed_at: row.committed_at.into(),
            })
        })
        .collect()
}
