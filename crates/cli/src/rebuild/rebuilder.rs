//! A ledger under construction: all partitions of the log, taken over and applied in parallel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use fluxori_applier::{AppliedPartition, Applier, Bounds, Limits};
use fluxori_archive::Source;
use fluxori_core::digest::Digest;
use fluxori_ledger::{Ledger, LedgerError, Schema};
use fluxori_runtime::Health;
use fluxori_stream::{LogReader, Range, WorkerEnd};
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::CliError;
use crate::progress;
use crate::session::{Session, watermarks};

/// Records in one batch.
const BATCH: usize = 5_000;
/// Partitions that are worked on at once, each by a task of its own.
const WORKERS: usize = 2;
/// For each worker: one loads while another commits.
const CONNECTIONS: u32 = 4;

/// Applies the log to a schema beside the live ledger.
pub(crate) struct Rebuilder {
    applier: Arc<Applier>,
    source: Source,
    partitions: BTreeMap<i32, Partition>,
}

struct Partition {
    applied: AppliedPartition,
    /// The offset of the next record to be applied.
    next_offset: i64,
    /// The offset at which its next batch must begin: that of the record before, right after the take-over.
    read_from: i64,
}

impl Rebuilder {
    /// Takes all partitions of the schema over.
    pub(crate) async fn take_over(
        session: &Session,
        source: Source,
        genesis: Digest,
        schema: &Schema,
    ) -> Result<Self, CliError> {
        let ledger = Ledger::connect_to(session.owner_url()?, schema, CONNECTIONS).await?;
        ledger.check_schema().await?;
        let config = &session.config.ledger;
        let limits = Limits {
            in_memory: Bounds { orgs: config.max_orgs_in_memory, events: config.max_events_in_memory },
            commits: WORKERS,
            folds: WORKERS,
        };
        let cursors = ledger.cursors().await?;
        let owner = format!("rebuild-{}", std::process::id());
        let applier = Arc::new(Applier::new(ledger, owner, genesis, limits, &Health::new("rebuild")));
        let mut partitions = BTreeMap::new();
        for partition in 0..source.log().partitions().await? {
            let applied = applier.take_over(partition, &CancellationToken::new()).await.map_err(ended)?;
            let cursor = cursors.iter().find(|cursor| cursor.partition == partition);
            let next_offset = cursor.map_or(0, |cursor| cursor.cursor.next_offset);
            let read_from = applied.start();
            partitions.insert(partition, Partition { applied, next_offset, read_from });
        }
        Ok(Self { applier, source, partitions })
    }

    pub(crate) const fn log(&self) -> &LogReader {
        self.source.log()
    }

    /// By partition, the offset of the next record to be applied.
    pub(crate) fn offsets(&self) -> BTreeMap<i32, i64> {
        self.partitions.iter().map(|(partition, state)| (*partition, state.next_offset)).collect()
    }

    /// Up to where to apply: where the live ledger is, or the end of the log where there is none.
    pub(crate) async fn targets(&self, session: &Session) -> Result<BTreeMap<i32, i64>, CliError> {
        let url = session.owner_url()?;
        let live = Ledger::connect_to(url, &Schema::default(), 1).await?;
        let cursors = match live.check_schema().await {
            Ok(()) => live.cursors().await?,
            Err(LedgerError::SchemaBehind { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut targets = BTreeMap::new();
        for partition in self.partitions.keys().copied() {
            let cursor = cursors.iter().find(|cursor| cursor.partition == partition);
            let target = match cursor {
                Some(cursor) => cursor.cursor.next_offset,
                None if cursors.is_empty() => watermarks(self.log(), partition).await?.high,
                None => 0,
            };
            targets.insert(partition, target);
        }
        Ok(targets)
    }

    /// Applies every partition up to its target, and waits until all of it is committed. Returns how many records.
    pub(crate) async fn apply_up_to(&mut self, targets: &BTreeMap<i32, i64>) -> Result<i64, CliError> {
        let is_behind = |partition: i32, state: &Partition| {
            targets.get(&partition).is_some_and(|target| *target > state.next_offset)
        };
        let behind: Vec<i32> =
            self.partitions.iter().filter(|(id, state)| is_behind(**id, state)).map(|(id, _)| *id).collect();
        let mut queue = VecDeque::new();
        let mut total = 0;
        for id in behind {
            let (Some(state), Some(target)) = (self.partitions.remove(&id), targets.get(&id)) else {
                continue;
            };
            total += *target - state.next_offset;
            queue.push_back((state, *target));
        }
        let bar = progress::records("rebuilding", total);
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let work = work(Arc::clone(&self.applier), self.source.clone(), Arc::clone(&queue), bar.clone());
            workers.spawn(work);
        }
        while let Some(done) = workers.join_next().await {
            let done = done.map_err(|error| CliError::Refused(format!("a worker died: {error}")))??;
            self.partitions.extend(done.into_iter().map(|state| (state.applied.partition(), state)));
        }
        bar.finish_and_clear();
        Ok(total)
    }
}

type Queue = Mutex<VecDeque<(Partition, i64)>>;

/// Applies one partition of the queue after the other, until it is empty.
async fn work(
    applier: Arc<Applier>,
    source: Source,
    queue: Arc<Queue>,
    bar: ProgressBar,
) -> Result<Vec<Partition>, CliError> {
    let mut done = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((mut state, target)) = next else { return Ok(done) };
        let Partition { applied, next_offset, read_from } = &mut state;
        let range = Range { partition: applied.partition(), start: *read_from, end: target };
        let mut scan = source.scan(&[range], BATCH).await?;
        let stop = CancellationToken::new();
        while let Some(batch) = scan.next().await? {
            let end = batch.end();
            applier.apply(applied, batch, &stop).await.map_err(ended)?;
            bar.inc(u64::try_from(end - *next_offset).unwrap_or_default());
            (*next_offset, *read_from) = (end, end);
        }
        applied.settle().await.map_err(ended)?;
        done.push(state);
    }
}

fn ended(end: WorkerEnd) -> CliError {
    match end {
        WorkerEnd::Halt(reason) => CliError::Refused(reason),
        WorkerEnd::Rejoin(reason) => CliError::Refused(format!(
            "{reason}; what was committed stays, and the same command goes on from there"
        )),
        WorkerEnd::Stopped => CliError::Refused("it was stopped".to_owned()),
    }
}
