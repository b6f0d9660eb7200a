//! The consumer group against a real broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Folder, Member, brokers, fill, options, publisher, topic, until};
use fluxori_stream::{
    Batches, Committed, ConsumerOptions, GroupHandle, GroupStatus, LogReader, PartitionState, Processor,
    Range, StreamError, TakeOver, WorkerEnd,
};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

fn running(status: &GroupStatus, count: usize) -> bool {
    status.partitions.len() == count
        && status.partitions.values().all(|state| *state == PartitionState::Running)
}

/// Deletes the records of a partition before an offset.
async fn truncate(topic: &str, partition: i32, before: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
    admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_arrive_contiguous_and_in_order_under_back_pressure() {
    let topic = topic("back-pressure", 2).await;
    fill(&publisher(&topic), 2, 0, 60_000).await;
    let folder = Folder { pause: Duration::from_millis(5), ..Folder::default() };
    let member = Member::start(options(&topic, &brokers()), folder.clone());
    until("all is folded", || {
        folder.store.lock().unwrap().cursors.values().filter(|c| c.1 == 60_000).count() == 2
    })
    .await;
    member.stop().await.unwrap();
    let store = folder.store.lock().unwrap();
    assert_eq!((store.refused.len(), store.take_overs), (0, 2));
    // With a slow worker batches fill up rather than trickle.
    assert!(store.batches < 400, "{} batches", store.batches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_hands_over_without_gap_or_overlap() {
    let topic = topic("rebalance", 4).await;
    let publisher = publisher(&topic);
    let folder = Folder { pause: Duration::from_millis(2), ..Folder::default() };
    let mut first = Member::start(options(&topic, &brokers()), folder.clone());
    first.until("the first owns all", |status| running(status, 4)).await;
    let writing = tokio::spawn(async move {
        for round in 0..30 {
            fill(&publisher, 4, round * 200, 200).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut second = Member::start(options(&topic, &brokers()), folder.clone());
    second.until("the second owns half", |status| running(status, 2)).await;
    first.until("the first owns half", |status| running(status, 2)).await;
    assert_eq!(first.status.borrow().not_ready(), None);
    let handles = folder.store.lock().unwrap().handles.clone();
    first.stop().await.unwrap();
    second.until("the second owns all", |status| running(status, 4)).await;
    writing.await.unwrap();
    until("all is folded", || folder.store.lock().unwrap().cursors.values().all(|cursor| cursor.1 == 6_000))
        .await;
    second.stop().await.unwrap();
    assert_eq!(folder.store.lock().unwrap().refused, Vec::<String>::new());
    assert_eq!(folder.store.lock().unwrap().take_overs, 4 + 4 + 4);
    // Handles of assignments that were given up are cut off.
    for handle in handles {
        assert!(handle.commit(0, 1, "").await.unwrap_err().is_fenced());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_truncated_before_the_cursor_halts_its_partition_only() {
    let topic = topic("truncated", 2).await;
    fill(&publisher(&topic), 2, 0, 100).await;
    truncate(&topic, 1, 50).await;
    let folder = Folder::default();
    let mut member = Member::start(options(&topic, &brokers()), folder.clone());
    let halted = |status: &GroupStatus| matches!(status.partitions.get(&1), Some(PartitionState::Halted(_)));
    let status = member.until("partition 1 halts", halted).await;
    let reason = status.not_ready().unwrap();
    assert!(reason.contains("begins at 50: 0 to 49 are missing"), "{reason}");
    until("partition 0 goes on", || folder.store.lock().unwrap().cursors[&0].1 == 100).await;
    assert_eq!(folder.store.lock().unwrap().cursors[&1].1, 0);
    member.stop().await.unwrap();
}

/// Takes a batch only when the test lets it.
#[derive(Clone)]
struct Gated {
    gate: Arc<Semaphore>,
    ends: Arc<Mutex<Vec<(i32, i64)>>>,
}

impl Processor for Gated {
    type Worker = i32;

    async fn take_over(
        &self,
        partition: i32,
        _: GroupHandle,
        _: CancellationToken,
    ) -> Result<TakeOver<i32>, WorkerEnd> {
        Ok(TakeOver { start: 0, worker: partition })
    }

    async fn run(&self, partition: i32, mut batches: Batches, _: CancellationToken) -> WorkerEnd {
        loop {
            if partition == 0 {
                self.gate.acquire().await.unwrap().forget();
            }
            let Some(batch) = batches.next().await else { return WorkerEnd::Stopped };
            self.ends.lock().unwrap().push((partition, batch.end()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_truncated_under_the_reader_halts_its_partition_only() {
    let topic = topic("truncated-later", 2).await;
    let publisher = publisher(&topic);
    // Far more than is read ahead, and hard to compress.
    let mut seed = 1_u64;
    for _ in 0..40 {
        let value: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        })
        .take(1_000_000)
        .collect();
        publisher.publish(0, b"org", &value).await.unwrap();
    }
    let gated = Gated { gate: Arc::new(Semaphore::new(0)), ends: Arc::default() };
    let options = ConsumerOptions { batch_max_records: 1, ..options(&topic, &brokers()) };
    let mut member = Member::start(options, gated.clone());
    member.until("both run", |status| running(status, 2)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    truncate(&topic, 0, 39).await;
    gated.gate.add_permits(100);
    let halted = |status: &GroupStatus| matches!(status.partitions.get(&0), Some(PartitionState::Halted(_)));
    let status = member.until("partition 0 halts", halted).await;
    let reason = status.not_ready().unwrap();
    assert!(reason.contains("does not hold offset"), "{reason}");
    let last = gated.ends.lock().unwrap().last().copied().unwrap();
    assert!(last.1 < 39, "nothing is skipped: {last:?}");
    publisher.publish(1, b"org", b"0").await.unwrap();
    until("partition 1 goes on", || gated.ends.lock().unwrap().contains(&(1, 1))).await;
    member.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_gets_no_further_batch() {
    let topic = topic("no-further", 1).await;
    fill(&publisher(&topic), 1, 0, 10).await;
    let gated = Gated { gate: Arc::new(Semaphore::new(0)), ends: Arc::default() };
    let options = ConsumerOptions { batch_max_records: 1, ..options(&topic, &brokers()) };
    let mut member = Member::start(options, gated.clone());
    member.until("it runs", |status| running(status, 1)).await;
    gated.gate.add_permits(1);
    until("the first batch", || gated.ends.lock().unwrap().len() == 1).await;
    // Meanwhile the second waits for the worker, which is busy.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopping = tokio::spawn(member.stop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    gated.gate.add_permits(100);
    stopping.await.unwrap().unwrap();
    assert_eq!(*gated.ends.lock().unwrap(), [(0, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_holds_nobody_up_and_its_marker_halts_the_partition() {
    let topic = topic("transactional", 2).await;
    let folder = Folder::default();
    let mut member = Member::start(options(&topic, &brokers()), folder.clone());
    member.until("it runs", |status| running(status, 2)).await;
    let transactional: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", &topic)
        .create()
        .unwrap();
    let limit = Duration::from_secs(20);
    transactional.init_transactions(limit).unwrap();
    transactional.begin_transaction().unwrap();
    transactional.send(BaseRecord::to(&topic).partition(1).key("org").payload("0")).unwrap();
    transactional.flush(limit).unwrap();
    fill(&publisher(&topic), 1, 0, 2).await;
    publisher(&topic).publish(1, b"org", b"1").await.unwrap();
    until("what is there is folded", || folder.store.lock().unwrap().cursors.values().all(|c| c.1 == 2))
        .await;

    transactional.commit_transaction(limit).unwrap();
    publisher(&topic).publish(1, b"org", b"3").await.unwrap();
    let halted = |status: &GroupStatus| matches!(status.partitions.get(&1), Some(PartitionState::Halted(_)));
    let reason = member.until("partition 1 halts", halted).await.not_ready().unwrap();
    assert!(reason.contains("jumps from offset 2 to 3: a transactional producer"), "{reason}");
    member.stop().await.unwrap();
    let all = [Range { partition: 1, start: 0, end: 4 }];
    let mut scan = LogReader::new(&brokers(), &topic).unwrap().scan(&all, 100).unwrap();
    let gap = StreamError::Gap { partition: 1, expected: 2, found: 3 };
    assert_eq!(scan.next().await.unwrap_err(), gap);
}

/// Commits to the group, as the analytics consumer does, and remembers what it found there and how far it came.
#[derive(Clone, Default)]
struct Committing {
    found: Arc<Mutex<Vec<Option<Committed>>>>,
    /// The last offset that was committed.
    end: Arc<Mutex<i64>>,
}

impl Processor for Committing {
    type Worker = GroupHandle;

    async fn take_over(
        &self,
        partition: i32,
        group: GroupHandle,
        _: CancellationToken,
    ) -> Result<TakeOver<GroupHandle>, WorkerEnd> {
        let found = group.committed(partition).await.map_err(|error| WorkerEnd::Rejoin(error.to_string()))?;
        let start = found.as_ref().map_or(0, |found| found.offset);
        self.found.lock().unwrap().push(found);
        Ok(TakeOver { start, worker: group })
    }

    async fn run(&self, group: GroupHandle, mut batches: Batches, _: CancellationToken) -> WorkerEnd {
        while let Some(batch) = batches.next().await {
            let sealed = format!("sealed {}..{}", batch.start(), batch.end());
            if let Err(error) = group.commit(batch.partition(), batch.end(), &sealed).await {
                return WorkerEnd::Rejoin(error.to_string());
            }
            *self.end.lock().unwrap() = batch.end();
        }
        WorkerEnd::Stopped
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_and_its_text_are_found_by_the_next_owner() {
    let topic = topic("committed", 1).await;
    let publisher = publisher(&topic);
    let committing = Committing::default();
    for round in 0..2 {
        let mut member = Member::start(options(&topic, &brokers()), committing.clone());
        member.until("it runs", |status| running(status, 1)).await;
        fill(&publisher, 1, round * 10, 10).await;
        let end = round * 10 + 10;
        until("all is committed", || *committing.end.lock().unwrap() == end).await;
        member.stop().await.unwrap();
    }
    let found = committing.found.lock().unwrap().clone();
    assert_eq!(found[0], None);
    let second = found[1].clone().unwrap();
    assert_eq!(second.offset, 10);
    assert!(second.metadata.ends_with("..10"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_ends_the_member_with_an_error() {
    #[derive(Clone)]
    struct Panics;
    impl Processor for Panics {
        type Worker = ();
        async fn take_over(
            &self,
            _: i32,
            _: GroupHandle,
            _: CancellationToken,
        ) -> Result<TakeOver<()>, WorkerEnd> {
            Ok(TakeOver { start: 0, worker: () })
        }
        async fn run(&self, (): (), _: Batches, _: CancellationToken) -> WorkerEnd {
            panic!("on purpose")
        }
    }
    let topic = topic("panics", 2).await;
    let group = fluxori_stream::ConsumerGroup::new(options(&topic, &brokers()));
    let ended =
        tokio::time::timeout(Duration::from_secs(20), group.run(Panics, CancellationToken::new())).await;
    let text = ended.unwrap().unwrap_err().to_string();
    assert!(text.contains("panicked"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_named_and_found_when_it_is_created() {
    let name = crate::common::unique("created-later");
    let mut member = Member::start(options(&name, &brokers()), Folder::default());
    let status = member.until("the missing topic shows", |status| status.trouble.is_some()).await;
    assert!(status.not_ready().unwrap().contains("does not exist; create it"), "{status:?}");
    crate::common::spec(&name, 1).create(&brokers()).await.unwrap();
    let status = member.until("it runs", |status| running(status, 1)).await;
    assert_eq!(status.not_ready(), None);
    member.stop().await.unwrap();
}

/// Does not listen when it is asked to end.
#[derive(Clone, Default)]
struct Stubborn {
    handles: Arc<Mutex<Vec<GroupHandle>>>,
}

impl Processor for Stubborn {
    type Worker = ();

    async fn take_over(
        &self,
        _: i32,
        group: GroupHandle,
        _: CancellationToken,
    ) -> Result<TakeOver<()>, WorkerEnd> {
        self.handles.lock().unwrap().push(group);
        Ok(TakeOver { start: 0, worker: () })
    }

    async fn run(&self, (): (), _: Batches, _: CancellationToken) -> WorkerEnd {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_does_not_end_is_left_behind_and_cannot_commit() {
    let topic = topic("stubborn", 2).await;
    let stubborn = Stubborn::default();
    let short = ConsumerOptions { revoke_grace: Duration::from_millis(300), ..options(&topic, &brokers()) };
    let mut first = Member::start(short, stubborn.clone());
    first.until("the first owns all", |status| running(status, 2)).await;
    let left_behind = stubborn.handles.lock().unwrap().clone();
    left_behind[0].commit(0, 0, "while it is ours").await.unwrap();
    let mut second = Member::start(options(&topic, &brokers()), Folder::default());
    second.until("the second owns some", |status| running(status, 1) || running(status, 2)).await;
    for handle in left_behind {
        assert!(handle.commit(0, 1, "").await.unwrap_err().is_fenced());
    }
    first.until("the first is back", |status| running(status, 1)).await;
    first.stop().await.unwrap();
    second.until("the second owns all", |status| running(status, 2)).await;
    second.stop().await.unwrap();
}
