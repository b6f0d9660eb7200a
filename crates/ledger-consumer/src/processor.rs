//! Takes partitions over and works them off: load, fold, commit.
//!
//! Two batches of a partition are under way at once: while one is committed on a connection of its own, the next is
//! decoded, loaded and folded. Commits of a partition never overlap; the state in memory runs ahead of what is stored by
//! at most these two, and as soon as a commit fails or its outcome is unknown, the worker ends and all of it is thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, FoldError, PartitionFold, Past};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{BatchWrite, Cursor, EncodedPostings, Ledger, LedgerError, Loaded, Needed, TakenOver};
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{Health, clock, retry};
use fluxori_stream::{Batch, Batches, GroupHandle, Processor, TakeOver, WorkerEnd};
use metrics::{counter, histogram};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::batch::{BatchNumber, Bounds, Decoded, Memory, fold, last_record_digest};

/// How far the broker's clock may run ahead of ours; a partition waits until it is less.
const MOST_CLOCK_LEAD: Duration = Duration::from_mins(5);

/// Applies the log to the ledger.
pub(crate) struct LedgerProcessor {
    ledger: Ledger,
    owner: String,
    genesis: Digest,
    health: Health,
    bounds: Bounds,
    /// How many partitions share the bounds.
    workers: Arc<AtomicUsize>,
    /// Commits under way at once, over all partitions: fewer than there are connections, so that none waits for one.
    commits: Arc<Semaphore>,
    /// Batches decoded and folded at once, over all partitions: as many as there are processors, because more would
    /// only take more memory.
    folds: Semaphore,
}

/// What the processor may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Over all partitions.
    pub(crate) in_memory: Bounds,
    /// Commits under way at once.
    pub(crate) commits: usize,
    /// Batches decoded and folded at once.
    pub(crate) folds: usize,
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
    /// The batch that is being committed.
    in_flight: Option<InFlight>,
    /// The last batch that was committed.
    committed: BatchNumber,
    _counted: Counted,
}

struct InFlight {
    number: BatchNumber,
    committing: JoinHandle<Result<(), WorkerEnd>>,
}

/// Counts a worker as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(workers: &Arc<AtomicUsize>) -> Self {
        workers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(workers))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Waits for the commit under way, if there is one. Dropping the future while it waits loses nothing.
    async fn settle(&mut self) -> Result<(), WorkerEnd> {
        let Some(InFlight { number, committing }) = &mut self.in_flight else { return Ok(()) };
        let (number, committed) = (*number, committing.await);
        self.in_flight = None;
        match committed {
            Ok(Ok(())) => self.committed = number,
            Ok(Err(end)) => return Err(end),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => return Err(WorkerEnd::Rejoin(format!("a commit was given up: {error}"))),
            },
        }
        Ok(())
    }

    /// The next batch; none when the worker is asked to end. A commit that fails meanwhile is heard of at once, and not
    /// only when something comes after it.
    async fn next(&mut self, batches: &mut Batches) -> Result<Option<Batch>, WorkerEnd> {
        if self.in_flight.is_some() {
            tokio::select! {
                biased;
                batch = batches.next() => return Ok(batch),
                settled = self.settle() => settled?,
            }
        }
        Ok(batches.next().await)
    }
}

impl LedgerProcessor {
    pub(crate) fn new(
        ledger: Ledger,
        owner: String,
        genesis: [u8; 32],
        health: Health,
        limits: Limits,
    ) -> Self {
        Self {
            ledger,
            owner,
            genesis: Digest(genesis),
            health,
            bounds: limits.in_memory,
            workers: Arc::default(),
            commits: Arc::new(Semaphore::new(limits.commits.max(1))),
            folds: Semaphore::new(limits.folds.max(1)),
        }
    }

    /// The part of the bounds that one partition has.
    fn bounds(&self) -> Bounds {
        let workers = self.workers.load(Ordering::Relaxed).max(1);
        Bounds { orgs: self.bounds.orgs / workers, events: self.bounds.events / workers }
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
        Ok(Worker {
            partition,
            epoch: taken.epoch,
            fold,
            memory: Memory::new(),
            unverified: taken.cursor,
            in_flight: None,
            committed: 0,
            _counted: Counted::new(&self.workers),
        })
    }

