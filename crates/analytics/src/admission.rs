//! What admission needs to know of the past, as of an offset: rows of later records are not seen, even if they are
//! there already.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use clickhouse::Row;
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::time::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::rows::KeptRow;
use crate::{Analytics, AnalyticsError, KeptKind, KeptRecord, StoredUsage};

/// A statement with so many ids may have so many bytes.
pub(crate) const MAX_QUERY_SIZE: (&str, &str) = ("max_query_size", "64000000");
/// So many ids are asked for in one statement.
const MAX_IDS: usize = 50_000;
const KEPT_COLUMNS: &str = "log_partition, log_offset, appended_at, kind, record_key, record_value, event_id, command_id, \
                            payload_digest";

/// What a batch needs to know of the past, beside what is kept for all batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// Events that may have been admitted before.
    pub events: BTreeSet<EventId>,
    /// Commands that may have been given before.
    pub commands: BTreeSet<CommandId>,
    /// Events that records of the batch correct, supersede or release.
    pub watched: BTreeSet<EventId>,
    /// Events that records of the batch release from the quarantine.
    pub released: BTreeSet<EventId>,
}

/// What was found of it. Orgs may share an id, so there may be some of other orgs among it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// Events that were admitted, by revision.
    pub events: Vec<KnownEvent>,
    /// Commands that were carried out or rejected.
    pub commands: Vec<KnownCommand>,
    /// The usage of watched events and its charge, as it is now.
    pub usage: Vec<StoredUsage>,
    /// Usage that was put into the quarantine under the ids to be released, in the order of the log.
    pub quarantined: Vec<KeptRecord>,
}

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

/// A command that was carried out or rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCommand {
    /// Whose.
    pub org: OrgId,
    /// Which.
    pub command: CommandId,
    /// Digest of its payload.
    pub payload_digest: Digest,
}

#[derive(Row, Deserialize)]
struct EventRow {
    org_id: String,
    event_key: u128,
    revision: u8,
    billing_digest: [u8; 32],
}

#[derive(Row, Deserialize)]
struct CommandRow {
    org_id: String,
    #[serde(with = "clickhouse::serde::uuid")]
    command_id: Uuid,
    payload_digest: [u8; 32],
}

impl Analytics {
    /// The records before offset `before` of a partition that later admission depends on whatever comes, in the order of
    /// the log: global ones, which orgs are open, usage of orgs that are not, and corrections whose events have not come.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn kept_records(&self, partition: i32, before: i64) -> Result<Vec<KeptRecord>, AnalyticsError> {
        let mine = Mine { partition, before };
        let corrections = format!("FROM admission_records WHERE {mine} AND kind = 'waiting_correction'");
        self.kept(
            &format!(
                "kind IN ('global', 'opening') OR (kind = 'waiting' AND record_key NOT IN \
             (SELECT record_key FROM admission_records WHERE {mine} AND kind = 'opening')) \
             OR (kind = 'waiting_correction' AND (record_key, toUInt128(event_id)) NOT IN \
             (SELECT toString(org_id), event_key FROM admitted_events WHERE {mine} \
             AND event_key IN (SELECT toUInt128(event_id) {corrections})))"
            ),
            mine,
        )
        .await
    }

    async fn kept(&self, condition: &str, mine: Mine) -> Result<Vec<KeptRecord>, AnalyticsError> {
        let sql = format!(
            "SELECT {KEPT_COLUMNS} FROM admission_records WHERE {mine} AND ({condition}) \
             ORDER BY log_offset LIMIT 1 BY log_offset"
        );
        let rows: Vec<KeptRow> = self.rows("admission_records", &sql).await?;
        rows.into_iter().map(kept).collect()
    }

    async fn rows<T>(&self, table: &str, sql: &str) -> Result<Vec<T>, AnalyticsError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let (name, value) = MAX_QUERY_SIZE;
        let query = self.client.query_raw(sql).with_setting(name, value);
        self.answer(&format!("read {table}"), query.fetch_all()).await
    }

    /// What is known of these events and commands from records before offset `before` of a partition.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn load(&self, partition: i32, before: i64, needed: &Needed) -> Result<Loaded, AnalyticsError> {
        let mine = Mine { partition, before };
        let mut loaded = Loaded::default();
        for ids in chunks(needed.events.iter().map(|id| id.0)) {
            let sql = format!(
                "SELECT org_id, event_key, revision, billing_digest FROM admitted_events WHERE {mine} \
                 AND event_key IN {}",
                keys(&ids)
            );
            for row in self.rows::<EventRow>("admitted_events", &sql).await? {
                loaded.events.push(row.try_into()?);
            }
        }
        for ids in chunks(needed.commands.iter().map(|id| id.0)) {
            let sql = format!(
                "SELECT record_key AS org_id, command_id, payload_digest FROM admission_records WHERE {mine} \
                 AND command_id IN {}",
                uuids(&ids)
            );
            for row in self.rows::<CommandRow>("admission_records", &sql).await? {
                loaded.commands.push(row.try_into()?);
            }
        }
        for ids in chunks(needed.watched.iter().map(|id| id.0)) {
            // Of each event the latest row, found through the place of its rows.
            let rows = format!(
                "SELECT * FROM credit_usage_log WHERE {mine} AND row_sign >= 0 \
                 AND (org_id, occurred_at, toUInt128(event_id)) IN \
                 (SELECT toString(org_id), occurred_at, event_key FROM admitted_events WHERE {mine} \
                 AND event_key IN {}) ORDER BY charge_revision DESC LIMIT 1 BY org_id, event_id",
                keys(&ids)
            );
            loaded.usage.extend(self.stored_usage(&rows).await?);
        }
        for ids in chunks(needed.released.iter().map(|id| id.0)) {
            let condition = format!(
                "(kind = 'quarantined' OR (kind = 'waiting' AND record_key IN \
                 (SELECT record_key FROM admission_records WHERE {mine} AND kind = 'opening'))) \
                 AND event_id IN {}",
                uuids(&ids)
            );
            loaded.quarantined.extend(self.kept(&condition, mine).await?);
        }
        Ok(loaded)
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

