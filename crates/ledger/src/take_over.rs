//! Taking a partition over: a new epoch, the cursor, and what the fold starts from.

use fluxori_core::fold::Counters;
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;

use crate::Ledger;
use crate::commit::{Cursor, GlobalRecord};
use crate::error::LedgerError;
use crate::rows;

/// What a new owner of a partition starts from.
#[derive(Debug)]
pub struct TakenOver {
    /// The epoch that its commits must bear.
    pub epoch: i64,
    /// How far the partition has been applied; none if never.
    pub cursor: Option<Cursor>,
    /// The global records so far, in order: the context is made of them.
    pub globals: Vec<GlobalRecord>,
    /// When the next boundary of each org is due.
    pub boundaries: Vec<(Timestamp, OrgId)>,
}

impl Ledger {
    /// Takes a partition over: raises its epoch, which refuses every later commit of whoever had it before, and reads
    /// cursor, global records and boundaries. Waits for a commit of the former owner that is under way.
    pub async fn take_over(&self, partition: i32, owner: &str) -> Result<TakenOver, LedgerError> {
        let mut transaction = self.pool.begin().await?;
        let epoch = sqlx::query_scalar!(
            "INSERT INTO control.partition_epochs (ledger, log_partition, epoch, owner)
             VALUES (current_schema(), $1, 1, $2)
             ON CONFLICT (ledger, log_partition) DO UPDATE
             SET epoch = partition_epochs.epoch + 1, owner = excluded.owner, taken_at = now()
             RETURNING epoch",
            partition,
            owner,
        )
        .fetch_one(&mut *transaction)
        .await?;
        let cursor = sqlx::query!(
            "SELECT next_offset, log_time, last_append_time, last_record_digest, outcomes_digest, records, debited,
                    commands, rejected, duplicates, quarantined, released, superseded
             FROM partition_cursors WHERE log_partition = $1",
            partition,
        )
        .fetch_optional(&mut *transaction)
        .await?
        .map(|row| -> Result<Cursor, LedgerError> {
            Ok(Cursor {
                next_offset: row.next_offset,
                log_time: row.log_time.into(),
                last_append_time: row.last_append_time.into(),
                last_record_digest: rows::digest(&row.last_record_digest)?,
                outcomes: rows::digest(&row.outcomes_digest)?,
                counters: Counters {
                    records: row.records,
                    debited: row.debited,
                    commands: row.commands,
                    rejected: row.rejected,
                    duplicates: row.duplicates,
                    quarantined: row.quarantined,
                    released: row.released,
                    superseded: row.superseded,
                },
            })
        })
        .transpose()?;
        let globals = sqlx::query!(
            "SELECT log_offset, append_time, value FROM global_records WHERE log_partition = $1
             ORDER BY log_offset",
            partition,
        )
        .fetch_all(&mut *transaction)
        .await?
        .into_iter()
        .map(|row| GlobalRecord {
            offset: row.log_offset,
            append_time: row.append_time.into(),
            value: row.value,
        })
        .collect();
        let boundaries = sqlx::query!(
            r#"SELECT org_id, next_boundary_at AS "next_boundary_at!" FROM organizations
               WHERE log_partition = $1 AND next_boundary_at IS NOT NULL"#,
            partition,
        )
        .fetch_all(&mut *transaction)
        .await?
        .into_iter()
        .map(|row| Ok((row.next_boundary_at.into(), rows::org_id(&row.org_id)?)))
        .collect::<Result<_, LedgerError>>()?;
        transaction.commit().await?;
        Ok(TakenOver { epoch, cursor, globals, boundaries })
    }
}
