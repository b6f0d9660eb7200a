//! Where librdkafka tells what became of the events: counters, waiting callers, one log line per outage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fluxori_core::record::partition_of;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{Partitioner, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::error::{EmitError, is_no_topic};

/// Where an acknowledged event lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// What became of the events so far. Those still waiting are `queued - acknowledged - failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Taken into the queue.
    pub queued: u64,
    /// Of these, acknowledged by the broker.
    pub acknowledged: u64,
    /// Of these, given up.
    pub failed: u64,
    /// Never taken: given back to the caller.
    pub rejected: u64,
}

impl Counts {
    /// How many events wait for the broker.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.queued.saturating_sub(self.acknowledged).saturating_sub(self.failed)
    }
}

/// Who waits for the acknowledgement of an event, if anybody does.
pub(crate) type Waiter = Option<oneshot::Sender<Result<Delivered, EmitError>>>;

/// Called by librdkafka, from its threads.
pub(crate) struct Deliveries {
    brokers: String,
    topic: String,
    partitioner: OrgPartitioner,
    pub(crate) queued: AtomicU64,
    pub(crate) rejected: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    brokers_down: AtomicBool,
    losing: AtomicBool,
}

impl Deliveries {
    pub(crate) fn new(brokers: &str, topic: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            partitioner: OrgPartitioner,
            queued: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            brokers_down: AtomicBool::new(false),
            losing: AtomicBool::new(false),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        // What ends is read before what begins, so that nothing seems to have ended that never began.
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        Counts {
            queued: self.queued.load(Ordering::Acquire),
            acknowledged,
            failed,
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// Sorts the error of an event that was queued.
    fn failure(&self, error: &KafkaError) -> EmitError {
        if is_no_topic(error) {
            return EmitError::NoTopic { topic: self.topic.clone() };
        }
        let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        match error.rdkafka_error_code() {
            Some(
                Code::MessageSizeTooLarge
                | Code::InvalidMessageSize
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::PolicyViolation,
            ) => EmitError::Refused(reason),
            Some(Code::PurgeQueue | Code::PurgeInflight) => EmitError::Closed,
            _ => EmitError::NotAcknowledged { brokers: self.brokers.clone(), reason },
        }
    }

    fn lost(&self, error: &EmitError) {
        if !self.losing.swap(true, Ordering::Relaxed) {
            tracing::error!(topic = self.topic, "usage events are lost, and counted from here on: {error}");
        }
    }

    fn answered(&self) {
        if self.brokers_down.load(Ordering::Relaxed) && self.brokers_down.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka answers again at {}", self.brokers);
        }
        if self.losing.load(Ordering::Relaxed) && self.losing.swap(false, Ordering::Relaxed) {
            let failed = self.failed.load(Ordering::Relaxed);
            tracing::info!(topic = self.topic, failed, "usage events are acknowledged again");
        }
    }
}

impl ProducerContext<OrgPartitioner> for Deliveries {
    type DeliveryOpaque = Box<Waiter>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiter: Box<Waiter>) {
        let answer = match result {
            Ok(message) => {
                self.acknowledged.fetch_add(1, Ordering::AcqRel);
                self.answered();
                Ok(Delivered { partition: message.partition(), offset: message.offset() })
            }
            Err((error, _)) => {
                self.failed.fetch_add(1, Ordering::AcqRel);
                Err(self.failure(error))
            }
        };
        match (*waiter, answer) {
            // Who no longer waits does not want to know.
            (Some(waiter), answer) => drop(waiter.send(answer)),
            (None, Err(error)) => self.lost(&error),
            (None, Ok(_)) => {}
        }
    }

    fn get_custom_partitioner(&self) -> Option<&OrgPartitioner> {
        Some(&self.partitioner)
    }
}

/// The log's own hash. librdkafka calls it when it knows the topic's partitions, which may be after the event was
/// queued.
pub(crate) struct OrgPartitioner;

impl Partitioner for OrgPartitioner {
    fn partition(&self, _: &str, key: Option<&[u8]>, partitions: i32, _: impl Fn(i32) -> bool) -> i32 {
        partition_of(key.unwrap_or_default(), partitions)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::AllBrokersDown) {
            if !self.brokers_down.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "no broker answers at {} ({reason}); is Kafka up? Events wait in memory meanwhile",
                    self.brokers
                );
            }
        } else {
            tracing::debug!(target: "librdkafka", %error, "{reason}");
        }
    }
}

/// librdkafka's lines as ours; what it repeats with every attempt to connect is for those who look for it.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
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
