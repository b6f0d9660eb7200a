//! The emitter against librdkafka's mock cluster: bounds, order, numbers and failures, without a broker.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::time::Duration;

use fluxori_core::record::partition_of;
use fluxori_emitter::{Delivered, EmitError, Emitted, Emitter, EmitterOptions, SpoolOptions, WhenFull};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use support::{event, read_all};

const TOPIC: &str = "credits.events.v1";
const PARTITIONS: i32 = 4;

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

fn queued(emitted: Emitted) {
    assert!(matches!(emitted, Emitted::Queued), "{emitted:?}");
}

/// Nobody listens there, so everything stays in the spool.
const NOBODY: &str = "127.0.0.1:1";

/// The smallest spool there is: four segments.
fn small(when_full: WhenFull) -> EmitterOptions {
    let spool = SpoolOptions { max_bytes: 1 << 20, when_full, ..SpoolOptions::in_memory() };
    EmitterOptions { spool, ..EmitterOptions::new(NOBODY) }
}

#[test]
fn a_full_queue_gives_the_event_back_at_once_and_takes_no_number() {
    let emitter = Emitter::new(small(WhenFull::Reject)).unwrap();
    let mut taken = 0;
    let (event, reason) = loop {
        let next = event("acme", taken);
        match emitter.emit(next.clone()) {
            Emitted::Queued => taken += 1,
            Emitted::Rejected { event, reason } => {
                assert_eq!(*event, next, "as it was given, without a number");
                break (event, reason);
            }
            Emitted::Accepted(_) => panic!("in memory"),
        }
    };
    assert_eq!(reason, EmitError::QueueFull { max_bytes: 1 << 20 });
    assert!(reason.is_transient() && (1_000..20_000).contains(&taken), "{taken}");
    let counts = emitter.counts();
    let taken = u64::try_from(taken).unwrap();
    assert_eq!((counts.emitted, counts.rejected, counts.waiting), (taken, 1, taken));
    let drained = emitter.close(Duration::from_millis(50));
    assert_eq!(drained, Err(EmitError::NotDrained { remaining: taken, spooled: false }));
    assert!(matches!(emitter.emit(*event), Emitted::Rejected { reason: EmitError::Closed, .. }));
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_them_if_that_is_the_policy() {
    let emitter = Emitter::new(small(WhenFull::DropOldest)).unwrap();
    let mut first = emitter.emit_tracked(event("acme", 0)).unwrap();
    for n in 1..20_000 {
        queued(emitter.emit(event("acme", n)));
    }
    assert_eq!(first.acknowledged().await, Err(EmitError::Dropped));
    let counts = emitter.counts();
    assert!(counts.dropped > 10_000, "{counts:?}");
    assert_eq!((counts.dropped + counts.waiting, counts.rejected), (20_000, 0), "{counts:?}");
    assert!(counts.spool_bytes <= 1 << 20, "{counts:?}");
}

#[test]
fn events_of_an_org_keep_their_order_and_numbers_are_gapless() {
    let cluster = cluster();
    let emitter = Emitter::new(EmitterOptions::new(cluster.bootstrap_servers())).unwrap();
    // The first are queued before the client knows how many partitions there are.
    for n in 0..2_000 {
        queued(emitter.emit(event(&format!("org-{}", n % 7), n)));
    }
    emitter.flush(Duration::from_secs(20)).unwrap();
    for n in 2_000..3_000 {
        queued(emitter.emit(event(&format!("org-{}", n % 7), n)));
    }
    emitter.close(Duration::from_secs(20)).unwrap();
    let counts = emitter.counts();
    assert_eq!((counts.emitted, counts.acknowledged, counts.waiting), (3_000, 3_000, 0));

    let records = read_all(&cluster.bootstrap_servers(), TOPIC, PARTITIONS, 3_000);
    let mut numbers = Vec::new();
    let mut last = std::collections::BTreeMap::new();
    for (partition, event) in &records {
        assert_eq!(*partition, partition_of(event.org_id.as_str().as_bytes(), PARTITIONS));
        assert_eq!(&event.producer_id, emitter.producer_id());
        let before = last.insert(event.org_id.clone(), event.producer_seq);
        assert!(before.is_none_or(|before| before < event.producer_seq), "out of order");
        numbers.push(event.producer_seq);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=3_000).collect::<Vec<_>>());
}

