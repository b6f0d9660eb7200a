//! Putting a rebuilt ledger in the place of the live one: one transaction that holds up every commit and take-over of
//! the live ledger, compares both cursors, raises the live epochs and renames the schemas.
//!
//! Whoever wrote the live ledger is fenced by the raised epochs and takes its partitions over again, from the schema that
//! now bears the name. Both stand at the same record, so nothing is lost and nothing applied twice.

use std::collections::BTreeMap;

use fluxori_core::id::OrgId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use crate::error::LedgerError;
use crate::read::{PartitionCursor, cursors_in};
use crate::roles;
use crate::schema::Schema;
use crate::{Ledger, rows};

/// How long the commits under way may keep a promotion waiting.
const LOCK_TIMEOUT: &str = "8s";
/// A promotion whose process is frozen gives the live ledger free after so long.
const SILENCE: &str = "30s";
/// Of all advisory locks, those that keep rebuilds of one schema apart: "rebu" as a number.
const REBUILDS: i32 = 0x7265_6275;

/// A promotion under way: no commit and no take-over of the live ledger gets through until it ends. Dropping it ends it
/// and changes nothing.
#[derive(Debug)]
pub struct Promotion {
    owner: PgConnection,
    live: Schema,
    rebuilt: Schema,
    cursors: Vec<PartitionCursor>,
}

/// What a promotion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// Where the former ledger is now; nobody writes it any more.
    pub former: Schema,
    /// How many partitions' writers were fenced.
    pub fenced: u64,
}

/// Two ledgers beside each other, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// By partition, how many records the rebuilt ledger lacks (negative: has too many); those where both stand at the
    /// same offset are left out.
    pub lags: BTreeMap<i32, i64>,
    /// What else differs, in words.
    pub differences: Vec<String>,
}

impl Promotion {
    /// Holds up the live ledger, the one with the default name, for the promotion of `rebuilt`. `url` is the owner's.
    ///
    /// # Errors
    /// `SchemaBehind`, `SchemaAhead` or `SchemaAltered` if one of the two is not as this build needs it; `NotPromoted`
    /// if a commit does not end in time, `Database` if Postgres failed.
    pub async fn begin(url: &str, rebuilt: &Schema) -> Result<Self, LedgerError> {
        let live = Schema::default();
        if *rebuilt == live {
            return Err(LedgerError::NotPromoted { reason: format!("{rebuilt} is the live ledger itself") });
        }
        for schema in [&live, rebuilt] {
            Ledger::connect_to(url, schema, 1).await?.check_schema().await?;
        }
        let options: PgConnectOptions = url.parse()?;
        let mut owner = options.connect().await?;
        // Take-overs write epochs, commits lock theirs: the first lock keeps out the ones, the second the others.
        let lock = format!(
            "BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
             SET LOCAL idle_in_transaction_session_timeout = '{SILENCE}';
             LOCK TABLE control.partition_epochs IN SHARE ROW EXCLUSIVE MODE"
        );
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut owner).await.map_err(held_up)?;
        sqlx::query(
            "SELECT log_partition FROM control.partition_epochs WHERE ledger = $1 ORDER BY log_partition FOR UPDATE",
        )
        .bind(live.as_str())
        .execute(&mut owner)
        .await
        .map_err(held_up)?;
        let cursors = cursors_of(&mut owner, &live).await?;
        Ok(Self { owner, live, rebuilt: rebuilt.clone(), cursors })
    }

    /// Where the live ledger stands, and will stand until the promotion ends.
    #[must_use]
    pub fn cursors(&self) -> &[PartitionCursor] {
        &self.cursors
    }

    /// The rebuilt ledger beside the live one.
    pub async fn compare(&mut self) -> Result<Comparison, LedgerError> {
        let rebuilt = cursors_of(&mut self.owner, &self.rebuilt).await?;
        let mut comparison = compare_cursors(&self.cursors, &rebuilt);
        if comparison.lags.is_empty() {
            comparison.differences.extend(self.differing_orgs().await?);
        }
        Ok(comparison)
    }

    /// In words, the first org whose head, balance or overdraft differ, and how many there are.
    async fn differing_orgs(&mut self) -> Result<Option<String>, LedgerError> {
        let (live, rebuilt) = (&self.live, &self.rebuilt);
        let query = format!(
            "SELECT min(org_id COLLATE \"C\"), count(*) FROM (
                 SELECT coalesce(l.org_id, r.org_id) AS org_id FROM {live}.organizations l
                 FULL JOIN {rebuilt}.organizations r USING (org_id)
                 WHERE (l.posting_number, l.head, l.balance, l.overdraft)
                       IS DISTINCT FROM (r.posting_number, r.head, r.balance, r.overdraft)
             ) AS differing"
        );
        let (first, count): (Option<String>, i64) =
            sqlx::query_as(AssertSqlSafe(query)).fetch_one(&mut self.owner).await?;
        let Some(first) = first.as_deref().map(rows::org_id).transpose()? else { return Ok(None) };
        Ok(Some(differing_orgs(&first, count)))
    }

    /// Puts the rebuilt ledger in the live one's place, if both stand at the same record of every partition.
    /// `accept_differences` takes it also where it says otherwise than the live one, which may be why it was rebuilt, or has
    /// applied more, as where the live one was lost.
    ///
    /// # Errors
    /// `NotPromoted` with the reason; then, and where Postgres failed, nothing has changed. Where the answer to the last
    /// statement was lost, it may have.
    pub async fn finish(mut self, accept_differences: bool) -> Result<Promoted, LedgerError> {
        let Comparison { lags, differences } = self.compare().await?;
        // One that has applied more is as good, if that was asked for.
        let lag = lags.into_iter().find(|(_, lag)| *lag > 0 || !accept_differences);
        if let Some((partition, lag)) = lag {
            let (records, side) = (lag.abs(), if lag > 0 { "behind" } else { "ahead of" });
            let reason = format!(
                "partition {partition} of {} is {records} records {side} {}",
                self.rebuilt, self.live
            );
            return Err(LedgerError::NotPromoted { reason });
        }
        if let (false, Some(difference)) = (accept_differences, differences.first()) {
            return Err(LedgerError::NotPromoted { reason: difference.clone() });
        }
        let Self { mut owner, live, rebuilt, .. } = self;
        let stamp: String = sqlx::query_scalar(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS_MS')",
        )
        .fetch_one(&mut owner)
        .await?;
        let former = Schema::new(&format!("{live}_before_{stamp}"))?;
        let fenced = sqlx::query(
            "UPDATE control.partition_epochs SET epoch = epoch + 1, owner = 'promotion', taken_at = now()
             WHERE ledger = $1",
        )
        .bind(live.as_str())
        .execute(&mut owner)
        .await?
        .rows_affected();
        sqlx::query("DELETE FROM control.partition_epochs WHERE ledger = $1")
            .bind(rebuilt.as_str())
            .execute(&mut owner)
            .await?;
        let rename =
            format!("ALTER SCHEMA {live} RENAME TO {former}; ALTER SCHEMA {rebuilt} RENAME TO {live}");
        sqlx::raw_sql(AssertSqlSafe(rename)).execute(&mut owner).await?;
        roles::grant_ledger(&mut owner, live.as_str()).await?;
        roles::freeze(&mut owner, former.as_str()).await?;
        sqlx::raw_sql("COMMIT").execute(&mut owner).await?;
        owner.close().await?;
        Ok(Promoted { former, fenced })
    }
}

