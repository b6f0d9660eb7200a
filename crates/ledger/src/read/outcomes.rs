use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::time::Timestamp;

use crate::{GLOBAL_ORG, Ledger, LedgerError, rows};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// Which.
    pub command_id: CommandId,
    /// One of [`fluxori_core::command::CommandKind`]'s names.
    pub kind: String,
    /// Digest of its payload.
    pub payload_digest: Digest,
    /// Why it was not carried out; none if it was.
    pub rejection: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it refers to elsewhere.
    pub reference: Option<String>,
    /// The log's time when it was applied.
    pub recorded_at: Timestamp,
    /// The partition of its record.
    pub partition: i32,
    /// The offset of its record.
    pub offset: i64,
}

/// A record that was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// Whose it says it is; none where no org could be read.
    pub org: Option<String>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// One of [`fluxori_core::record::QuarantineReason`]'s names.
    pub reason: String,
    /// Why, in words.
    pub detail: String,
    /// Which event it says it is, where that could be read.
    pub event_id: Option<EventId>,
    /// When it was appended.
    pub append_time: Timestamp,
    /// `waiting` or `released`.
    pub status: String,
}

/// Which quarantined records are wanted; none = any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    /// Of this org.
    pub org: Option<OrgId>,
    /// For this reason.
    pub reason: Option<String>,
    /// In this status.
    pub status: Option<String>,
}

impl Ledger {
    /// What became of a command of an org; none if the ledger has not come to it.
    pub async fn command_outcome(
        &self,
        org: &OrgId,
        command: CommandId,
    ) -> Result<Option<CommandOutcome>, LedgerError> {
        Ok(self.outcomes(org.as_str(), command).await?.into_iter().next())
    }

    /// What became of a global command, in each partition that has come to it.
    pub async fn global_outcomes(&self, command: CommandId) -> Result<Vec<CommandOutcome>, LedgerError> {
        self.outcomes(GLOBAL_ORG, command).await
    }

    async fn outcomes(&self, org: &str, command: CommandId) -> Result<Vec<CommandOutcome>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT kind, payload_digest, rejection, actor, reason, reference, recorded_at, log_partition, log_offset
             FROM commands WHERE org_id = $1 AND command_id = $2 ORDER BY log_partition",
            org,
            command.0,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(CommandOutcome {
                    command_id: command,
                    kind: row.kind,
                    payload_digest: rows::digest(&row.payload_digest)?,
                    rejection: row.rejection,
                    actor: row.actor,
                    reason: row.reason,
                    reference: row.reference,
                    recorded_at: row.recorded_at.into(),
                    partition: row.log_partition,
                    offset: row.log_offset,
                })
            })
            .collect()
    }

    /// Quarantined records, latest first, at most `limit`.
    pub async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        limit: u32,
    ) -> Result<Vec<QuarantinedRecord>, LedgerError> {
        let rows = sqlx::query_as!(
            QuarantinedRow,
            "SELECT org_id, log_partition, log_offset, reason, detail, event_id, append_time, status
             FROM quarantine
             WHERE ($1::text IS NULL OR org_id = $1) AND ($2::text IS NULL OR reason = $2)
                   AND ($3::text IS NULL OR status = $3)
             ORDER BY append_time DESC, log_partition, log_offset DESC LIMIT $4",
            filter.org.as_ref().map(OrgId::as_str),
            filter.reason,
            filter.status,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(QuarantinedRow::read).collect())
    }

    /// The record at one place of the log, if it was quarantined; `org` is whose it says it is, none for a global one.
    pub async fn quarantined_at(
        &self,
        org: Option<&OrgId>,
        partition: i32,
        offset: i64,
    ) -> Result<Option<QuarantinedRecord>, LedgerError> {
        let row = sqlx::query_as!(
            QuarantinedRow,
            "SELECT org_id, log_partition, log_offset, reason, detail, event_id, append_time, status
             FROM quarantine
             WHERE org_id = ANY(ARRAY[$1, '']) AND log_partition = $2 AND log_offset = $3",
            org.map_or("", OrgId::as_str),
            partition,
            offset,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(QuarantinedRow::read))
    }
}

struct QuarantinedRow {
    org_id: String,
    log_partition: i32,
    log_offset: i64,
    reason: String,
    detail: String,
    event_id: Option<uuid::Uuid>,
    append_time: chrono::DateTime<chrono::Utc>,
    status: String,
}

impl QuarantinedRow {
    fn read(self) -> QuarantinedRecord {
        QuarantinedRecord {
            org: Some(self.org_id).filter(|org| !org.is_empty()),
            partition: self.log_partition,
            offset: self.log_offset,
            reason: self.reason,
            detail: self.detail,
            event_id: self.event_id.map(EventId),
            append_time: self.append_time.into(),
            status: self.status,
        }
    }
}
