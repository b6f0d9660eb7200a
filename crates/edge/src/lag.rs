//! How far the ledger is behind the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fluxori_core::time::Timestamp;
use fluxori_stream::LogReader;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

/// A watermark is asked for again when it is older.
const FRESH: Duration = Duration::from_secs(1);
/// An answer does not wait longer for Kafka than this.
const PATIENCE: Duration = Duration::from_millis(300);

/// How far the ledger is behind the log in the org's partition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Lag {
    /// Records that are not applied yet, as of a second ago at most; null if Kafka does not say.
    records: Option<i64>,
    /// Seconds since the ledger's last commit while records wait, 0 if none do; null if that is not known.
    seconds: Option<f64>,
}

impl Lag {
    /// `high` is the log's watermark, `next_offset` and `committed_at` the ledger's cursor.
    pub(crate) fn new(
        high: Option<i64>,
        next_offset: i64,
        committed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let records = high.map(|high| high.saturating_sub(next_offset).max(0));
        let since = |at: Timestamp| {
            let micros = u64::try_from(now.micros().saturating_sub(at.micros())).unwrap_or(0);
            Duration::from_millis(micros / 1_000).as_secs_f64()
        };
        let seconds = match records {
            None => None,
            Some(0) => Some(0.0),
            Some(_) => committed_at.map(since),
        };
        Self { records, seconds }
    }
}

/// The log's high watermarks, asked for at most once a second each, by all requests together.
#[derive(Debug)]
pub(crate) struct Watermarks {
    reader: LogReader,
    marks: Mutex<HashMap<i32, watch::Receiver<Option<Mark>>>>,
}

/// A watermark and when it was read; no offset if Kafka did not answer.
#[derive(Debug, Clone, Copy)]
struct Mark {
    high: Option<i64>,
    read_at: Instant,
}

impl Watermarks {
    pub(crate) fn new(reader: LogReader) -> Self {
        Self { reader, marks: Mutex::default() }
    }

    /// The offset that the next record of the partition will get; none if Kafka does not say in time.
    pub(crate) async fn high(self: &Arc<Self>, partition: i32) -> Option<i64> {
        let mut mark = self.mark(partition);
        let read = tokio::time::timeout(PATIENCE, mark.wait_for(Option::is_some)).await;
        read.ok()?.ok()?.and_then(|mark| mark.high)
    }

    /// A fresh mark, or one that is on its way.
    fn mark(self: &Arc<Self>, partition: i32) -> watch::Receiver<Option<Mark>> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mark) = marks.get(&partition)
            && mark.borrow().is_none_or(|mark| mark.read_at.elapsed() < FRESH)
        {
            return mark.clone();
        }
        let (sender, receiver) = watch::channel(None);
        marks.insert(partition, receiver.clone());
        let watermarks = Arc::clone(self);
        // Not the request's own work: it goes on for the others when the request is cut.
        tokio::spawn(async move {
            let read = watermarks.reader.watermarks(partition).await;
            if let Err(error) = &read {
                tracing::debug!(%error, partition, "no watermark");
            }
            let high = read.ok().map(|watermarks| watermarks.high);
            sender.send_replace(Some(Mark { high, read_at: Instant::now() }));
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_seconds_only_while_records_wait() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let lag = |high, next, committed| Lag::new(high, next, committed, at(100));
        assert_eq!(lag(Some(7), 7, Some(at(40))), Lag { records: Some(0), seconds: Some(0.0) });
        assert_eq!(lag(Some(9), 7, Some(at(40))), Lag { records: Some(2), seconds: Some(60.0) });
        assert_eq!(lag(Some(9), 0, None), Lag { records: Some(9), seconds: None });
        assert_eq!(lag(None, 7, Some(at(40))), Lag { records: None, seconds: None });
        // A watermark read before the cursor, and a database whose clock runs ahead.
        assert_eq!(lag(Some(5), 7, None).records, Some(0));
        assert_eq!(lag(Some(9), 7, Some(at(101))).seconds, Some(0.0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_kafka_the_answer_comes_all_the_same_and_one_question_is_on_its_way() {
        let watermarks = Arc::new(Watermarks::new(LogReader::new("127.0.0.1:1", "nowhere").unwrap()));
        let started = Instant::now();
        let (first, second) = tokio::join!(watermarks.high(3), watermarks.high(3));
        assert_eq!((first, second), (None, None));
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(watermarks.mark(3).same_channel(&watermarks.mark(3)));
    }
}
