//! A consumer group whose members fold partitions.
//!
//! # Who does what
//!
//! A [`Processor`] knows where its own cursor is and what to do with batches; the group knows which
//! partitions are ours at the moment, which is a hint and no lock: fencing is the processor's own
//! epoch, or the group's generation through [`GroupHandle::commit`]. One thread polls Kafka and
//! never waits for anything else; it routes records into one batch per partition and hands each to that
//! partition's worker, an async task. At most one batch waits for a worker while another grows. When
//! both are full the thread leaves that partition's records where they are, in the client library's
//! bounded queue, which then stops fetching: back-pressure without loss, and other partitions go on.
//!
//! # What happens at a rebalance
//!
//! The classic protocol with eager assignment: all members give up all their partitions, then get the
//! new ones.
//!
//! 1. *Assigned.* For every partition at once the processor is asked to take it over, and answers with
//!    the offset to start at ([`Processor::take_over`]). That may take as long as its database is away;
//!    meanwhile the thread keeps polling, so that the group does not take us for dead. Each start is
//!    compared with what the broker holds: a missing record halts that partition. Then, and only then,
//!    the partitions are assigned to the client with exactly these offsets, and a worker is spawned for
//!    each ([`Processor::run`]).
//! 2. *Revoked.* The workers' `stop` token is cancelled and no more batches come. A worker finishes the
//!    commit under way, if any, and ends; the member still has its generation, so that commit counts.
//!    The thread waits for all workers, then gives the partitions up, and the next owner takes them
//!    over. A worker that does not end within [`ConsumerOptions::revoke_grace`] is left behind: its
//!    [`GroupHandle`] is cut off, the member leaves the group and joins anew.
//! 3. *Lost.* As revoked, but the next owner may be at work already: commits of the old generation fail
//!    with [`StreamError::Fenced`].
//!
//! A worker that ends with [`WorkerEnd::Rejoin`] (fenced, or the outcome of a commit is unknown) makes the
//! member drop its client and join anew after a pause, so that everything is taken over from what is
//! stored. So does a polling thread that stood still for two seconds, and one that hears that the topic is
//! gone: only a take-over compares the log with what was applied. One that ends with [`WorkerEnd::Halt`] keeps its partition, which is not read any further;
//! the reason is logged and shown in [`GroupStatus`], and the other partitions go on. Records are never
//! skipped (`auto.offset.reset=error`): a truncated log halts the partition too.

mod context;
mod handle;
mod session;
mod slot;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::StreamError;

pub use handle::{Committed, GroupHandle};
pub use slot::Batches;

/// How a group is joined and batches are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// After how long without a heartbeat the group takes a member for dead.
    pub session_timeout: Duration,
    /// At most so many records in a batch.
    pub batch_max_records: usize,
    /// A batch that has so many bytes is full; the last record may go over.
    pub batch_max_bytes: usize,
    /// How long a batch waits for more records.
    pub batch_linger: Duration,
    /// How long workers may take to end when their partitions are revoked.
    pub revoke_grace: Duration,
}

impl ConsumerOptions {
    /// A session timeout of 45 s, batches of 5,000 records or 16 MiB after at most 20 ms, 15 s for
    /// workers to end.
    #[must_use]
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            group: group.into(),
            session_timeout: Duration::from_secs(45),
            batch_max_records: 5_000,
            batch_max_bytes: 16 << 20,
            batch_linger: Duration::from_millis(20),
            revoke_grace: Duration::from_secs(15),
        }
    }
}

/// What is done with partitions: taken over when they are assigned, then folded batch by batch.
pub trait Processor: Send + Sync + 'static {
    /// The state of one partition between its take-over and its end.
    type Worker: Send + 'static;

    /// Takes a partition over: fences the owner before, loads what is stored, and says where to start.
    /// Retries by itself while a server is away, until `stop` is cancelled (then any answer will do).
    ///
    /// # Errors
    /// [`WorkerEnd::Halt`] if this partition cannot be worked on and a retry will not help,
    /// [`WorkerEnd::Rejoin`] to start all over.
    fn take_over(
        &self,
        partition: i32,
        group: GroupHandle,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<TakeOver<Self::Worker>, WorkerEnd>> + Send;

    /// Works on a partition until `stop` is cancelled: finish the commit under way, start nothing new,
    /// return [`WorkerEnd::Stopped`]. The batches are contiguous from the start offset on; they end
    /// (`None`) together with `stop`.
    fn run(
        &self,
        worker: Self::Worker,
        batches: Batches,
        stop: CancellationToken,
    ) -> impl Future<Output = WorkerEnd> + Send;
}

/// A partition taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeOver<W> {
    /// The offset of the first record that the worker wants.
    pub start: i64,
    /// The worker.
    pub worker: W,
}

/// How the work on a partition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum WorkerEnd {
    /// As asked.
    Stopped,
    /// Fenced, or the stored state is not known: join the group anew and take everything over. With
    /// the reason.
    Rejoin(String),
    /// This partition must not go on. With the reason, for people.
    Halt(String),
}

/// What the member is doing, for readiness checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// True while the member belongs to the group and has an assignment, even an empty one.
    pub joined: bool,
    /// What keeps it from working, if anything does.
    pub trouble: Option<String>,
    /// The partitions that are ours.
    pub partitions: BTreeMap<i32, PartitionState>,
}

/// The state of a partition that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// The processor takes it over.
    TakingOver,
    /// Its worker works.
    Running,
    /// It is not read any further, for this reason.
    Halted(String),
}

impl GroupStatus {
    /// Why the member is not ready, if it is not: not joined, in trouble, or partitions halted.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        if !self.joined {
            return Some("joining the group".into());
        }
        let halted = self.partitions.iter().filter_map(|(partition, state)| match state {
            PartitionState::Halted(reason) => Some(format!("partition {partition} halted: {reason}")),
            PartitionState::TakingOver => Some(format!("partition {partition} is being taken over")),
            PartitionState::Running => None,
        });
        let reasons: Vec<_> = halted.collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// A member of a consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {
    options: ConsumerOptions,
    status: watch::Sender<GroupStatus>,
}

impl ConsumerGroup {
    /// A member that has not joined yet.
    #[must_use]
    pub fn new(options: ConsumerOptions) -> Self {
        Self { options, status: watch::Sender::default() }
    }

    /// What the member is doing, now and at every change.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<GroupStatus> {
        self.status.subscribe()
    }

    /// Joins and works until `shutdown` is cancelled and all workers have ended. Brokers that are away
    /// are waited for.
    ///
    /// # Errors
    /// [`StreamError::Setup`] for impossible options, [`StreamError::Panicked`] if a worker panicked.
    pub async fn run<P: Processor>(
        self,
        processor: P,
        shutdown: CancellationToken,
    ) -> Result<(), StreamError> {
        // Dropping this future must end the thread as well.
        let stop = shutdown.child_token();
        let _guard = stop.clone().drop_guard();
        let (ended, outcome) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let polling = std::thread::Builder::new().name("kafka-poll".into()).spawn(move || {
            _ = ended.send(session::run(&self.options, &Arc::new(processor), &runtime, &self.status, &stop));
        });
        polling.map_err(|error| StreamError::Setup(format!("no thread for polling: {error}")))?;
        outcome.await.unwrap_or_else(|_| Err(StreamError::Setup("the polling thread panicked".into())))
    }
}
