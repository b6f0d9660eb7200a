//! One partition at a time: look up, admit, seal, insert, commit.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fluxori_analytics::{Analytics, AnalyticsError, KeptKind, KeptRecord, LogRange, RangeRows};
use fluxori_core::digest::Digest;
use fluxori_core::rates::SharedRates;
use fluxori_runtime::health::Check;
use fluxori_runtime::retry;
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_stream::{Batch, Batches, GroupHandle, LogReader, Processor, StreamError, TakeOver, WorkerEnd};
use tokio_util::sync::CancellationToken;

use crate::{Admitter, Cursor, Tally};

/// How long a log that ends inside of a sealed range may take to catch up, after a change of leaders.
const PATIENCE: Duration = Duration::from_secs(5);

/// Folds partitions into ClickHouse.
#[derive(Debug)]
pub struct AnalyticsProcessor {
    analytics: Analytics,
    reader: LogReader,
    genesis: Digest,
    /// The rates that its partitions have in common.
    rates: Arc<SharedRates>,
    health: Check,
}

/// A partition between its take-over and its end.
#[derive(Debug)]
pub struct Worker {
    partition: i32,
    group: GroupHandle,
    admitter: Admitter,
    sealed_end: Option<i64>,
}

impl AnalyticsProcessor {
    /// A processor that writes to `analytics` and takes no log but the one with this genesis. `reader` reads the same
    /// topic as the group; `health` says whether ClickHouse takes what it is given.
    #[must_use]
    pub fn new(analytics: Analytics, reader: LogReader, genesis: Digest, health: Check) -> Self {
        Self { analytics, reader, genesis, rates: Arc::default(), health }
    }

    /// Asks ClickHouse again and again until it answers.
    async fn ask<T, F>(
        &self,
        what: &str,
        stop: &CancellationToken,
        mut call: impl FnMut() -> F,
    ) -> Result<T, WorkerEnd>
    where
        F: Future<Output = Result<T, AnalyticsError>>,
    {
        let outcome = retry(what, stop, || {
            let answer = call();
            async { self.note(answer.await) }
        })
        .await;
        outcome.map_err(end_of)
    }

    /// Shows an answer in the readiness, and sorts a failure.
    fn note<T>(&self, answer: Result<T, AnalyticsError>) -> Result<T, Failure<AnalyticsError>> {
        match answer {
            Ok(value) => {
                self.health.ready();
                Ok(value)
            }
            Err(error) => {
                self.health.not_ready(error.to_string());
                if error.is_transient() {
                    Err(Failure::Transient(error))
                } else {
                    Err(Failure::Permanent(error))
                }
            }
        }
    }

    /// Where the group is, or the beginning of a partition that nobody has begun.
    async fn cursor(
        &self,
        partition: i32,
        group: &GroupHandle,
        stop: &CancellationToken,
    ) -> Result<(i64, Cursor), WorkerEnd> {
        let committed = ask_kafka("read the group's offset", stop, || group.committed(partition)).await?;
        if let Some(committed) = committed {
            let cursor = Cursor::parse(&committed.metadata, committed.offset)
                .map_err(|error| WorkerEnd::Halt(error.to_string()))?;
            return Ok((committed.offset, cursor));
        }
        match self.ask("read the last offset", stop, || self.analytics.last_offset(partition)).await? {
            None => Ok((0, Cursor::BEGINNING)),
            Some(last) => Err(WorkerEnd::Halt(format!(
                "the group has no offset for partition {partition}, but database {} holds its records up to offset \
                 {last}, which would be counted again: name the group that wrote them (analytics.group), or an empty \
                 database (clickhouse.database)",
                self.analytics.database()
            ))),
        }
    }

