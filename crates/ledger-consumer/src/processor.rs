//! Takes partitions over and works them off: load, fold, commit.

use std::time::{Duration, Instant};

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, FoldError, PartitionFold, Past};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Cursor, Ledger, LedgerError, TakenOver};
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{Health, clock, retry};
use fluxori_stream::{Batch, Batches, GroupHandle, Processor, TakeOver, WorkerEnd};
use metrics::{counter, histogram};
use tokio_util::sync::CancellationToken;

use crate::batch::{Decoded, Memory, fold, last_record_digest};
use crate::commits::Commits;

/// How far the broker's clock may run ahead of ours; a partition waits until it is less.
const MOST_CLOCK_LEAD: Duration = Duration::from_mins(5);

/// Applies the log to the ledger.
pub(crate) struct LedgerProcessor {
    ledger: Ledger,
    owner: String,
    genesis: Digest,
    health: Health,
    commits: Commits,
}

/// The state of one partition between its take-over and its end. All of it is speculative until it is committed, and is
/// thrown away when a commit fails.
pub(crate) struct Worker {
    partition: i32,
    epoch: i64,
    fold: PartitionFold,
    memory: Memory,
    /// The last record applied, which is read again to see that the log is still the same.
    unverified: Option<Cursor>,
}

impl LedgerProcessor {
    pub(crate) fn new(ledger: Ledger, owner: String, genesis: [u8; 32], health: Health) -> Self {
        let commits = Commits::new(&health);
        Self { ledger, owner, genesis: Digest(genesis), health, commits }
    }

    fn worker(&self, partition: i32, taken: TakenOver) -> Result<Worker, String> {
        let mut context = Context::new(partition, Some(self.genesis));
        let mut past = Past::default();
        for global in taken.globals {
            let key = Some(fluxori_core::id::GLOBAL_KEY.as_bytes());
            let record = fluxori_wire::decode(key, Some(&global.value), global.append_time);
            context.admit(&mut past, &record).map_err(|halt| halt.to_string())?;
        }
        let (counters, outcomes) = taken.cursor.as_ref().map_or_else(
            || (Counters::default(), Digest::default()),
            |cursor| {
                context.resume_at(cursor.log_time);
                (cursor.counters, cursor.outcomes)
            },
        );
        let mut fold = PartitionFold::new(context, counters, outcomes);
        for (at, org) in taken.boundaries {
            fold.expect_boundary(at, org);
        }
        let memory = Memory::default();
        Ok(Worker { partition, epoch: taken.epoch, fold, memory, unverified: taken.cursor })
    }

    /// Load, fold, commit.
    async fn apply(
        &self,
        worker: &mut Worker,
        batch: Batch,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let started = Instant::now();
        let decoded = Decoded::new(batch);
        wait_for_clock(worker.partition, decoded.latest(), &self.health, stop).await?;
        let needed = decoded.needed(&worker.fold, |org| worker.memory.knows(&worker.fold, org));
        let what = format!("load the state of partition {}", worker.partition);
        let loaded = retry(&what, stop, || async { self.ledger.load(&needed).await.map_err(sorted) })
            .await
            .map_err(end_of)?;
        worker.memory.remember(&mut worker.fold, &needed, loaded);
        let before = worker.fold.counters();
        let write =
            fold(&mut worker.fold, &mut worker.memory, &decoded, worker.epoch).map_err(
                |error| match error {
                    FoldError::Halt(halt) => WorkerEnd::Halt(halt.to_string()),
                    FoldError::NotLoaded(_) => WorkerEnd::Rejoin(error.to_string()),
                },
            )?;
        let committing = Instant::now();
        self.ledger.commit(&write).await.map_err(|error| {
            self.commits.failed(worker.partition, &error);
            let (start, end) = (decoded.batch.start(), decoded.batch.end());
            uncommitted(start, end, &error)
        })?;
        self.commits.succeeded(worker.partition);
        histogram!("ledger_commit_seconds").record(committing.elapsed());
        histogram!("ledger_batch_seconds").record(started.elapsed());
        count(before, write.cursor.counters);
        tracing::debug!(
            partition = worker.partition,
            records = decoded.batch.len(),
            postings = write.postings.len(),
            next_offset = write.cursor.next_offset,
            "committed"
        );
        worker.memory.trim(&mut worker.fold);
        Ok(())
    }
}

fn sorted(error: LedgerError) -> Failure<LedgerError> {
    if error.is_permanent() { Failure::Permanent(error) } else { Failure::Transient(error) }
}

fn end_of(error: RetryError<LedgerError>) -> WorkerEnd {
    match error {
        RetryError::Stopped => WorkerEnd::Stopped,
        RetryError::Permanent(error) => WorkerEnd::Halt(error.to_string()),
    }
}

/// Whatever went wrong, what is in memory counts for nothing any more. Fenced, or unknown whether it was committed:
/// begin again from what is stored. Refused for what the batch holds: that would be so for ever.
fn uncommitted(start: i64, end: i64, error: &LedgerError) -> WorkerEnd {
    if error.is_permanent() {
        return WorkerEnd::Halt(format!("offsets {start} to {end} (exclusive) cannot be committed: {error}"));
    }
    WorkerEnd::Rejoin(error.to_string())
}