    async fn load(
        &self,
        partition: i32,
        needed: &Needed,
        stop: &CancellationToken,
    ) -> Result<Loaded, WorkerEnd> {
        let what = format!("load the state of partition {partition}");
        retry(&what, stop, || async { self.ledger.load(needed).await.map_err(sorted) }).await.map_err(end_of)
    }

    /// Load, fold, and commit behind the batch before.
    async fn apply(
        &self,
        worker: &mut Worker,
        batch: Batch,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let latest = batch.iter().map(|record| Timestamp::from_millis(record.append_time_ms)).max();
        wait_for_clock(worker.partition, latest.unwrap_or(Timestamp::MIN), &self.health, stop).await?;
        // Never closed; and if it were, the limit would be all that is lost.
        let permit = self.folds.acquire().await;
        let started = Instant::now();
        let decoded = Decoded::new(batch);
        let Worker { partition, epoch, fold: state, memory, .. } = &mut *worker;
        let asked = memory.ask(state, &decoded);
        let loaded = self.load(*partition, &asked.needed, stop).await?;
        let events = memory.remember(state, asked, loaded);
        memory.remember_events(self.load(*partition, &events, stop).await?);
        let before = state.counters();
        let mut write = fold(state, memory, &decoded, *epoch).map_err(|error| match error {
            FoldError::Halt(halt) => WorkerEnd::Halt(halt.to_string()),
            FoldError::NotLoaded(_) => WorkerEnd::Rejoin(error.to_string()),
        })?;
        let number = memory.batch();
        let oldest = decoded.batch.iter().next().map(|record| Timestamp::from_millis(record.append_time_ms));
        let postings = write
            .encode_postings()
            .map_err(|error| uncommitted(write.start_offset, write.cursor.next_offset, &error))?;
        write.postings = Vec::new();
        drop((decoded, permit));
        histogram!("ledger_fold_seconds").record(started.elapsed());
        worker.settle().await?;
        let commit =
            commit(self.ledger.clone(), Arc::clone(&self.commits), (write, postings), before, oldest);
        worker.in_flight = Some(InFlight { number, committing: tokio::spawn(commit) });
        worker.memory.trim(&mut worker.fold, worker.committed, self.bounds());
        Ok(())
    }
}

/// Commits a batch and counts what it did.
async fn commit(
    ledger: Ledger,
    commits: Arc<Semaphore>,
    (write, postings): (BatchWrite, EncodedPostings),
    before: Counters,
    oldest: Option<Timestamp>,
) -> Result<(), WorkerEnd> {
    // Never closed; and if it were, the limit would be all that is lost.
    let _permit = commits.acquire().await;
    let started = Instant::now();
    ledger
        .commit_encoded(&write, &postings)
        .await
        .map_err(|error| uncommitted(write.start_offset, write.cursor.next_offset, &error))?;
    histogram!("ledger_commit_seconds").record(started.elapsed());
    let now = Timestamp::from(clock::now()).micros();
    if let Some(lag) = oldest.and_then(|oldest| u64::try_from(now.saturating_sub(oldest.micros())).ok()) {
        // Of the record that waited longest.
        histogram!("ledger_append_to_commit_seconds").record(Duration::from_micros(lag));
    }
    count(before, write.cursor.counters);
    tracing::debug!(
        partition = write.partition,
        records = write.cursor.next_offset - write.start_offset,
        next_offset = write.cursor.next_offset,
        "committed"
    );
    Ok(())
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
        "the record at offset {} is not the one that the ledger applied last: the topic was recreated or restored; \
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
        loop {
            let mut batch = match worker.next(&mut batches).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return worker.settle().await.err().unwrap_or(WorkerEnd::Stopped),
                Err(end) => return end,
            };
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
                // What was found out over a state that could not be committed is no reason to halt.
                return worker.settle().await.err().unwrap_or(end);
            }
        }
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
