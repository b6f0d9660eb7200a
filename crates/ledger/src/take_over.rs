//! Taking a partition over: a new epoch, the cursor, and what the fold starts from.

use std::pin::pin;
use std::time::Duration;

use fluxori_core::fold::Counters;
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;

use crate::Ledger;
use crate::commit::{Cursor, GlobalRecord};
use crate::error::LedgerError;
use crate::rows;

/// A commit that takes so long is taken for frozen by whoever waits for it.
const FROZEN: Duration = Duration::from_secs(5);

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
    /// cursor, global records and boundaries. Waits for a commit of the former owner that is under way, and ends it if it
    /// does not end by itself: its owner may be frozen.
    pub async fn take_over(&self, partition: i32, owner: &str) -> Result<TakenOver, LedgerError> {
        let mut transaction = self.pool.begin().await?;
        let backend =
            sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "pid!""#).fetch_one(&mut *transaction).await?;
        let epoch = {
            let raised = sqlx::query_scalar!(
                "INSERT INTO control.partition_epochs (ledger, log_partition, epoch, owner)
                 VALUES (current_schema(), $1, 1, $2)
                 ON CONFLICT (ledger, log_partition) DO UPDATE
                 SET epoch = partition_epochs.epoch + 1, owner = excluded.owner, taken_at = now()
                 RETURNING epoch",
                partition,
                owner,
            )
            .fetch_one(&mut *transaction);
            let mut raised = pin!(raised);
            loop {
                match tokio::time::timeout(FROZEN, &mut raised).await {
                    Ok(epoch) => break epoch?,
                    Err(_) => self.end_whoever_blocks(partition, backend).await,
                }
            }
        };
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

    /// Ends the sessions that a session of ours has been waiting for, if their transactions are older than a commit
    /// ever takes. A session in the middle of a COPY that hears no more from its client waits for ever: no time-out of
    /// Postgres 15 ends it, and it holds the epoch. Whom it hits has an unknown commit, and begins anew from what is
    /// stored.
    async fn end_whoever_blocks(&self, partition: i32, backend: i32) {
        let ended = sqlx::query_scalar!(
            r#"SELECT pg_terminate_backend(pid) AS "ended!" FROM pg_stat_activity
               WHERE pid = ANY(pg_blocking_pids($1)) AND xact_start < now() - make_interval(secs => $2)"#,
            backend,
            FROZEN.as_secs_f64(),
        )
        .fetch_all(&self.pool)
        .await;
        match ended {
            Ok(ended) => tracing::warn!(partition, sessions = ended.len(), "ended commits of a frozen owner"),
            Err(error) => tracing::warn!(partition, %error, "waiting for a commit of the former owner"),
        }
    }
}
