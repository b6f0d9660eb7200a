//! Inserting a range, once and for all.
//!
//! The insert into a table carries a deduplication token that only the range decides ([`LogRange::token`]), and the
//! server passes it on to the tables behind materialized views. An insert is not atomic across the partitions of a
//! table nor across the views behind it: one that broke off may have written some of their parts. The same insert
//! again writes those that are missing and none that are there, because every part was noted with the token. This
//! holds for as many later inserts as `non_replicated_deduplication_window` says.

use std::time::Duration;

use clickhouse::RowWrite;
use clickhouse::error::Error;

use crate::arrivals::{ActivityRow, NumbersRow, activity, numbers};
use crate::rows::{KeptRow, UsageRow};
use crate::{Analytics, AnalyticsError, LogRange, RangeRows};

/// Each chunk of data is taken in this time, and the end of an insert, with all views, is answered in it.
const SEND: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(60);

/// What makes an insert count once: in one piece per partition, at once, with its views, each noting the token.
const ONCE: [(&str, &str); 6] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("materialized_views_ignore_errors", "0"),
    ("max_insert_threads", "1"),
    ("max_partitions_per_insert_block", "1000"),
];

/// What was sent; rows that were there already are among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inserted {
    /// Rows for `credit_usage_log`.
    pub usage: usize,
    /// Rows for `admission_records`.
    pub kept: usize,
}

impl Analytics {
    /// Inserts the rows of a range. However often it is called with a range, at once or after a failure, its rows count
    /// once, in the tables and behind their views. After an error, call it again with the same rows.
    ///
    /// # Errors
    /// [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`]; what was written until then stays.
    pub async fn insert_range(&self, range: &LogRange, rows: &RangeRows) -> Result<Inserted, AnalyticsError> {
        let kept = rows.kept.iter().map(|record| KeptRow::new(range.partition, record));
        self.insert::<KeptRow>(range, "admission_records", kept).await?;
        let (numbers, activity) = (numbers(&rows.arrivals), activity(&rows.arrivals));
        self.insert::<NumbersRow<'_>>(range, "producer_numbers", numbers.into_iter()).await?;
        self.insert::<ActivityRow<'_>>(range, "producer_activity", activity.into_iter()).await?;
        let usage = rows.usage.iter().map(|at| UsageRow::new(range.partition, at));
        self.insert::<UsageRow<'_>>(range, "credit_usage_log", usage).await?;
        Ok(Inserted { usage: rows.usage.len(), kept: rows.kept.len() })
    }

    async fn insert<'r, T: RowWrite>(
        &self,
        range: &LogRange,
        table: &str,
        rows: impl ExactSizeIterator<Item = T::Value<'r>>,
    ) -> Result<(), AnalyticsError> {
        if rows.len() == 0 {
            return Ok(());
        }
        let insert = async {
            let mut insert = self.client.insert::<T>(table).await?.with_timeouts(Some(SEND), Some(END));
            for (name, value) in ONCE {
                insert = insert.with_setting(name, value);
            }
            insert = insert.with_setting("insert_deduplication_token", range.token(table));
            for row in rows {
                insert.write(&row).await?;
            }
            insert.end().await
        };
        insert.await.map_err(|error: Error| self.sort(&format!("insert into {table}"), &error))
    }
}
