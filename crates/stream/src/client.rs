//! What all clients share: the base of their options, and where librdkafka's lines and errors go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::StreamError;

/// A question to a broker is answered in this time, or it counts as away.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// What the largest record may take: 1 MiB of value, its key and the frame around them.
pub(crate) const MAX_RECORD_BYTES: &str = "2097152";

/// The options that every client has.
pub(crate) fn base(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "fluxori")
        .set("allow.auto.create.topics", "false")
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "5000")
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// The options of everyone who reads: exactly from the offset given, and never from anywhere else.
pub(crate) fn base_consumer(brokers: &str, group: &str) -> ClientConfig {
    let mut config = base(brokers);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "false")
        // The log has no transactions. Should a producer open one all the same, its records count like all others:
        // "committed" would hold everybody up until it ends, and then leave out what it aborted.
        .set("isolation.level", "read_uncommitted")
        .set("fetch.wait.max.ms", "100")
        // Prefetch is bounded per partition, and taken up again soon after the queue has room.
        .set("queued.min.messages", "50000")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.queue.backoff.ms", "20");
    config
}

/// Turns librdkafka's lines and errors into ours: an outage is one warning, and its end one line.
#[derive(Clone, Debug)]
pub(crate) struct BrokerLog {
    brokers: Arc<str>,
    down: Arc<AtomicBool>,
}

impl BrokerLog {
    pub(crate) fn new(brokers: &str) -> Self {
        Self { brokers: brokers.into(), down: Arc::default() }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// True between the first sign of an outage and the first answer after it.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// A broker answered.
    pub(crate) fn answered(&self) {
        if self.is_down() && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka answers again at {}", self.brokers);
        }
    }
}

impl ClientContext for BrokerLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            // Connection failures come again and again; `error` below reports them once.
            RDKafkaLogLevel::Error if matches!(facility, "FAIL" | "ERROR") => {
                tracing::debug!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", facility, "{line}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{line}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::AllBrokersDown) {
            if !self.down.swap(true, Ordering::Relaxed) {
                tracing::warn!("no broker answers at {}; is Kafka up? Trying again ({reason})", self.brokers);
            }
        } else {
            tracing::debug!(target: "librdkafka", %error, "{reason}");
        }
    }
}

impl ConsumerContext for BrokerLog {}

/// Runs a call that blocks on a thread for such calls.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, StreamError> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| {
        Err(StreamError::Refused { action: "wait for a call to Kafka".into(), reason: error.to_string() })
    })
}
