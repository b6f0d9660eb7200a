//! The polling thread: one session is one membership, from joining the group to leaving it.

mod rebalance;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Message as _, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::rebalance::{Assignment, Phase};
use super::context::GroupContext;
use super::slot::Turn;
use super::{ConsumerOptions, GroupStatus, PartitionState, Processor, TakeOver, WorkerEnd};
use crate::StreamError;
use crate::client::base_consumer;

/// The thread wakes up at least so often.
const NAP: Duration = Duration::from_millis(50);
/// The longest pause between two memberships.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A thread that was away for so long (stopped, or its machine was) takes its partitions over anew: the topic may have been
/// made again behind its back, and only a take-over compares the log with what was applied.
const AWAY: Duration = Duration::from_secs(2);
/// A membership that lasted so long makes the next pause short again.
const SETTLED: Duration = Duration::from_secs(30);
/// How long calls under way may take to let go of the client that is to be dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// A take-over is part of a rebalance, for which the group waits so long.
const MAX_POLL_INTERVAL_MS: &str = "600000";

/// Joins the group, again and again, until `shutdown`.
pub(super) fn run<P: Processor>(
    options: &ConsumerOptions,
    processor: &Arc<P>,
    runtime: &Handle,
    status: &watch::Sender<GroupStatus>,
    shutdown: &CancellationToken,
) -> Result<(), StreamError> {
    let mut pause = Duration::from_millis(250);
    loop {
        let began = Instant::now();
        let session = Session::join(options, processor, runtime, status, shutdown)?;
        let end = session.work();
        status.send_modify(|status| {
            *status = GroupStatus { trouble: status.trouble.take(), ..GroupStatus::default() };
        });
        match end {
            End::Shutdown => return Ok(()),
            End::Failed(error) => return Err(error),
            End::Rejoin(reason) => {
                pause = if began.elapsed() > SETTLED { Duration::from_millis(250) } else { pause * 2 };
                pause = pause.min(LONGEST_PAUSE);
                tracing::warn!(reason, "left the group; joining anew in {} ms", pause.as_millis());
                status.send_modify(|status| status.trouble = Some(format!("joining anew: {reason}")));
                let until = Instant::now() + pause;
                while Instant::now() < until && !shutdown.is_cancelled() {
                    std::thread::sleep(NAP);
                }
            }
        }
    }
}

/// Why a session ended.
enum End {
    Shutdown,
    Rejoin(String),
    Failed(StreamError),
}

/// What tasks report to the polling thread.
enum Event<W> {
    TakenOver(i32, Result<TakeOver<W>, WorkerEnd>),
    Ended(i32, WorkerEnd),
    Panicked(i32, String),
}

struct Session<'s, P: Processor> {
    options: &'s ConsumerOptions,
    processor: &'s Arc<P>,
    runtime: &'s Handle,
    status: &'s watch::Sender<GroupStatus>,
    shutdown: &'s CancellationToken,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: Arc<str>,
    assignment: Assignment<P::Worker>,
    reports: mpsc::Sender<Event<P::Worker>>,
    events: mpsc::Receiver<Event<P::Worker>>,
    /// Set when the session is to end, with the time when it ends at the latest.
    ending: Option<(End, Instant)>,
    lag_due: Instant,
}

