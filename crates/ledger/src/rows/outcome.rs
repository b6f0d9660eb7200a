use chrono::{DateTime, Utc};
use fluxori_core::digest::Digest;
use uuid::Uuid;

use super::{storable, to_column};
use crate::GLOBAL_ORG;
use crate::commit::{CommandRow, QuarantineRow};
use crate::content::{RowKey, RowText, quarantine_key};

/// The columns of a command's outcome.
pub(crate) struct CommandColumns {
    pub(crate) org_id: String,
    pub(crate) command_id: Uuid,
    pub(crate) log_partition: i32,
    pub(crate) log_offset: i64,
    pub(crate) kind: String,
    pub(crate) payload_digest: Vec<u8>,
    pub(crate) rejection: Option<String>,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) reference: Option<String>,
    pub(crate) recorded_at: DateTime<Utc>,
}

impl CommandColumns {
    pub(crate) fn of(row: &CommandRow, partition: i32) -> Self {
        Self {
            org_id: row.org.as_ref().map_or(GLOBAL_ORG, |org| org.as_str()).to_owned(),
            command_id: row.command_id.0,
            log_partition: partition,
            log_offset: row.offset,
            kind: row.kind.to_owned(),
            payload_digest: row.payload_digest.0.to_vec(),
            rejection: row.rejection.as_deref().map(storable),
            actor: storable(&row.actor),
            reason: storable(&row.reason),
            reference: row.reference.as_deref().map(storable),
            recorded_at: to_column(row.recorded_at),
        }
    }

    /// The row in words, to be compared. The words of a rejection are left out: they may differ between builds.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        let mut text = RowText::default();
        text.put("log_offset", self.log_offset)
            .put("kind", &self.kind)
            .put_bytes("payload_digest", Some(&self.payload_digest))
            .put("rejected", self.rejection.is_some())
            .put("actor", &self.actor)
            .put("reason", &self.reason)
            .put_some("reference", self.reference.as_deref())
            .put_time("recorded_at", Some(self.recorded_at));
        let what = format!("command {}", self.command_id);
        (RowKey::new(&self.org_id, Some(self.log_partition), what), text)
    }
}

/// The columns of a quarantined record that are compared; of its bytes the digests. The detail is left out: its
/// wording may differ between builds.
pub(crate) struct QuarantineColumns {
    pub(crate) org_id: String,
    pub(crate) log_partition: i32,
    pub(crate) log_offset: i64,
    pub(crate) reason: String,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) append_time: DateTime<Utc>,
    pub(crate) key_digest: Option<Vec<u8>>,
    pub(crate) value_digest: Option<Vec<u8>>,
    pub(crate) status: String,
}

impl QuarantineColumns {
    /// The row of a record that waits.
    pub(crate) fn of(row: &QuarantineRow, partition: i32) -> Self {
        let quarantined = &row.quarantined;
        let digest = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| Digest::of(bytes).0.to_vec());
        Self {
            org_id: quarantined.org.as_ref().map_or("", |org| org.as_str()).to_owned(),
            log_partition: partition,
            log_offset: row.offset,
            reason: quarantined.reason.as_str().to_owned(),
            event_id: quarantined.event.map(|(id, _)| id.0),
            append_time: to_column(row.append_time),
            key_digest: digest(&row.key),
            value_digest: digest(&row.value),
            status: WAITING.to_owned(),
        }
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        // Which of these two it is, is a library's word and may change with it.
        let reason = match self.reason.as_str() {
            "malformed" | "invalid" => "malformed or invalid",
            reason => reason,
        };
        let mut text = RowText::default();
        text.put("reason", reason)
            .put_some("event_id", self.event_id)
            .put_time("append_time", Some(self.append_time))
            .put_bytes("digest of the key", self.key_digest.as_deref())
            .put_bytes("digest of the value", self.value_digest.as_deref())
            .put(STATUS, &self.status);
        (quarantine_key(&self.org_id, self.log_partition, self.log_offset), text)
    }
}

/// The column that a release changes, and its values.
pub(crate) const STATUS: &str = "status";
pub(crate) const WAITING: &str = "waiting";
pub(crate) const RELEASED: &str = "released";
pub(crate) const DISMISSED: &str = "dismissed";
