//! What admission needs to know of the past, as of an offset: rows of later records are not seen, even if they are
//! there already.

use std::fmt::Write as _;

use clickhouse::Row;
use fluxori_core::digest::Digest;
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::time::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::rows::KeptRow;
use crate::{Analytics, AnalyticsError, KeptKind, KeptRecord};

/// A statement with so many ids may have so many bytes.
const MAX_QUERY_BYTES: &str = "64000000";
/// So many ids are asked for in one statement.
const MAX_IDS: usize = 50_000;

/// An event that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEvent {
    /// Whose.
    pub org: OrgId,
    /// Which.
    pub event: EventId,
    /// Its billing digest.
    pub billing_digest: Digest,
    /// Its revision, 1 or 2.
    pub revision: i32,
}

#[derive(Row, Deserialize)]
struct EventRow {
    org_id: String,
    event_key: u128,
    billing_digest: [u8; 32],
}

impl Analytics {
    /// The records before offset `before` of a partition that later admission depends on, in the order of the log.
    /// Usage and commands of orgs that were opened since are left out.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn kept_records(&self, partition: i32, before: i64) -> Result<Vec<KeptRecord>, AnalyticsError> {
        let mine = format!("log_partition = {partition} AND log_offset < {before}");
        let sql = format!(
            "SELECT log_partition, log_offset, appended_at, kind, record_key, record_value FROM admission_records \
             WHERE {mine} AND (kind IN ('global', 'opening') OR record_key NOT IN \
             (SELECT record_key FROM admission_records WHERE {mine} AND kind = 'opening')) \
             ORDER BY log_offset LIMIT 1 BY log_offset"
        );
        let rows: Vec<KeptRow> =
            self.answer("read admission_records", self.client.query_raw(&sql).fetch_all()).await?;
        rows.into_iter().map(kept).collect()
    }

    /// Which of these events were admitted by records before offset `before` of a partition. Orgs may share an id.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn known_events(
        &self,
        partition: i32,
        before: i64,
        ids: impl IntoIterator<Item = EventId>,
    ) -> Result<Vec<KnownEvent>, AnalyticsError> {
        let mut keys: Vec<u128> = ids.into_iter().map(|id| id.0.as_u128()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut known = Vec::new();
        for keys in keys.chunks(MAX_IDS) {
            let rows: Vec<EventRow> = {
                let query = self.client.query_raw(&lookup(partition, before, keys));
                let query = query.with_setting("max_query_size", MAX_QUERY_BYTES);
                self.answer("read admitted_events", query.fetch_all()).await?
            };
            for row in rows {
                known.push(row.try_into()?);
            }
        }
        Ok(known)
    }

    /// The last offset of a partition that rows tell of, if there are any.
    ///
    /// # Errors
    /// [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn last_offset(&self, partition: i32) -> Result<Option<i64>, AnalyticsError> {
        let sql = format!(
            "SELECT maxOrNull(last) FROM (SELECT max(log_offset) AS last FROM admission_records \
             WHERE log_partition = {partition} HAVING count() > 0 UNION ALL SELECT max(log_offset) AS last \
             FROM admitted_events WHERE log_partition = {partition} HAVING count() > 0)"
        );
        self.answer("read the last offset", self.client.query_raw(&sql).fetch_one()).await
    }
}

/// The keys travel as one literal: as a list of literals they would be slow to parse, and as a parameter too long for a
/// field of the server's forms.
fn lookup(partition: i32, before: i64, keys: &[u128]) -> String {
    let mut list = String::with_capacity(keys.len() * 40);
    for key in keys {
        let separator = if list.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        _ = write!(list, "{separator}{key}");
    }
    format!(
        "SELECT org_id, event_key, billing_digest FROM admitted_events WHERE log_partition = {partition} \
         AND log_offset < {before} AND event_key IN \
         (SELECT arrayJoin(arrayMap(key -> toUInt128(key), splitByChar(',', '{list}'))))"
    )
}

fn kept(row: KeptRow) -> Result<KeptRecord, AnalyticsError> {
    let bad = || AnalyticsError::BadRow { table: "admission_records", reason: format!("kind {}", row.kind) };
    let kind = KeptKind::from_code(row.kind).ok_or_else(bad)?;
    Ok(KeptRecord {
        offset: row.log_offset,
        append_time: Timestamp::from_micros(row.appended_at),
        kind,
        key: row.record_key.0,
        value: row.record_value.0,
    })
}

impl TryFrom<EventRow> for KnownEvent {
    type Error = AnalyticsError;

    fn try_from(row: EventRow) -> Result<Self, AnalyticsError> {
        let org = OrgId::new(&row.org_id).map_err(|error| AnalyticsError::BadRow {
            table: "admitted_events",
            reason: error.to_string(),
        })?;
        Ok(Self {
            org,
            event: EventId(Uuid::from_u128(row.event_key)),
            billing_digest: Digest(row.billing_digest),
            revision: 1,
        })
    }
}
