use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::ConsumerOptions;
use super::context::GroupContext;
use crate::reader::push;
use crate::{Batch, StreamError};

/// So many records are taken from one partition before the others have their turn.
const TURN: usize = 2_000;

/// The batches of one partition, in order and contiguous.
#[derive(Debug)]
pub struct Batches {
    receiver: mpsc::Receiver<Batch>,
    /// Whether the worker waits: a batch that is not full grows until then.
    waits: Arc<AtomicBool>,
    poller: Thread,
    stop: CancellationToken,
}

impl Batches {
    /// The next batch, never empty; none as soon as the worker is asked to end, even if one waits.
    ///
    /// Dropping the future while it waits loses nothing.
    pub async fn next(&mut self) -> Option<Batch> {
        self.waits.store(true, Ordering::Relaxed);
        self.poller.unpark();
        let batch = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            batch = self.receiver.recv() => batch,
        };
        self.waits.store(false, Ordering::Relaxed);
        self.poller.unpark();
        batch
    }
}

/// A partition that runs: its queue in the client library, the batch that grows, and the way to its worker.
pub(super) struct Slot {
    queue: PartitionQueue<GroupContext>,
    sender: mpsc::Sender<Batch>,
    /// Whether the worker waits for a batch.
    worker_waits: Arc<AtomicBool>,
    open: Batch,
    opened: Instant,
    topic: Arc<str>,
    records: metrics::Counter,
    batches: metrics::Counter,
    /// Asks the worker to end.
    pub(super) stop: CancellationToken,
}

/// What a turn of a partition has brought.
#[derive(Debug)]
pub(super) enum Turn {
    /// Records came; there may be more.
    Busy,
    /// Nothing to do until then, or until something wakes the thread.
    Idle(Option<Instant>),
    /// The partition must not be read any further.
    Broken(StreamError),
    /// The client library says that the offset is not in the log.
    OffsetMissing(i64),
}

impl Slot {
    pub(super) fn new(
        mut queue: PartitionQueue<GroupContext>,
        partition: i32,
        start: i64,
        topic: Arc<str>,
        stop: CancellationToken,
    ) -> (Self, Batches) {
        let poller = std::thread::current();
        let waker = poller.clone();
        queue.set_nonempty_callback(move || waker.unpark());
        // One batch waits here while another grows.
        let (sender, receiver) = mpsc::channel(1);
        let label = partition.to_string();
        let waits = Arc::new(AtomicBool::new(false));
        let slot = Self {
            queue,
            sender,
            worker_waits: Arc::clone(&waits),
            open: Batch::new(partition, start),
            opened: Instant::now(),
            topic,
            records: metrics::counter!("stream_records_total", "partition" => label.clone()),
            batches: metrics::counter!("stream_batches_total", "partition" => label),
            stop: stop.clone(),
        };
        (slot, Batches { receiver, waits, poller, stop })
    }

    /// The offset of the record that is due next.
    pub(super) fn next(&self) -> i64 {
        self.open.end()
    }

    /// Moves records from the queue into batches, and batches to the worker: full ones as soon as there is room, others
    /// once they have lingered and the worker waits. What comes meanwhile need not wait behind a small batch.
    pub(super) fn turn(&mut self, options: &ConsumerOptions) -> Turn {
        let mut came = 0;
        while came < TURN {
            let full =
                self.open.len() >= options.batch_max_records || self.open.bytes() >= options.batch_max_bytes;
            if full && !self.hand_over() {
                // The worker is behind: the records stay where they are until it takes a batch.
                return Turn::Idle(None);
            }
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    if self.open.is_empty() {
                        self.opened = Instant::now();
                    }
                    if let Err(error) = push(&mut self.open, &message, &self.topic) {
                        return Turn::Broken(error);
                    }
                    came += 1;
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Turn::OffsetMissing(self.next());
                    }
                    // The client library goes on by itself; outages are reported by its context.
                    _ => tracing::debug!(partition = self.open.partition(), %error, "while reading"),
                },
            }
        }
        if came == TURN {
            return Turn::Busy;
        }
        if self.open.is_empty() {
            return Turn::Idle(None);
        }
        let due = self.opened + options.batch_linger;
        if due > Instant::now() {
            return Turn::Idle(Some(due));
        }
        // When it begins to wait, it wakes the thread.
        if self.worker_waits.load(Ordering::Relaxed) {
            self.hand_over();
        }
        Turn::Idle(None)
    }

    /// True if the open batch went to the worker.
    fn hand_over(&mut self) -> bool {
        match self.sender.try_reserve() {
            Ok(place) => {
                self.records.increment(u64::try_from(self.open.len()).unwrap_or(u64::MAX));
                let next = self.open.following();
                place.send(std::mem::replace(&mut self.open, next));
                self.batches.increment(1);
                true
            }
            // A worker that has ended reports it itself.
            Err(TrySendError::Full(()) | TrySendError::Closed(())) => false,
        }
    }
}
