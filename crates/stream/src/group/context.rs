use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use crate::client::BrokerLog;

/// What the client library tells us, kept until the polling thread looks.
pub(super) struct GroupContext {
    pub(super) log: BrokerLog,
    topic: String,
    rebalances: Mutex<Vec<Rebalance>>,
    high: Mutex<HashMap<i32, i64>>,
    /// While the client is being dropped, revocations are answered at once.
    closing: AtomicBool,
}

#[derive(Debug)]
pub(super) enum Rebalance {
    /// These partitions are ours.
    Assigned(Vec<i32>),
    /// All partitions are to be given up.
    Revoked,
}

impl GroupContext {
    pub(super) fn new(brokers: &str, topic: &str) -> Self {
        Self {
            log: BrokerLog::new(brokers),
            topic: topic.into(),
            rebalances: Mutex::default(),
            high: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// The rebalances since the last call.
    pub(super) fn take_rebalances(&self) -> Vec<Rebalance> {
        std::mem::take(&mut *self.rebalances.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The high watermark of a partition as of the last statistics.
    pub(super) fn high(&self, partition: i32) -> Option<i64> {
        let high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        high.get(&partition).copied().filter(|high| *high >= 0)
    }

    /// From now on revocations are answered at once, because the client is being dropped.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.log.answered();
        }
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let mut high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        high.extend(
            topic.partitions.iter().filter(|(id, _)| **id >= 0).map(|(id, found)| (*id, found.hi_offset)),
        );
    }
}

impl ConsumerContext for GroupContext {
    /// Only notes what is wanted. The polling thread, which is the caller, takes partitions over or gives
    /// them up in its own loop and then answers with `assign` or `unassign`; until then the group waits.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Acquire) {
            _ = consumer.unassign();
            return;
        }
        let wanted = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assigned(partitions.elements().iter().map(|element| element.partition()).collect())
        } else {
            Rebalance::Revoked
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push(wanted);
    }
}
