//! Events to emit, and what the log holds of them.

use std::time::{Duration, Instant};

use fluxori_core::id::{EventId, Model, Module, OrgId, Provider};
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_wire::decode;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

/// Event number `n` of an org.
pub(crate) fn event(org: &str, n: i64) -> UsageEvent {
    let mut fields = UsageFields::new(
        EventId(Uuid::now_v7()),
        "2026-11-22T12:00:00Z".parse().unwrap(),
        OrgId::new(org).unwrap(),
        Module::new("rag-retrieval").unwrap(),
        Provider::new("openai").unwrap(),
        Model::new("gpt-5").unwrap(),
    );
    fields.input_tokens = n;
    UsageEvent::new(fields).unwrap()
}

/// The usage events of a topic, partition by partition in the order of the log, once there are `count`.
pub(crate) fn read_all(brokers: &str, topic: &str, partitions: i32, count: usize) -> Vec<(i32, UsageEvent)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut events = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while events.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} events came", events.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let record = decode(message.key(), message.payload(), Timestamp::from_millis(0));
        if let Body::Usage(event) = record.body {
            assert_eq!(message.key(), Some(event.org_id.as_str().as_bytes()));
            events.push((message.partition(), message.offset(), UsageEvent::clone(&event)));
        }
    }
    events.sort_by_key(|(partition, offset, _)| (*partition, *offset));
    events.into_iter().map(|(partition, _, event)| (partition, event)).collect()
}