#[test]
fn an_event_that_bears_a_number_of_its_call_site_keeps_it() {
    let cluster = cluster();
    let emitter = Emitter::new(EmitterOptions::new(cluster.bootstrap_servers())).unwrap();
    let elsewhere = fluxori_core::id::ProducerId::new("python-7").unwrap();
    queued(emitter.emit(event("acme", 0).numbered(elsewhere.clone(), 41)));
    queued(emitter.emit(event("acme", 1)));
    emitter.close(Duration::from_secs(20)).unwrap();
    let records = read_all(&cluster.bootstrap_servers(), TOPIC, PARTITIONS, 2);
    let numbers: Vec<_> = records.iter().map(|(_, e)| (e.producer_id.clone(), e.producer_seq)).collect();
    assert_eq!(numbers, [(elsewhere, 41), (emitter.producer_id().clone(), 1)]);
}

#[tokio::test]
async fn acknowledged_positions_of_an_org_are_contiguous() {
    let cluster = cluster();
    let emitter = Emitter::new(EmitterOptions::new(cluster.bootstrap_servers())).unwrap();
    let waiting: Vec<_> = (0..500).map(|n| emitter.emit_acknowledged(event("acme", n))).collect();
    let partition = partition_of(b"acme", PARTITIONS);
    for (offset, acknowledgement) in (0..).zip(waiting) {
        assert_eq!(acknowledgement.await, Ok(Delivered { partition, offset }));
    }
    assert_eq!(emitter.counts().acknowledged, 500);
}

#[tokio::test]
async fn a_retry_inside_the_client_appends_once_and_keeps_the_order() {
    let cluster = cluster();
    let emitter = Emitter::new(EmitterOptions::new(cluster.bootstrap_servers())).unwrap();
    emitter.emit_acknowledged(event("acme", 0)).await.unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error, error]);
    let waiting: Vec<_> = (1..50).map(|n| emitter.emit_acknowledged(event("acme", n))).collect();
    for (offset, acknowledgement) in (1..).zip(waiting) {
        assert_eq!(acknowledgement.await.unwrap().offset, offset);
    }
}

#[tokio::test]
async fn an_outage_is_waited_for_and_ends_with_every_event_acknowledged_in_order() {
    let cluster = cluster();
    let emitter = Emitter::new(EmitterOptions::new(cluster.bootstrap_servers())).unwrap();
    emitter.emit_acknowledged(event("acme", 0)).await.unwrap();
    cluster.broker_down(1).unwrap();
    let waiting: Vec<_> = (1..1_000).map(|n| emitter.emit_acknowledged(event("acme", n))).collect();
    let drained = emitter.flush(Duration::from_millis(200));
    assert!(matches!(drained, Err(EmitError::NotDrained { spooled: false, .. })), "{drained:?}");
    cluster.broker_up(1).unwrap();
    for (offset, acknowledgement) in (1..).zip(waiting) {
        assert_eq!(acknowledgement.await.unwrap().offset, offset);
    }
}

#[test]
fn events_that_the_broker_does_not_take_for_now_are_sent_again_by_a_new_client() {
    let cluster = cluster();
    let emitter = Emitter::new(EmitterOptions::new(cluster.bootstrap_servers())).unwrap();
    queued(emitter.emit(event("acme", 0)));
    emitter.flush(Duration::from_secs(20)).unwrap();
    // Neither is ever tried again by the client library.
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error, error]);
        for n in 0..100 {
            queued(emitter.emit(event("acme", n)));
        }
        emitter.flush(Duration::from_secs(20)).unwrap();
    }
    let counts = emitter.counts();
    assert_eq!((counts.emitted, counts.waiting, counts.damaged, counts.dropped), (401, 0, 0, 0));
    let ids: std::collections::BTreeSet<_> = read_all(&cluster.bootstrap_servers(), TOPIC, PARTITIONS, 401)
        .into_iter()
        .map(|(_, e)| e.event_id)
        .collect();
    assert_eq!(ids.len(), 401);
}

#[tokio::test]
async fn who_waits_is_told_when_the_emitter_ends() {
    let emitter = Emitter::new(EmitterOptions::new(NOBODY)).unwrap();
    let acknowledgement = emitter.emit_acknowledged(event("acme", 1));
    drop(emitter);
    assert_eq!(acknowledgement.await, Err(EmitError::Closed));
}

#[test]
fn what_was_on_its_way_when_it_was_dropped_is_not_counted_as_dropped() {
    let cluster = cluster();
    let options = EmitterOptions { brokers: cluster.bootstrap_servers(), ..small(WhenFull::DropOldest) };
    let emitter = Emitter::new(options).unwrap();
    for n in 0..20_000 {
        queued(emitter.emit(event("acme", n)));
    }
    emitter.close(Duration::from_secs(20)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let counts = emitter.counts();
    assert_eq!((counts.acknowledged + counts.dropped, counts.damaged), (20_000, 0), "{counts:?}");
}