fn held_up(error: sqlx::Error) -> LedgerError {
    // 55P03 lock_not_available.
    if error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03") {
        let reason = format!(
            "a commit of the live ledger has been under way for {LOCK_TIMEOUT}; is a ledger consumer frozen? Try again"
        );
        return LedgerError::NotPromoted { reason };
    }
    error.into()
}

/// Keeps others from rebuilding a schema at the same time, until it is dropped.
#[derive(Debug)]
pub struct RebuildLock {
    _held_by: PgConnection,
}

impl RebuildLock {
    /// `url` is the owner's.
    ///
    /// # Errors
    /// `RebuildUnderWay` if somebody else has it.
    pub async fn take(url: &str, schema: &Schema) -> Result<Self, LedgerError> {
        let options: PgConnectOptions = url.parse()?;
        let mut connection = options.connect().await?;
        let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, hashtext($2))")
            .bind(REBUILDS)
            .bind(schema.as_str())
            .fetch_one(&mut connection)
            .await?;
        if is_ours {
            Ok(Self { _held_by: connection })
        } else {
            Err(LedgerError::RebuildUnderWay { schema: schema.to_string() })
        }
    }
}

async fn cursors_of(owner: &mut PgConnection, schema: &Schema) -> Result<Vec<PartitionCursor>, LedgerError> {
    let search = format!("SET LOCAL search_path TO {schema}");
    sqlx::raw_sql(AssertSqlSafe(search)).execute(&mut *owner).await?;
    cursors_in(owner).await
}

fn compare_cursors(live: &[PartitionCursor], rebuilt: &[PartitionCursor]) -> Comparison {
    let mut comparison = Comparison::default();
    let by_partition = |cursors: &[PartitionCursor]| {
        cursors.iter().map(|c| (c.partition, c.cursor.clone())).collect::<BTreeMap<_, _>>()
    };
    let (live, mut rebuilt) = (by_partition(live), by_partition(rebuilt));
    for (partition, live) in live {
        let Some(rebuilt) = rebuilt.remove(&partition) else {
            comparison.lags.insert(partition, live.next_offset);
            continue;
        };
        if live.next_offset != rebuilt.next_offset {
            comparison.lags.insert(partition, live.next_offset - rebuilt.next_offset);
            continue;
        }
        for (what, equal) in [
            (
                "the last record applied",
                (live.last_append_time, live.last_record_digest)
                    == (rebuilt.last_append_time, rebuilt.last_record_digest),
            ),
            ("the log's time", live.log_time == rebuilt.log_time),
            ("the outcomes of records", live.outcomes == rebuilt.outcomes),
            ("the counts of records", live.counters == rebuilt.counters),
        ] {
            if !equal {
                comparison.differences.push(format!("partition {partition}: {what} differ in both ledgers"));
            }
        }
    }
    comparison.lags.extend(rebuilt.into_iter().map(|(partition, rebuilt)| (partition, -rebuilt.next_offset)));
    comparison
}

fn differing_orgs(first: &OrgId, count: i64) -> String {
    match count {
        1 => format!("org {first}: head, balance or overdraft differ in both ledgers"),
        count => {
            format!("org {first} and {} more: head, balance or overdraft differ in both ledgers", count - 1)
        }
    }
}