impl<'s, P: Processor> Session<'s, P> {
    fn join(
        options: &'s ConsumerOptions,
        processor: &'s Arc<P>,
        runtime: &'s Handle,
        status: &'s watch::Sender<GroupStatus>,
        shutdown: &'s CancellationToken,
    ) -> Result<Self, StreamError> {
        let setup = |error: KafkaError| StreamError::Setup(error.to_string());
        let session_ms = options.session_timeout.as_millis();
        let context = GroupContext::new(&options.brokers, &options.topic);
        let mut consumer: BaseConsumer<GroupContext> = base_consumer(&options.brokers, &options.group)
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 4).clamp(1, 3_000).to_string())
            .set("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)
            .set("statistics.interval.ms", "5000")
            // A topic that is created after we subscribed is found soon.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .create_with_context(context)
            .map_err(setup)?;
        let poller = std::thread::current();
        consumer.set_nonempty_callback(move || poller.unpark());
        consumer.subscribe(&[&options.topic]).map_err(setup)?;
        let (reports, events) = mpsc::channel();
        Ok(Self {
            options,
            processor,
            runtime,
            status,
            shutdown,
            consumer: Arc::new(consumer),
            topic: options.topic.as_str().into(),
            assignment: Assignment::new(),
            reports,
            events,
            ending: None,
            lag_due: Instant::now(),
        })
    }

    fn work(mut self) -> End {
        let mut looked = Instant::now();
        loop {
            let away = looked.elapsed();
            looked = Instant::now();
            if away > AWAY && self.assignment.phase == Phase::Running && self.ending.is_none() {
                self.end(End::Rejoin(format!("stood still for {} ms", away.as_millis())));
            }
            self.serve_client();
            self.take_rebalances();
            while let Ok(event) = self.events.try_recv() {
                self.handle(event);
            }
            if self.shutdown.is_cancelled() && self.ending.is_none() {
                self.end(End::Shutdown);
            }
            let wake = self.pump();
            self.give_up_if_due();
            if let Some((_, at_latest)) = &self.ending
                && (self.assignment.tasks == 0 || Instant::now() >= *at_latest)
            {
                return self.close();
            }
            if let Some(wake) = wake {
                std::thread::park_timeout(wake.saturating_duration_since(Instant::now()).min(NAP));
            }
        }
    }

    /// Serves the client library's own events; partitions' records do not come this way.
    fn serve_client(&mut self) {
        for _ in 0..100 {
            let error = match self.consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    // Cannot be: every partition's queue was split off before it was assigned.
                    let reason = format!("partition {} has records outside its queue", message.partition());
                    drop(message);
                    return self.end(End::Rejoin(reason));
                }
                Some(Err(error)) => error,
            };
            match (&error, error.rdkafka_error_code()) {
                (KafkaError::MessageConsumptionFatal(code), _) => {
                    return self.end(End::Rejoin(format!("the client failed: {code}")));
                }
                (_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)) => {
                    let gone = StreamError::NoTopic { topic: self.options.topic.clone() }.to_string();
                    self.trouble(gone.clone());
                    // Should it be there again, it may be another one.
                    if self.assignment.phase == Phase::Running && self.ending.is_none() {
                        return self.end(End::Rejoin(gone));
                    }
                }
                (_, Some(Code::AllBrokersDown)) => {
                    self.trouble(format!("no broker answers at {}", self.options.brokers));
                }
                _ => tracing::debug!(%error, "while polling"),
            }
        }
    }

    /// Shows what keeps us from working; logged once by whoever found it, or here.
    fn trouble(&self, text: String) {
        let changed = self.status.send_if_modified(|status| {
            let changed = status.trouble.as_ref() != Some(&text);
            status.trouble = Some(text.clone());
            changed
        });
        if changed && !self.consumer.context().log.is_down() {
            tracing::warn!("{text}");
        }
    }

    /// Spawns a task whose outcome, or panic, comes back as an event.
    fn spawn<T: Send + 'static>(
        &mut self,
        partition: i32,
        task: impl Future<Output = T> + Send + 'static,
        report: fn(i32, T) -> Event<P::Worker>,
    ) {
        self.assignment.tasks += 1;
        let (events, poller) = (self.reports.clone(), std::thread::current());
        let running = self.runtime.spawn(task);
        self.runtime.spawn(async move {
            let event = match running.await {
                Ok(outcome) => report(partition, outcome),
                Err(error) => Event::Panicked(partition, error.to_string()),
            };
            // Nobody listens any more only if this task was left behind.
            _ = events.send(event);
            poller.unpark();
        });
    }

    fn handle(&mut self, event: Event<P::Worker>) {
        self.assignment.tasks = self.assignment.tasks.saturating_sub(1);
        let stopping = self.assignment.stop.is_cancelled() || self.ending.is_some();
        match event {
            Event::TakenOver(partition, Ok(taken)) => self.assignment.ready.push((partition, taken)),
            Event::TakenOver(_, Err(WorkerEnd::Stopped)) if !stopping => {
                self.end(End::Rejoin("a take-over was given up".into()));
            }
            Event::Ended(partition, WorkerEnd::Stopped) if !stopping => {
                // A worker that was halted ends this way too, after its slot is gone.
                if self.assignment.slots.contains_key(&partition) {
                    self.end(End::Rejoin(format!("the worker of partition {partition} ended by itself")));
                }
            }
            Event::TakenOver(_, Err(WorkerEnd::Stopped)) | Event::Ended(_, WorkerEnd::Stopped) => {}
            Event::TakenOver(partition, Err(WorkerEnd::Rejoin(reason)))
            | Event::Ended(partition, WorkerEnd::Rejoin(reason)) => {
                self.end(End::Rejoin(format!("partition {partition}: {reason}")));
            }
            Event::TakenOver(partition, Err(WorkerEnd::Halt(reason)))
            | Event::Ended(partition, WorkerEnd::Halt(reason)) => self.halt(partition, reason),
            Event::Panicked(partition, reason) => {
                self.end(End::Failed(StreamError::Panicked { partition, reason }))
            }
        }
        self.start_if_taken_over();
    }

    /// The partition stays ours and is not read any further.
    fn halt(&mut self, partition: i32, reason: String) {
        tracing::error!(partition, reason, "halted; the other partitions go on");
        metrics::gauge!("stream_partition_halted", "partition" => partition.to_string()).set(1);
        self.set_state(partition, PartitionState::Halted(reason));
        if let Some(slot) = self.assignment.slots.remove(&partition) {
            slot.stop.cancel();
            let mut halted = TopicPartitionList::new();
            halted.add_partition(&self.topic, partition);
            if let Err(error) = self.consumer.pause(&halted) {
                tracing::debug!(partition, %error, "could not be paused");
            }
        }
    }

    /// Gives every partition a turn. Returns when to wake up, or none if there is more to do at once.
    fn pump(&mut self) -> Option<Instant> {
        let mut wake = Some(Instant::now() + NAP);
        if self.assignment.phase != Phase::Running {
            return wake;
        }
        let mut broken = Vec::new();
        for (partition, slot) in &mut self.assignment.slots {
            match slot.turn(self.options) {
                Turn::Busy => wake = None,
                Turn::Idle(None) => {}
                Turn::Idle(Some(due)) => wake = wake.map(|wake| wake.min(due)),
                Turn::Broken(error) => broken.push((*partition, error.to_string())),
                Turn::OffsetMissing(offset) => broken.push((
                    *partition,
                    format!(
                        "the log does not hold offset {offset} any more, which is due: its records were deleted, or \
                         the topic was made again; restore it from a backup or its archive"
                    ),
                )),
            }
        }
        for (partition, reason) in broken {
            self.halt(partition, reason);
        }
        if Instant::now() >= self.lag_due {
            self.report_lag();
            // An outage shows until the brokers are seen to answer again.
            if !self.consumer.context().log.is_down() {
                self.status.send_if_modified(|status| status.trouble.take().is_some());
            }
        }
        wake
    }

    fn report_lag(&mut self) {
        self.lag_due = Instant::now() + Duration::from_secs(5);
        let context = self.consumer.context();
        for (partition, slot) in &self.assignment.slots {
            if let Some(high) = context.high(*partition) {
                let lag = u32::try_from((high - slot.next()).max(0)).unwrap_or(u32::MAX);
                metrics::gauge!("stream_lag_records", "partition" => partition.to_string()).set(lag);
            }
        }
    }

    /// Begins the end of the session; the first reason counts, except that a failure outranks it.
    fn end(&mut self, end: End) {
        if self.ending.is_none() || matches!(end, End::Failed(_)) {
            let at_latest = Instant::now() + self.options.revoke_grace;
            self.ending = Some((end, at_latest));
        }
        self.assignment.stop.cancel();
        self.assignment.slots.clear();
        self.assignment.ready.clear();
    }

    /// Leaves the group. The client must be dropped here and not by a call that still uses it.
    fn close(self) -> End {
        self.assignment.given_up.store(true, Ordering::Release);
        self.consumer.context().close();
        let end = self.ending.map_or(End::Shutdown, |(end, _)| end);
        drop(self.assignment);
        let until = Instant::now() + PATIENCE;
        while Arc::strong_count(&self.consumer) > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        // A rebalance that nobody answered yet would keep the client from closing.
        _ = self.consumer.unassign();
        drop(self.consumer);
        end
    }

    fn set_state(&self, partition: i32, state: PartitionState) {
        self.status.send_modify(|status| _ = status.partitions.insert(partition, state));
    }
}