/// The rows that an answer may depend on: those of earlier records of the same partition.
#[derive(Clone, Copy)]
struct Mine {
    partition: i32,
    before: i64,
}

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log_partition = {} AND log_offset < {}", self.partition, self.before)
    }
}

fn chunks(ids: impl Iterator<Item = Uuid>) -> Vec<Vec<Uuid>> {
    let ids: Vec<Uuid> = ids.collect();
    ids.chunks(MAX_IDS).map(<[Uuid]>::to_vec).collect()
}

/// Ids as numbers.
fn keys(ids: &[Uuid]) -> String {
    literal("toUInt128", ids.iter().map(Uuid::as_u128))
}

/// Ids as UUIDs.
fn uuids(ids: &[Uuid]) -> String {
    literal("toUUID", ids.iter())
}

/// The ids travel as one literal: as a list of literals they would be slow to parse, and as a parameter too long for a
/// field of the server's forms.
fn literal(convert: &str, ids: impl Iterator<Item = impl fmt::Display>) -> String {
    let mut list = String::new();
    for id in ids {
        let separator = if list.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        _ = write!(list, "{separator}{id}");
    }
    format!("(SELECT arrayJoin(arrayMap(id -> {convert}(id), splitByChar(',', '{list}'))))")
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
        event: (!row.event_id.is_nil()).then_some(EventId(row.event_id)),
        command: (!row.command_id.is_nil())
            .then_some((CommandId(row.command_id), Digest(row.payload_digest))),
    })
}

fn org_id(table: &'static str, text: &str) -> Result<OrgId, AnalyticsError> {
    OrgId::new(text).map_err(|error| AnalyticsError::BadRow { table, reason: error.to_string() })
}

impl TryFrom<EventRow> for KnownEvent {
    type Error = AnalyticsError;

    fn try_from(row: EventRow) -> Result<Self, AnalyticsError> {
        Ok(Self {
            org: org_id("admitted_events", &row.org_id)?,
            event: EventId(Uuid::from_u128(row.event_key)),
            billing_digest: Digest(row.billing_digest),
            revision: i32::from(row.revision),
        })
    }
}

impl TryFrom<CommandRow> for KnownCommand {
    type Error = AnalyticsError;

    fn try_from(row: CommandRow) -> Result<Self, AnalyticsError> {
        Ok(Self {
            org: org_id("admission_records", &row.org_id)?,
            command: CommandId(row.command_id),
            payload_digest: Digest(row.payload_digest),
        })
    }
}
