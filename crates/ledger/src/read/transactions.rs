use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, OrgId, ReservationId};
use fluxori_core::posting::Entry;
use fluxori_core::time::Timestamp;
use serde_json::Value;

use crate::rows::posting::TransactionRow;
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
    /// Which feature of it.
    pub feature: Option<String>,
    /// Who served the model.
    pub provider: Option<String>,
    /// The model that was asked for.
    pub request_model: Option<String>,
    /// The model that answered, where it is known; else the one that was asked for.
    pub model: Option<String>,
    /// How certain the usage's quantities are: `exact`, `at_least` or `unknown`.
    pub certainty: Option<String>,
    /// The usage's revision, from 1.
    pub revision: Option<i32>,
    /// The hold that the usage settles.
    pub reservation_id: Option<ReservationId>,
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
        let rows = sqlx::query_as!(
            TransactionRow,
            "SELECT org_id, number, kind, effective_at, recorded_at, amount, entries, event_id, billing_digest, command_id,
                    user_id, module, feature, provider, request_model, model, certainty, revision, reservation_id,
                    charge, split, subject_digest, digest, log_partition, log_offset
             FROM credit_transactions WHERE org_id = $1 AND number < $2
             ORDER BY number DESC LIMIT $3",
            org.as_str(),
            before.unwrap_or(i64::MAX),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(TransactionRow::read).collect()
    }
}
