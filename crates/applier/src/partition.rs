//! What is in memory of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, Halt, PartitionFold, Past};
use fluxori_core::id::GLOBAL_KEY;
use fluxori_core::rates::SharedRates;
use fluxori_core::record::Record;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Cursor, GlobalRecord, TakenOver};
use fluxori_stream::{Batch, WorkerEnd};
use tokio::task::JoinHandle;

use crate::batch::{BatchNumber, Memory, last_record_digest};

/// The state of one partition between its take-over and its end. All of it is speculative until it is committed, and is
/// thrown away when a commit fails.
#[derive(Debug)]
pub struct AppliedPartition {
    pub(crate) partition: i32,
    pub(crate) epoch: i64,
    pub(crate) fold: PartitionFold,
    pub(crate) memory: Memory,
    /// The last record applied, which is read again to see that the log is still the same.
    unverified: Option<Cursor>,
    /// The batch that is being committed.
    pub(crate) in_flight: Option<InFlight>,
    /// The last batch that was committed.
    pub(crate) committed: BatchNumber,
    _counted: Counted,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) number: BatchNumber,
    pub(crate) committing: JoinHandle<Result<(), WorkerEnd>>,
}

/// Counts a partition as long as it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(partitions: &Arc<AtomicUsize>) -> Self {
        partitions.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(partitions))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The context of a partition after these global records. Its rates are shared with contexts that were given the same
/// `shared`.
///
/// # Errors
/// The log is another one, or this build is too old for it.
pub fn context_of(
    partition: i32,
    genesis: Option<Digest>,
    globals: &[GlobalRecord],
    shared: &Arc<SharedRates>,
) -> Result<Context, Halt> {
    context_seeing(partition, genesis, globals, shared, |_| ())
}

/// [`context_of`]; `see` is shown each of the records.
pub(crate) fn context_seeing(
    partition: i32,
    genesis: Option<Digest>,
    globals: &[GlobalRecord],
    shared: &Arc<SharedRates>,
    mut see: impl FnMut(&Record),
) -> Result<Context, Halt> {
    let mut context = Context::new(partition, genesis).sharing(shared);
    let mut past = Past::default();
    for global in globals {
        let key = Some(GLOBAL_KEY.as_bytes());
        let record = fluxori_wire::decode(key, Some(&global.value), global.append_time);
        _ = context.admit(&mut past, &record)?;
        see(&record);
    }
    Ok(context)
}

impl AppliedPartition {
    pub(crate) fn new(
        partition: i32,
        genesis: Digest,
        taken: TakenOver,
        rates: &Arc<SharedRates>,
        counter: &Arc<AtomicUsize>,
    ) -> Result<Self, String> {
        let mut context =
            context_of(partition, Some(genesis), &taken.globals, rates).map_err(|halt| halt.to_string())?;
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
        Ok(Self {
            partition,
            epoch: taken.epoch,
            fold,
            memory: Memory::new(),
            unverified: taken.cursor,
            in_flight: None,
            committed: 0,
            _counted: Counted::new(counter),
        })
    }

    /// Its number.
    #[must_use]
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// The epoch under which it was taken over.
    #[must_use]
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The offset at which its batches must begin: that of the last record applied, which is compared; 0 if none was.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.unverified.as_ref().map_or(0, |cursor| cursor.next_offset.saturating_sub(1))
    }

    /// The batch without the last record applied, with which the first one begins.
    pub(crate) fn verified(&mut self, batch: Batch) -> Result<Batch, String> {
        match self.unverified.take() {
            Some(cursor) => verify(batch, &cursor),
            None => Ok(batch),
        }
    }

    /// Whether a batch is being committed.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Waits for the commit under way, if there is one. Dropping the future while it waits loses nothing.
    ///
    /// # Errors
    /// As [`crate::Applier::apply`].
    pub async fn settle(&mut self) -> Result<(), WorkerEnd> {
        let Some(InFlight { number, committing }) = &mut self.in_flight else { return Ok(()) };
        let (number, committed) = (*number, committing.await);
        self.in_flight = None;
        match committed {
            Ok(Ok(())) => {
                self.committed = number;
                Ok(())
            }
            Ok(Err(end)) => Err(end),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(WorkerEnd::Rejoin(format!("a commit was given up: {error}"))),
            },
        }
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