    /// The log's first record must be the one that the tables began with.
    async fn check_genesis(
        &self,
        partition: i32,
        kept: &[KeptRecord],
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let Some(genesis) = kept.iter().find(|kept| kept.kind == KeptKind::Global && kept.offset == 0) else {
            return Ok(());
        };
        let first = retry("read the log's first record", stop, || async {
            match self.reader.fetch_one(partition, 0).await {
                Ok(batch) => Ok(Some(batch)),
                // Archived and gone from the broker.
                Err(StreamError::OffsetMissing { low, .. }) if low > 0 => Ok(None),
                Err(error) if error.is_transient() => Err(Failure::Transient(error)),
                Err(error) => Err(Failure::Permanent(error)),
            }
        })
        .await
        .map_err(end_of)?;
        let same = first.is_none_or(|first| {
            first.iter().all(|record| record.value.unwrap_or_default() == genesis.value.as_slice())
        });
        same.then_some(()).ok_or_else(|| {
            WorkerEnd::Halt(format!(
                "the first record of partition {partition} is not the one that database {} began with: the topic is \
                 another log's (kafka.topic), or the database is (clickhouse.database)",
                self.analytics.database()
            ))
        })
    }

    async fn work(
        &self,
        worker: &mut Worker,
        batches: &mut Batches,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let mut rest = None;
        if let Some(end) = worker.sealed_end.take() {
            // Exactly the records of the range, in one batch.
            let Some(mut batch) = batches.next().await else { return Ok(()) };
            while batch.end() < end {
                let Some(next) = batches.next().await else { return Ok(()) };
                batch.append(&next).map_err(|error| WorkerEnd::Rejoin(error.to_string()))?;
            }
            let (sealed, after) = batch.split_at(end);
            tracing::info!(
                partition = worker.partition,
                start = sealed.start(),
                end,
                "sealed before; inserting again"
            );
            self.ingest(worker, sealed, true, stop).await?;
            rest = (!after.is_empty()).then_some(after);
        }
        loop {
            let batch = match rest.take() {
                Some(batch) => batch,
                None => match batches.next().await {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            self.ingest(worker, batch, false, stop).await?;
        }
    }

    async fn ingest(
        &self,
        worker: &mut Worker,
        batch: Batch,
        sealed: bool,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let (partition, start, end) = (worker.partition, batch.start(), batch.end());
        let records = tokio::task::block_in_place(|| Admitter::decode(&batch));
        let needed = Admitter::needed(&records);
        let loaded = self
            .ask("look up what the records refer to", stop, || self.analytics.load(partition, start, &needed))
            .await?;
        let now = worker.admitter.now();
        let admitted = tokio::task::block_in_place(|| worker.admitter.admit(&batch, &records, loaded));
        let (rows, tally) = admitted.map_err(|error| WorkerEnd::Halt(error.to_string()))?;
        let Some(log_id) = worker.admitter.log_id() else {
            return Err(WorkerEnd::Halt(format!("partition {partition} has no genesis")));
        };
        let range = LogRange { log_id, partition, start, end };
        if !sealed {
            commit(worker, start, Cursor { now, sealed_end: Some(end) }).await?;
        }
        let began = Instant::now();
        self.insert(&range, &rows, stop).await?;
        commit(worker, end, Cursor { now: worker.admitter.now(), sealed_end: None }).await?;
        count(&range, &rows, &tally, began.elapsed());
        Ok(())
    }

    /// Inserts until it succeeds. A try that is under way when the service ends is waited for; if it fails then, the
    /// range stays sealed for the successor.
    async fn insert(
        &self,
        range: &LogRange,
        rows: &RangeRows,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let first = self.note(self.analytics.insert_range(range, rows).await);
        match first {
            Ok(_) => return Ok(()),
            Err(Failure::Permanent(error)) => return Err(WorkerEnd::Halt(error.to_string())),
            Err(Failure::Transient(error)) => {
                tracing::warn!(partition = range.partition, %error, "an insert failed; it is repeated as it is");
            }
        }
        let what =
            format!("insert offsets {} to {} of partition {}", range.start, range.end, range.partition);
        self.ask(&what, stop, || self.analytics.insert_range(range, rows)).await.map(|_| ())
    }
}

impl Processor for AnalyticsProcessor {
    type Worker = Worker;

    async fn take_over(
        &self,
        partition: i32,
        group: GroupHandle,
        stop: CancellationToken,
    ) -> Result<TakeOver<Worker>, WorkerEnd> {
        let (start, cursor) = self.cursor(partition, &group, &stop).await?;
        if let Some(end) = cursor.sealed_end {
            check_sealed(partition, &group, end, &stop).await?;
        }
        let kept = self
            .ask("read admission_records", &stop, || self.analytics.kept_records(partition, start))
            .await?;
        self.check_genesis(partition, &kept, &stop).await?;
        let admitter = Admitter::restore(partition, self.genesis, start, cursor.now, &kept, &self.rates)
            .map_err(|error| WorkerEnd::Halt(error.to_string()))?;
        let worker = Worker { partition, group, admitter, sealed_end: cursor.sealed_end };
        Ok(TakeOver { start, worker })
    }

    async fn run(&self, mut worker: Worker, mut batches: Batches, stop: CancellationToken) -> WorkerEnd {
        match self.work(&mut worker, &mut batches, &stop).await {
            Ok(()) => WorkerEnd::Stopped,
            Err(end) => end,
        }
    }
}

fn end_of<E: Display>(error: RetryError<E>) -> WorkerEnd {
    match error {
        RetryError::Stopped => WorkerEnd::Stopped,
        RetryError::Permanent(error) => WorkerEnd::Halt(error.to_string()),
    }
}

/// Asks Kafka again and again until it answers.
async fn ask_kafka<T, F>(
    what: &str,
    stop: &CancellationToken,
    mut call: impl FnMut() -> F,
) -> Result<T, WorkerEnd>
where
    F: Future<Output = Result<T, StreamError>>,
{
    let outcome = retry(what, stop, || {
        let answer = call();
        async {
            answer.await.map_err(|error| {
                if error.is_transient() { Failure::Transient(error) } else { Failure::Permanent(error) }
            })
        }
    })
    .await;
    outcome.map_err(|error| match error {
        RetryError::Stopped => WorkerEnd::Stopped,
        RetryError::Permanent(error) => WorkerEnd::Rejoin(error.to_string()),
    })
}

/// The records of a sealed range were read before, so the log must still hold them.
async fn check_sealed(
    partition: i32,
    group: &GroupHandle,
    end: i64,
    stop: &CancellationToken,
) -> Result<(), WorkerEnd> {
    let began = Instant::now();
    loop {
        let found = ask_kafka("read the watermarks", stop, || group.watermarks(partition)).await?;
        if found.high >= end {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(WorkerEnd::Halt(format!(
                "partition {partition} was read up to offset {end}, but the broker holds it up to {} only: its end was \
                 lost, or this is another log",
                found.high
            )));
        }
        tokio::select! {
            () = stop.cancelled() => return Err(WorkerEnd::Stopped),
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
    }
}

async fn commit(worker: &Worker, offset: i64, cursor: Cursor) -> Result<(), WorkerEnd> {
    let committed = worker.group.commit(worker.partition, offset, &cursor.to_text()).await;
    committed.map_err(|error| WorkerEnd::Rejoin(error.to_string()))
}

fn count(range: &LogRange, rows: &RangeRows, tally: &Tally, took: Duration) {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let usage = number(rows.usage.len());
    metrics::counter!("analytics_batches_total", "partition" => range.partition.to_string()).increment(1);
    metrics::counter!("analytics_rows_inserted_total", "table" => "credit_usage_log").increment(usage);
    metrics::counter!("analytics_rows_inserted_total", "table" => "admission_records")
        .increment(number(rows.kept.len()));
    metrics::histogram!("analytics_insert_seconds").record(took);
    for (outcome, count) in tally.counts() {
        metrics::counter!("analytics_records_total", "outcome" => outcome).increment(count);
    }
    tracing::debug!(partition = range.partition, start = range.start, end = range.end, usage, "inserted");
}
