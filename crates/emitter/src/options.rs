use std::time::Duration;

use fluxori_core::id::ProducerId;
use fluxori_wire::DEFAULT_TOPIC;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use uuid::Uuid;

use crate::EmitError;

/// What the largest record may take: 1 MiB of value, its key and the frame around them; as the log's topic has it.
const MAX_RECORD_BYTES: &str = "2097152";
/// The queue's bound in KiB, beside that on events.
const QUEUE_KBYTES: &str = "262144";

/// How an emitter emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitterOptions {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// The log's topic.
    pub topic: String,
    /// How many events may wait for the broker (and at most 256 MiB of them).
    pub queue_events: u32,
    /// How long an event waits for others to travel with.
    pub linger: Duration,
    /// How long an event may wait for its acknowledgement, retries included, before it has failed.
    pub delivery_timeout: Duration,
    /// Names this process; none = its host and a new UUID.
    pub producer_id: Option<ProducerId>,
}

impl EmitterOptions {
    /// The default topic, 100,000 events, 5 ms of linger, and an hour for the acknowledgement: while the process
    /// lives, a bounded queue has no reason to give an event up early.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: DEFAULT_TOPIC.to_owned(),
            queue_events: 100_000,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_hours(1),
            producer_id: None,
        }
    }

    /// From `FLUXORI__KAFKA__BROKERS` or else `KAFKA_BROKERS`, and `FLUXORI__KAFKA__TOPIC`; everything else as
    /// [`Self::new`] has it.
    ///
    /// # Errors
    /// [`EmitError::Setup`] if no brokers are named.
    pub fn from_env() -> Result<Self, EmitError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let brokers = variable("FLUXORI__KAFKA__BROKERS").or_else(|| variable("KAFKA_BROKERS"));
        let brokers = brokers.ok_or_else(|| {
            EmitError::Setup("no brokers are named; set KAFKA_BROKERS=host:port".to_owned())
        })?;
        let mut options = Self::new(brokers);
        if let Some(topic) = variable("FLUXORI__KAFKA__TOPIC") {
            options.topic = topic;
        }
        Ok(options)
    }

    /// The producer's configuration: idempotent, so that a retry after a lost answer does not append twice.
    pub(crate) fn producer_config(&self) -> ClientConfig {
        let mut config = base_config(&self.brokers);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", self.linger.as_millis().to_string())
            // The client refuses a timeout below the linger.
            .set("message.timeout.ms", self.delivery_timeout.max(self.linger).as_millis().max(1).to_string())
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("queue.buffering.max.messages", self.queue_events.max(1).to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES);
        config
    }
}

/// What all clients of this crate share.
pub(crate) fn base_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "fluxori-emitter")
        .set("allow.auto.create.topics", "false")
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "5000")
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// The name of this process: its host, for people, and a UUID, because processes restart and hosts are cloned.
pub(crate) fn producer_id_of_this_process() -> Result<ProducerId, EmitError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
    let host = if host.is_empty() { "host" } else { &host };
    ProducerId::new(&format!("{host}-{}", Uuid::now_v7().simple()))
        .map_err(|error| EmitError::Setup(error.to_string()))
}
