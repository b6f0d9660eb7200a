//! The emitter against librdkafka's mock cluster: bounds, order, numbers and failures, without a broker.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::time::Duration;

use fluxori_core::record::partition_of;
use fluxori_emitter::{Delivered, EmitError, Emitted, Emitter, EmitterOptions};
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

#[test]
fn a_full_queue_gives_the_event_back_at_once_and_takes_no_number() {
    // Nobody listens on port 1, so everything stays in the queue.
    let mut options = EmitterOptions::new("127.0.0.1:1");
    options.queue_events = 10;
    let emitter = Emitter::new(options).unwrap();
    for n in 0..10 {
        queued(emitter.emit(event("acme", n)));
    }
    let extra = event("acme", 10);
    // Had it waited, there would be room only when those before it have expired, and then it would be queued.
    let Emitted::Rejected { event, reason } = emitter.emit(extra.clone()) else { panic!("was queued") };
    assert_eq!(*event, extra, "as it was given, without a number");
    assert_eq!(reason, EmitError::QueueFull { queue_events: 10 });
    assert!(reason.is_transient());
    let counts = emitter.counts();
    assert_eq!((counts.queued, counts.rejected, counts.waiting()), (10, 1, 10));
    let drained = emitter.close(Duration::from_millis(50));
    assert_eq!(drained, Err(EmitError::NotDrained { remaining: 10 }));
    assert!(matches!(emitter.emit(event_after_close()), Emitted::Rejected { reason: EmitError::Closed, .. }));
}

fn event_after_close() -> fluxori_core::usage::UsageEvent {
    event("acme", 11)
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
    assert_eq!((counts.queued, counts.acknowledged, counts.failed), (3_000, 3_000, 0));

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
    assert_eq!(emitter.counts().failed, 0);
}

#[tokio::test]
async fn what_the_broker_does_not_acknowledge_in_time_has_failed_and_is_counted() {
    let cluster = cluster();
    let mut options = EmitterOptions::new(cluster.bootstrap_servers());
    options.delivery_timeout = Duration::from_secs(1);
    let emitter = Emitter::new(options).unwrap();
    delivered_at_last(&emitter).await;
    let before = emitter.counts();
    cluster.broker_down(1).unwrap();
    queued(emitter.emit(event("acme", 1)));
    let error = emitter.emit_acknowledged(event("acme", 2)).await.unwrap_err();
    assert!(matches!(error, EmitError::NotAcknowledged { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains("is Kafka up?"), "{error}");
    let counts = emitter.counts();
    assert_eq!(
        (counts.acknowledged - before.acknowledged, counts.failed - before.failed, counts.waiting()),
        (0, 2, 0)
    );

    cluster.broker_up(1).unwrap();
    delivered_at_last(&emitter).await;
}

/// Emits until the cluster acknowledges an event: with a short time-out, and while the client still connects, the first
/// ones may fail.
async fn delivered_at_last(emitter: &Emitter) {
    let mut delivered = Err(EmitError::Closed);
    for n in 100..160 {
        delivered = emitter.emit_acknowledged(event("acme", n)).await;
        if delivered.is_ok() {
            break;
        }
    }
    delivered.unwrap();
}