/// Waits while the log is further ahead of this machine's clock than may be: a skew that passes needs no restart.
async fn wait_for_clock(
    partition: i32,
    latest: Timestamp,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), WorkerEnd> {
    if clock_lead(latest).is_ok() {
        return Ok(());
    }
    let check = health.check(format!("clock of partition {partition}"));
    let waited = retry(&format!("go on with partition {partition}"), stop, || async {
        clock_lead(latest).map_err(|problem| {
            check.not_ready(problem.clone());
            Failure::Transient(problem)
        })
    })
    .await;
    check.remove();
    waited.map_err(|_| WorkerEnd::Stopped)
}

fn clock_lead(latest: Timestamp) -> Result<(), String> {
    let now = Timestamp::from(clock::now());
    if latest <= now.after(MOST_CLOCK_LEAD) {
        return Ok(());
    }
    Err(format!(
        "the log's append time {latest} is more than 5 minutes ahead of this machine's {now}: set the clocks right"
    ))
}

fn count(before: Counters, after: Counters) {
    for (outcome, before, after) in [
        ("debited", before.debited, after.debited),
        ("command", before.commands, after.commands),
        ("rejected", before.rejected, after.rejected),
        ("duplicate", before.duplicates, after.duplicates),
        ("quarantined", before.quarantined, after.quarantined),
    ] {
        counter!("ledger_records_total", "outcome" => outcome)
            .increment(u64::try_from(after - before).unwrap_or_default());
    }
}

/// Compares the record before the cursor with what was applied, and cuts it off.
fn verify(batch: Batch, cursor: &Cursor) -> Result<Batch, String> {
    let (last, rest) = batch.split_at(cursor.next_offset);
    let append_time = last.iter().last().map(|record| Timestamp::from_millis(record.append_time_ms));
    if append_time == Some(cursor.last_append_time) && last_record_digest(&last) == cursor.last_record_digest
    {
        return Ok(rest);
    }
    Err(format!(
        "the record at offset {} is not the one that the ledger applied last: the topic was made again or restored; \
         point the ledger at its own log, or at an empty database, which is filled from this one",
        cursor.next_offset - 1
    ))
}

impl Processor for LedgerProcessor {
    type Worker = Worker;

    async fn take_over(
        &self,
        partition: i32,
        _group: GroupHandle,
        stop: CancellationToken,
    ) -> Result<TakeOver<Worker>, WorkerEnd> {
        let what = format!("take partition {partition} over in Postgres");
        let taken = retry(&what, &stop, || async {
            self.ledger.take_over(partition, &self.owner).await.map_err(sorted)
        })
        .await
        .map_err(end_of)?;
        let worker = self.worker(partition, taken).map_err(WorkerEnd::Halt)?;
        let start = worker.unverified.as_ref().map_or(0, |cursor| cursor.next_offset - 1);
        tracing::info!(partition, epoch = worker.epoch, start, "took over");
        Ok(TakeOver { start, worker })
    }

    async fn run(&self, mut worker: Worker, mut batches: Batches, stop: CancellationToken) -> WorkerEnd {
        while let Some(mut batch) = batches.next().await {
            if let Some(cursor) = worker.unverified.take() {
                match verify(batch, &cursor) {
                    Ok(rest) => batch = rest,
                    Err(problem) => return WorkerEnd::Halt(problem),
                }
            }
            if batch.is_empty() {
                continue;
            }
            if let Err(end) = self.apply(&mut worker, batch, &stop).await {
                return end;
            }
        }
        WorkerEnd::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(seconds: u64) -> Timestamp {
        Timestamp::from(clock::now()).after(MOST_CLOCK_LEAD + Duration::from_secs(seconds))
    }

    #[test]
    fn a_batch_that_can_never_be_committed_halts_and_a_fenced_one_is_taken_over_again() {
        let refused = LedgerError::Unreadable { what: "an amount".into() };
        let WorkerEnd::Halt(reason) = uncommitted(5, 9, &refused) else { panic!("it does not halt") };
        assert!(reason.starts_with("offsets 5 to 9 (exclusive) cannot be committed: "), "{reason}");
        let fenced = LedgerError::Fenced { partition: 0, ours: 1, found: 2 };
        assert!(matches!(uncommitted(5, 9, &fenced), WorkerEnd::Rejoin(_)));
    }

    #[tokio::test]
    async fn a_clock_that_lags_is_waited_for_and_the_wait_shows() {
        let (health, stop) = (Health::new("test"), CancellationToken::new());
        let waiting = tokio::spawn({
            let (health, stop) = (health.clone(), stop.clone());
            async move { wait_for_clock(3, ahead(1), &health, &stop).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!health.is_ready() && !waiting.is_finished());
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(health.is_ready());
    }

    #[tokio::test]
    async fn a_wait_for_the_clock_ends_with_the_service() {
        let (health, stop) = (Health::new("test"), CancellationToken::new());
        let cancel = async {
            tokio::task::yield_now().await;
            stop.cancel();
        };
        let (waited, ()) = tokio::join!(wait_for_clock(3, ahead(3_600), &health, &stop), cancel);
        assert_eq!(waited, Err(WorkerEnd::Stopped));
        assert!(health.is_ready());
    }
}
