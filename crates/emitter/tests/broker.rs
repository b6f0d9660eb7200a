//! The emitter against a real broker, named by `KAFKA_BROKERS`.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::time::Duration;

use fluxori_core::command::{Command, CommandBody, Genesis};
use fluxori_core::digest::Digest;
use fluxori_core::fold::Halt;
use fluxori_core::id::{CommandId, GLOBAL_KEY, LogId};
use fluxori_core::record::partition_of;
use fluxori_emitter::{Delivered, EmitError, Emitted, Emitter, EmitterOptions, SpoolOptions};
use fluxori_wire::{Issuer, encode_payload};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use uuid::Uuid;

use support::{event, read_all};

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// A topic of its own, deleted by nobody: brokers of tests are thrown away.
struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    async fn create() -> Self {
        let brokers = std::env::var("KAFKA_BROKERS").unwrap_or_default();
        assert!(
            !brokers.is_empty(),
            "KAFKA_BROKERS is not set: this test needs a broker; `cargo xtask test` starts one"
        );
        let name = format!("emitter-test-{}", Uuid::now_v7().simple());
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", "2097152");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for result in admin.create_topics([&topic], &options).await.unwrap() {
            result.unwrap();
        }
        Self { brokers, name }
    }

    fn options(&self) -> EmitterOptions {
        EmitterOptions { topic: self.name.clone(), ..EmitterOptions::new(&self.brokers) }
    }

    /// Writes the genesis of a log with so many partitions into partition 0; returns its log and digest.
    fn write_genesis(&self, partitions: i32) -> (LogId, Digest) {
        let log_id = LogId(Uuid::now_v7());
        let root = Issuer::new(log_id, "root", [7; 32]);
        let genesis = Genesis { log_id, root_key: root.public_key(), rules_version: 1, partitions };
        let command = Command {
            command_id: CommandId(log_id.0),
            issued_at: "2026-11-22T12:00:00Z".parse().unwrap(),
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            reference: None,
            body: CommandBody::Genesis(genesis),
        };
        let value = root.sign(&command).unwrap();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        producer
            .send(BaseRecord::to(&self.name).partition(0).key(GLOBAL_KEY).payload(&value))
            .map_err(|(error, _)| error)
            .unwrap();
        producer.flush(PATIENCE).unwrap();
        (log_id, Digest::of(&encode_payload(&command).unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_known_by_its_genesis_and_any_other_is_refused() {
    let topic = Topic::create().await;
    let emitter = Emitter::new(topic.options()).unwrap();
    let empty = emitter.log_identity(None, PATIENCE).unwrap_err();
    assert_eq!(empty, EmitError::Log(Halt::NoGenesis { partition: 0 }));
    assert!(empty.to_string().contains("credits log init"), "{empty}");

    let (log_id, digest) = topic.write_genesis(PARTITIONS);
    let identity = emitter.log_identity(Some(digest), PATIENCE).unwrap();
    assert_eq!((identity.genesis.log_id, identity.digest), (log_id, digest));

    let pinned = Digest::of(b"another");
    let wrong = emitter.log_identity(Some(pinned), PATIENCE).unwrap_err();
    assert_eq!(wrong, EmitError::Log(Halt::WrongLog { partition: 0, found: digest, pinned }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_other_partitions_than_its_genesis_says_is_refused() {
    let topic = Topic::create().await;
    topic.write_genesis(PARTITIONS * 2);
    let emitter = Emitter::new(topic.options()).unwrap();
    let error = emitter.log_identity(None, PATIENCE).unwrap_err();
    assert!(matches!(error, EmitError::Partitions { found: 4, genesis: 8, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_with_the_command_that_makes_it() {
    let mut options = Topic::create().await.options();
    options.topic = "there-is-no-such-topic".to_owned();
    let error = Emitter::new(options).unwrap().log_identity(None, PATIENCE).unwrap_err();
    assert!(matches!(error, EmitError::NoTopic { .. }), "{error}");
    assert!(error.to_string().contains("there-is-no-such-topic"), "{error}");
    assert!(error.to_string().contains("credits log init"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn emitted_events_are_in_the_log_in_order_and_acknowledged_ones_where_the_answer_says() {
    let topic = Topic::create().await;
    topic.write_genesis(PARTITIONS);
    let emitter = Emitter::new(topic.options()).unwrap();
    for n in 0..20_000 {
        assert_eq!(emitter.emit(event(&format!("org-{}", n % 50), n)), Emitted::Queued);
    }
    let last = emitter.emit_acknowledged(event("org-0", 20_000)).await.unwrap();
    emitter.close(PATIENCE).unwrap();
    let counts = emitter.counts();
    assert_eq!((counts.emitted, counts.acknowledged, counts.waiting), (20_001, 20_001, 0));

    let records = read_all(&topic.brokers, &topic.name, PARTITIONS, 20_001);
    let mut last_of_org = std::collections::BTreeMap::new();
    for (partition, event) in &records {
        assert_eq!(*partition, partition_of(event.org_id.as_str().as_bytes(), PARTITIONS));
        let before = last_of_org.insert(event.org_id.clone(), event.input_tokens);
        assert!(before.is_none_or(|before| before < event.input_tokens), "out of order");
    }
    let of_partition = records.iter().filter(|(partition, _)| *partition == last.partition).count();
    // The genesis lies before the events of partition 0, and no event of this org came after the last.
    let offset = i64::try_from(of_partition).unwrap() - i64::from(last.partition != 0);
    assert_eq!(last, Delivered { partition: last.partition, offset });
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_another_log_than_the_pinned_one() {
    let topic = Topic::create().await;
    let (_, digest) = topic.write_genesis(PARTITIONS);
    let folder = tempfile::tempdir().unwrap();
    let spool = SpoolOptions::in_folder(folder.path());
    let pinned = |genesis| EmitterOptions { genesis: Some(genesis), spool: spool.clone(), ..topic.options() };
    let elsewhere = Emitter::new(pinned(Digest::of(b"another"))).unwrap();
    let mut receipt = elsewhere.emit_tracked(event("acme", 1)).unwrap();
    let refused = receipt.acknowledged().await.unwrap_err();
    assert!(matches!(refused, EmitError::Log(Halt::WrongLog { .. })), "{refused}");
    assert_eq!((elsewhere.counts().acknowledged, elsewhere.counts().waiting), (0, 1));
    drop(elsewhere);
    // It waits for the log that it is for, and is none of this one's.
    let emitter = Emitter::new(pinned(digest)).unwrap();
    emitter.emit_acknowledged(event("acme", 2)).await.unwrap();
    emitter.close(PATIENCE).unwrap();
    assert_eq!((emitter.counts().recovered, emitter.counts().acknowledged), (0, 1));
}
