//! What the tests against a real broker share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fluxori_stream::{
    Batch, Batches, ConsumerGroup, ConsumerOptions, GroupHandle, GroupStatus, Processor, Publisher,
    PublisherOptions, StreamError, TakeOver, TopicSpec, WorkerEnd,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The brokers that `cargo xtask test` starts.
pub(crate) fn brokers() -> String {
    std::env::var("KAFKA_BROKERS")
        .expect("KAFKA_BROKERS is not set: run `cargo xtask test`, or `cargo xtask up` and its exports")
}

/// A name that no earlier run has used.
pub(crate) fn unique(name: &str) -> String {
    use std::time::UNIX_EPOCH;
    #[expect(clippy::disallowed_methods, reason = "only for a fresh name")]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("test-stream-{name}-{now}")
}

pub(crate) fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, replication: 1, min_insync_replicas: 1 }
}

pub(crate) async fn topic(name: &str, partitions: i32) -> String {
    let topic = unique(name);
    spec(&topic, partitions).create(&brokers()).await.unwrap();
    topic
}

pub(crate) fn publisher(topic: &str) -> Publisher {
    Publisher::new(&PublisherOptions::new(brokers(), topic)).unwrap()
}

/// Publishes `count` records to each partition, values being their offsets in decimal.
pub(crate) async fn fill(publisher: &Publisher, partitions: i32, from: i64, count: i64) {
    let mut deliveries = Vec::new();
    for number in from..from + count {
        for partition in 0..partitions {
            let value = number.to_string();
            let delivery = loop {
                match publisher.enqueue(partition, b"org", value.as_bytes()) {
                    Err(StreamError::QueueFull) => tokio::time::sleep(Duration::from_millis(5)).await,
                    other => break other.unwrap(),
                }
            };
            deliveries.push((number, delivery));
        }
    }
    for (number, delivery) in deliveries {
        assert_eq!(delivery.await.unwrap().offset, number);
    }
}

/// A store with one cursor per partition and an epoch that fences, as a database would keep them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) cursors: BTreeMap<i32, (u64, i64)>,
    pub(crate) take_overs: usize,
    pub(crate) batches: usize,
    /// Commits that came with an old epoch or from an unexpected start.
    pub(crate) refused: Vec<String>,
    pub(crate) handles: Vec<GroupHandle>,
}

/// Checks contents and continuity, and commits every batch to the store.
#[derive(Clone, Default)]
pub(crate) struct Folder {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) pause: Duration,
}

pub(crate) struct Worker {
    epoch: u64,
}

impl Processor for Folder {
    type Worker = Worker;

    async fn take_over(
        &self,
        partition: i32,
        group: GroupHandle,
        _: CancellationToken,
    ) -> Result<TakeOver<Worker>, WorkerEnd> {
        let mut store = self.store.lock().unwrap();
        store.take_overs += 1;
        store.handles.push(group);
        let cursor = store.cursors.entry(partition).or_default();
        cursor.0 += 1;
        Ok(TakeOver { start: cursor.1, worker: Worker { epoch: cursor.0 } })
    }

    async fn run(&self, worker: Worker, mut batches: Batches, stop: CancellationToken) -> WorkerEnd {
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return WorkerEnd::Stopped,
                batch = batches.next() => batch,
            };
            let Some(batch) = batch else { return WorkerEnd::Stopped };
            check(&batch);
            tokio::time::sleep(self.pause).await;
            let mut store = self.store.lock().unwrap();
            store.batches += 1;
            let cursor = store.cursors.entry(batch.partition()).or_default();
            if *cursor != (worker.epoch, batch.start()) {
                let refusal = format!("{cursor:?} is not ({}, {})", worker.epoch, batch.start());
                store.refused.push(refusal);
                return WorkerEnd::Rejoin("refused".into());
            }
            cursor.1 = batch.end();
        }
    }
}

/// Offsets ascend by one and values are their offsets.
pub(crate) fn check(batch: &Batch) {
    for (offset, record) in (batch.start()..).zip(batch.iter()) {
        assert_eq!(record.offset, offset);
        assert_eq!(record.key, Some(b"org".as_slice()));
        assert_eq!(record.value, Some(offset.to_string().as_bytes()));
        assert!(record.append_time_ms > 1_700_000_000_000);
    }
}

pub(crate) struct Member {
    pub(crate) status: watch::Receiver<GroupStatus>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), StreamError>>,
}

impl Member {
    pub(crate) fn start<P: Processor>(options: ConsumerOptions, processor: P) -> Self {
        let group = ConsumerGroup::new(options);
        let (status, stop) = (group.status(), CancellationToken::new());
        let task = tokio::spawn(group.run(processor, stop.clone()));
        Self { status, stop, task }
    }

    pub(crate) async fn stop(self) -> Result<(), StreamError> {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it ends").unwrap()
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl FnMut(&GroupStatus) -> bool,
    ) -> GroupStatus {
        let found = tokio::time::timeout(Duration::from_secs(30), self.status.wait_for(wanted)).await;
        found.unwrap_or_else(|_| panic!("not within 30 s: {what}")).unwrap().clone()
    }
}

pub(crate) fn options(topic: &str, brokers: &str) -> ConsumerOptions {
    ConsumerOptions {
        session_timeout: Duration::from_secs(6),
        batch_max_records: 500,
        batch_linger: Duration::from_millis(5),
        ..ConsumerOptions::new(brokers, topic, format!("{topic}-group"))
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s: {what}");
}
