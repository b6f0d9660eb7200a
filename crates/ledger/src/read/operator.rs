//! Reads of the operators' tool: what a fold starts from, without taking its partition over, for dry runs; and records in
//! the quarantine as they lie in the log.

use std::time::Duration;

use fluxori_core::id::{EventId, OrgId};
use fluxori_core::time::Timestamp;
use sqlx::postgres::PgPoolOptions;

use super::cursors::PartitionCursor;
use crate::commit::GlobalRecord;
use crate::load::{Loaded, Needed};
use crate::{Ledger, LedgerError};

/// A partition and what was asked for of its past, at one moment.
#[derive(Debug)]
pub struct FoldSnapshot {
    /// How far the partition has been applied; none if never.
    pub cursor: Option<PartitionCursor>,
    /// The global records so far, in order: the context is made of them.
    pub globals: Vec<GlobalRecord>,
    /// What was found of what was needed.
    pub loaded: Loaded,
}

impl Ledger {
    /// Everything that the fold of one partition needs, at one moment: what comes out of folding a further record with it is
    /// what the ledger would have booked then.
    pub async fn fold_snapshot(&self, partition: i32, needed: &Needed) -> Result<FoldSnapshot, LedgerError> {
        let moment = self.at_one_moment().await?;
        let cursors = moment.cursors().await?;
        let cursor = cursors.into_iter().find(|cursor| cursor.partition == partition);
        let globals = moment.global_records(partition).await?;
        let loaded = moment.load(needed).await?;
        moment.pool.close().await;
        Ok(FoldSnapshot { cursor, globals, loaded })
    }

    /// The ledger as it is now, whatever is committed meanwhile: its one connection has a transaction open, in which all
    /// reads take place. If the connection or one read fails, so do the reads after it, or they see a later moment: then
    /// nothing that was read may be used.
    pub(super) async fn at_one_moment(&self) -> Result<Self, LedgerError> {
        let options = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .after_connect(|connection, _| {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Box::pin(async move { sqlx::raw_sql(begin).execute(connection).await.map(drop) })
            });
        let pool = options.connect_with((*self.pool.connect_options()).clone()).await?;
        Ok(Self { pool, schema: self.schema.clone() })
    }

    /// The offset of the last global record of a partition; none before the first.
    pub async fn last_global_record(&self, partition: i32) -> Result<Option<i64>, LedgerError> {
        let last = sqlx::query_scalar!(
            "SELECT max(log_offset) FROM global_records WHERE log_partition = $1",
            partition,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(last)
    }

    /// The global records of a partition so far, in order: genesis, keys, rates.
    pub async fn global_records(&self, partition: i32) -> Result<Vec<GlobalRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT log_offset, append_time, value FROM global_records WHERE log_partition = $1
             ORDER BY log_offset",
            partition,
        )
        .fetch_all(&self.pool)
        .await?;
        let record = |offset, append_time, value| GlobalRecord { offset, append_time, value };
        Ok(rows.into_iter().map(|row| record(row.log_offset, row.append_time.into(), row.value)).collect())
    }
}

/// A record in the quarantine, as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedBytes {
    /// Whose it says it is; none where no org could be read.
    pub org: Option<String>,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Ledger {
    /// The bytes of the record at one place of the log, if it is in the quarantine. Asks for no org: the place is unique, and
    /// records whose org could not be read have none.
    pub async fn quarantined_bytes(
        &self,
        partition: i32,
        offset: i64,
    ) -> Result<Option<QuarantinedBytes>, LedgerError> {
        let row = sqlx::query!(
            "SELECT org_id, append_time, key, value FROM quarantine WHERE log_partition = $1 AND log_offset = $2",
            partition,
            offset,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| QuarantinedBytes {
            org: Some(row.org_id).filter(|org| !org.is_empty()),
            append_time: row.append_time.into(),
            key: row.key,
            value: row.value,
        }))
    }

    /// The revision that the charge of an event is at; none if it was not charged.
    pub async fn charge_revision(&self, org: &OrgId, event: EventId) -> Result<Option<i32>, LedgerError> {
        let revision = sqlx::query_scalar!(
            "SELECT max(revision) FROM credit_transactions WHERE org_id = $1 AND event_id = $2",
            org.as_str(),
            event.0,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(revision)
    }
}
