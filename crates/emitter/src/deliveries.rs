//! Where librdkafka tells what became of the records: reports by index, one log line per outage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use fluxori_core::record::partition_of;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{Partitioner, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

/// Where an acknowledged event lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// What became of the record of an index.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) index: u64,
    pub(crate) result: Result<Delivered, KafkaError>,
}

/// Called by librdkafka, on the thread that polls it and on its own.
pub(crate) struct Deliveries {
    brokers: String,
    partitioner: OrgPartitioner,
    reports: Mutex<Vec<Report>>,
    brokers_down: AtomicBool,
}

impl Deliveries {
    pub(crate) fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            partitioner: OrgPartitioner,
            reports: Mutex::default(),
            brokers_down: AtomicBool::new(false),
        }
    }

    /// Takes the reports since the last call into `to`, which is empty.
    pub(crate) fn take(&self, to: &mut Vec<Report>) {
        std::mem::swap(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner), to);
    }

    fn answered(&self) {
        if self.brokers_down.load(Ordering::Relaxed) && self.brokers_down.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka answers again at {}", self.brokers);
        }
    }
}

impl ProducerContext<OrgPartitioner> for Deliveries {
    /// The record's index; numbers need no memory of their own.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let result = match result {
            Ok(message) => {
                self.answered();
                Ok(Delivered { partition: message.partition(), offset: message.offset() })
            }
            Err((error, _)) => Err(error.clone()),
        };
        let report = Report { index: u64::try_from(index).unwrap_or(u64::MAX), result };
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
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
                    "no broker answers at {} ({reason}); is Kafka up? Events wait meanwhile",
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
