//! What a session does at a rebalance: takes partitions over, and gives them up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::{End, Event, Session};
use crate::StreamError;
use crate::group::context::Rebalance;
use crate::group::handle::GroupHandle;
use crate::group::slot::Slot;
use crate::group::{PartitionState, Processor, TakeOver, WorkerEnd};
use crate::reader::Watermarks;

/// How long a log that ends before the start offset may take to catch up, after a change of leaders.
const PATIENCE: Duration = Duration::from_secs(5);

/// The partitions that the group gave us, until we give them up.
pub(super) struct Assignment<W> {
    pub(super) phase: Phase,
    pub(super) stop: CancellationToken,
    pub(super) given_up: Arc<AtomicBool>,
    /// Tasks that have not reported their end yet.
    pub(super) tasks: usize,
    /// Taken over, and waiting for the others.
    pub(super) ready: Vec<(i32, TakeOver<W>)>,
    pub(super) slots: BTreeMap<i32, Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No partitions.
    None,
    TakingOver,
    Running,
    /// To be given up when all tasks have ended, or at this time.
    Revoking(Instant),
}

impl<W> Assignment<W> {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::None,
            stop: CancellationToken::new(),
            given_up: Arc::default(),
            tasks: 0,
            ready: Vec::new(),
            slots: BTreeMap::new(),
        }
    }
}

impl<P: Processor> Session<'_, P> {
    /// Does what the group wants since the last look.
    pub(super) fn take_rebalances(&mut self) {
        let context = Arc::clone(self.consumer.context());
        for rebalance in context.take_rebalances() {
            context.log.answered();
            match rebalance {
                Rebalance::Assigned(partitions) => self.take_over(partitions),
                Rebalance::Revoked => self.revoke(),
            }
        }
    }

    /// Assigned, first half: asks the processor for all start offsets at once.
    fn take_over(&mut self, partitions: Vec<i32>) {
        if self.assignment.phase != Phase::None {
            return self.end(End::Rejoin("assigned before the last assignment was given up".into()));
        }
        tracing::info!(?partitions, "assigned; taking over");
        self.assignment = Assignment::new();
        self.assignment.phase = Phase::TakingOver;
        self.status.send_modify(|status| {
            status.joined = true;
            status.trouble = None;
            status.partitions = partitions.iter().map(|id| (*id, PartitionState::TakingOver)).collect();
        });
        for partition in partitions {
            let given_up = Arc::clone(&self.assignment.given_up);
            let group = GroupHandle::new(&self.consumer, Arc::clone(&self.topic), given_up);
            let stop = self.assignment.stop.child_token();
            let processor = Arc::clone(self.processor);
            let outcome = async move { checked_take_over(&*processor, partition, group, stop).await };
            self.spawn(partition, outcome, Event::TakenOver);
        }
        self.start_if_taken_over();
    }

    /// Assigned, second half: with all start offsets known, assigns and starts the workers.
    pub(super) fn start_if_taken_over(&mut self) {
        if self.assignment.phase != Phase::TakingOver || self.assignment.tasks > 0 || self.ending.is_some() {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        let mut starts = Vec::new();
        for (partition, taken) in std::mem::take(&mut self.assignment.ready) {
            // Split off first: records then come through this queue from the first one on.
            let queue = self.consumer.split_partition_queue(&self.topic, partition);
            let added = offsets.add_partition_offset(&self.topic, partition, Offset::Offset(taken.start));
            let (Some(queue), Ok(())) = (queue, added) else {
                return self
                    .end(End::Rejoin(format!("partition {partition} cannot start at {}", taken.start)));
            };
            let stop = self.assignment.stop.child_token();
            let (slot, batches) =
                Slot::new(queue, partition, taken.start, Arc::clone(&self.topic), stop.clone());
            self.assignment.slots.insert(partition, slot);
            starts.push((partition, taken, batches, stop));
        }
        if let Err(error) = self.consumer.assign(&offsets) {
            return self.end(End::Rejoin(format!("the assignment failed: {error}")));
        }
        self.assignment.phase = Phase::Running;
        for (partition, taken, batches, stop) in starts {
            tracing::info!(partition, offset = taken.start, "taken over");
            self.set_state(partition, PartitionState::Running);
            let processor = Arc::clone(self.processor);
            let work = async move { processor.run(taken.worker, batches, stop).await };
            self.spawn(partition, work, Event::Ended);
        }
    }

    /// Revoked, first half: asks all tasks to end. No more batches are handed out.
    fn revoke(&mut self) {
        tracing::info!("partitions revoked; workers end");
        self.assignment.stop.cancel();
        self.assignment.slots.clear();
        self.assignment.ready.clear();
        self.assignment.phase = Phase::Revoking(Instant::now() + self.options.revoke_grace);
    }

    /// Revoked, second half: with all tasks ended, gives the partitions up.
    pub(super) fn give_up_if_due(&mut self) {
        let Phase::Revoking(at_latest) = self.assignment.phase else { return };
        if self.assignment.tasks > 0 {
            if Instant::now() >= at_latest && self.ending.is_none() {
                let left = self.assignment.tasks;
                self.end(End::Rejoin(format!("{left} workers of revoked partitions did not end in time")));
            }
            return;
        }
        self.assignment.given_up.store(true, Ordering::Release);
        self.assignment.phase = Phase::None;
        self.status.send_modify(|status| {
            status.joined = false;
            status.partitions.clear();
        });
        if let Err(error) = self.consumer.unassign() {
            self.end(End::Rejoin(format!("partitions could not be given up: {error}")));
        }
    }
}

/// A take-over whose start offset is in the log.
async fn checked_take_over<P: Processor>(
    processor: &P,
    partition: i32,
    group: GroupHandle,
    stop: CancellationToken,
) -> Result<TakeOver<P::Worker>, WorkerEnd> {
    let taken = processor.take_over(partition, group.clone(), stop.clone()).await?;
    let offset = taken.start;
    let began = Instant::now();
    loop {
        match group.watermarks(partition).await {
            Ok(Watermarks { low, high }) if (low..=high).contains(&offset) => return Ok(taken),
            Ok(Watermarks { low, high }) if offset < low || began.elapsed() > PATIENCE => {
                let missing = StreamError::OffsetMissing { partition, offset, low, high };
                return Err(WorkerEnd::Halt(missing.to_string()));
            }
            Ok(_) => {}
            Err(error) if error.is_transient() => {
                tracing::debug!(partition, %error, "watermarks are asked for again");
            }
            Err(error) => return Err(WorkerEnd::Rejoin(error.to_string())),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(WorkerEnd::Stopped),
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
    }
}
