//! Applies the log to a ledger, batch by batch: load, fold, commit. The live ledger and every rebuild of it are written by
//! this code and no other.
//!
//! Two batches of a partition are under way at once: while one is committed on a connection of its own, the next is
//! decoded, loaded and folded. Commits of a partition never overlap; the state in memory runs ahead of what is stored by
//! at most these two, and as soon as a commit fails or its outcome is unknown, all of it must be thrown away.

mod batch;
mod commit;
pub mod explain;
mod outages;
mod partition;
mod unpriced;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fluxori_core::digest::Digest;
use fluxori_core::fold::FoldError;
use fluxori_core::rates::SharedRates;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Ledger, LedgerError, Loaded, Needed};
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{Health, retry};
use fluxori_stream::{Batch, WorkerEnd};
use metrics::histogram;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use batch::Bounds;
pub use partition::{AppliedPartition, context_of};

use batch::{Decoded, fold};
use commit::{Commit, Spares, uncommitted};
use outages::Outages;
use partition::InFlight;
use unpriced::Unpriced;

/// Applies partitions of one log to one ledger.
#[derive(Debug)]
pub struct Applier {
    ledger: Ledger,
    owner: String,
    genesis: Digest,
    bounds: Bounds,
    /// How many partitions share the bounds.
    partitions: Arc<AtomicUsize>,
    rates: Arc<SharedRates>,
    /// Commits under way at once, over all partitions: fewer than there are connections, so that none waits for one.
    commits: Arc<Semaphore>,
    /// Batches decoded and folded at once, over all partitions: as many as there are processors, because more would only
    /// take more memory.
    folds: Semaphore,
    outages: Arc<Outages>,
    spares: Spares,
    unpriced: Unpriced,
}

/// What an applier may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Over all partitions.
    pub in_memory: Bounds,
    /// Commits under way at once.
    pub commits: usize,
    /// Batches decoded and folded at once.
    pub folds: usize,
}

impl Applier {
    /// An applier for the log with this genesis; `owner` names it where partitions are taken over. `health` shows that
    /// Postgres takes no batches, for as long as it does not.
    #[must_use]
    pub fn new(ledger: Ledger, owner: String, genesis: Digest, limits: Limits, health: &Health) -> Self {
        Self {
            ledger,
            owner,
            genesis,
            bounds: limits.in_memory,
            partitions: Arc::default(),
            rates: Arc::default(),
            commits: Arc::new(Semaphore::new(limits.commits.max(1))),
            folds: Semaphore::new(limits.folds.max(1)),
            outages: Arc::new(Outages::new(health)),
            spares: Spares::default(),
            unpriced: Unpriced::default(),
        }
    }

    /// The part of the bounds that one partition has.
    fn bounds(&self) -> Bounds {
        let partitions = self.partitions.load(Ordering::Relaxed).max(1);
        Bounds { orgs: self.bounds.orgs / partitions, events: self.bounds.events / partitions }
    }

    /// Takes a partition over: fences whoever had it, and reads what the fold starts from. Tries again while Postgres is
    /// away, until `stop`.
    ///
    /// # Errors
    /// [`WorkerEnd::Halt`] if what is stored is of another log or cannot be read, [`WorkerEnd::Stopped`].
    pub async fn take_over(
        &self,
        partition: i32,
        stop: &CancellationToken,
    ) -> Result<AppliedPartition, WorkerEnd> {
        let what = format!("take partition {partition} over in Postgres");
        let taken = retry(&what, stop, || async {
            self.ledger.take_over(partition, &self.owner).await.map_err(sorted)
        })
        .await
        .map_err(end_of)?;
        AppliedPartition::new(partition, self.genesis, taken, &self.rates, &self.partitions)
            .map_err(WorkerEnd::Halt)
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

    /// Applies the batch that follows: loads, folds, and commits it behind the one before. The first batch after the
    /// take-over begins with the last record applied ([`AppliedPartition::start`]), which is compared and cut off.
    ///
    /// # Errors
    /// After any of them the partition must be taken over again: [`WorkerEnd::Halt`] if it cannot go on,
    /// [`WorkerEnd::Rejoin`] if somebody else has it or the outcome of a commit is unknown, [`WorkerEnd::Stopped`].
    pub async fn apply(
        &self,
        partition: &mut AppliedPartition,
        batch: Batch,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        let batch = partition.verified(batch).map_err(WorkerEnd::Halt)?;
        if batch.is_empty() {
            return Ok(());
        }
        match self.apply_verified(partition, batch, stop).await {
            Ok(()) => Ok(()),
            // What was found out over a state that could not be committed is no reason to halt.
            Err(end) => Err(partition.settle().await.err().unwrap_or(end)),
        }
    }

    async fn apply_verified(
        &self,
        partition: &mut AppliedPartition,
        batch: Batch,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        // Never closed; and if it were, the limit would be all that is lost.
        let permit = self.folds.acquire().await;
        let started = Instant::now();
        let decoded = Decoded::new(batch);
        // What a record corrects or releases may be in the batch that is being committed, and is read once that is done.
        if decoded.watches() {
            partition.settle().await?;
        }
        let AppliedPartition { partition: number, epoch, fold: state, memory, .. } = &mut *partition;
        let asked = memory.ask(state, &decoded);
        let loaded = self.load(*number, &asked.needed, stop).await?;
        let events =
            memory.remember(state, asked, loaded).map_err(|error| WorkerEnd::Halt(error.to_string()))?;
        memory.remember_events(self.load(*number, &events, stop).await?);
        let before = state.counters();
        let mut write = fold(state, memory, &decoded, *epoch).map_err(|error| match error {
            FoldError::Halt(halt) => WorkerEnd::Halt(halt.to_string()),
            FoldError::NotLoaded(_) => WorkerEnd::Rejoin(error.to_string()),
        })?;
        let number = memory.batch();
        let oldest = decoded.batch.iter().next().map(|record| Timestamp::from_millis(record.append_time_ms));
        let incomplete = self.unpriced.look(&write.changes.postings);
        let postings = write
            .encode_postings(self.spares.take())
            .map_err(|error| uncommitted(write.start_offset, write.cursor.next_offset, &error))?;
        // Encoded, they are not needed any more.
        write.changes.postings = Vec::new();
        drop((decoded, permit));
        histogram!("ledger_fold_seconds").record(started.elapsed());
        partition.settle().await?;
        let commit = Commit {
            ledger: self.ledger.clone(),
            commits: Arc::clone(&self.commits),
            outages: Arc::clone(&self.outages),
            spares: self.spares.clone(),
            write,
            postings,
            before,
            incomplete,
            oldest,
        };
        let committing = tokio::spawn(commit.run());
        partition.in_flight = Some(InFlight { number, committing });
        partition.memory.trim(&mut partition.fold, partition.committed, self.bounds());
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
