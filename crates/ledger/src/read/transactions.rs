use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::posting::Entry;
use fluxori_core::time::Timestamp;
use serde_json::Value;

use crate::rows::{self, unreadable};
use crate::{Ledger, LedgerError};

/// A posting as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionRecord {
    /// Gapless per org, from 1.
    pub number: i64,
    /// One of [`fluxori_core::posting::PostingKind`]'s names.
    pub kind: String,
    /// When it took effect.
    pub effective_at: Timestamp,
    /// The log's time when it was booked.
    pub recorded_at: Timestamp,
    /// Credits: charged, granted, opened, repaid, expired or adjusted.
    pub amount: Credits,
    /// The legs.
    pub entries: Vec<Entry>,
    /// The usage that was charged.
    pub event_id: Option<EventId>,
    /// The command that was carried out.
    pub command_id: Option<CommandId>,
    /// Whose usage it was.
    pub user_id: Option<String>,
    /// Which module's.
    pub module: Option<String>,
    /// Who served the model.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// How a debit was priced: status, tier, revision, lines and cost in US dollars.
    pub charge: Option<Value>,
    /// Running digest over all postings of the org up to this one.
    pub digest: Digest,
    /// The partition of the record that made it.
    pub partition: i32,
    /// The offset of that record.
    pub offset: i64,
}

impl Ledger {
    /// The postings of an org, newest first: at most `limit`, with numbers below `before`.
    pub async fn transactions(
        &self,
        org: &OrgId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TransactionRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT number, kind, effective_at, recorded_at, amount, entries, event_id, command_id, user_id, module,
                    provider, model, charge, digest, log_partition, log_offset
             FROM ledger.credit_transactions WHERE org_id = $1 AND number < $2
             ORDER BY number DESC LIMIT $3",
            org.as_str(),
            before.unwrap_or(i64::MAX),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let entries = serde_json::from_value(row.entries);
                Ok(TransactionRecord {
                    number: row.number,
                    kind: row.kind,
                    effective_at: row.effective_at.into(),
                    recorded_at: row.recorded_at.into(),
                    amount: rows::credits(row.amount)?,
                    entries: entries.map_err(|error| unreadable("a posting's entries", error))?,
                    event_id: row.event_id.map(EventId),
                    command_id: row.command_id.map(CommandId),
                    user_id: row.user_id,
                    module: row.module,
                    provider: row.provider,
                    model: row.model,
                    charge: row.charge,
                    digest: rows::digest(&row.digest)?,
                    partition: row.log_partition,
                    offset: row.log_offset,
                })
            })
            .collect()
    }
}
