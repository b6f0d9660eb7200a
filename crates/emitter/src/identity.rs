//! Which log the topic holds, from its first record.

use std::time::{Duration, Instant};

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Halt, LogIdentity};
use fluxori_core::time::Timestamp;
use fluxori_wire::decode;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::deliveries::log_line;
use crate::error::is_no_topic;
use crate::options::{EmitterOptions, base_config};
use crate::{EmitError, Emitter};

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Quiet {}

impl Emitter {
    /// Reads the first record of partition 0, the genesis or a copy of it, and says which log the topic holds. `pinned` is the digest
    /// of the genesis that the configuration names; `None` takes any log. Blocks; ask once, at the start.
    ///
    /// # Errors
    /// [`EmitError::Unreachable`] without brokers or in time, [`EmitError::NoTopic`], [`EmitError::Log`] if there is no
    /// genesis or another log's, [`EmitError::Partitions`] if the topic has other partitions than its genesis says.
    pub fn log_identity(&self, pinned: Option<Digest>, timeout: Duration) -> Result<LogIdentity, EmitError> {
        log_identity(self.options(), pinned, timeout)
    }
}

/// As [`Emitter::log_identity`].
pub(crate) fn log_identity(
    options: &EmitterOptions,
    pinned: Option<Digest>,
    timeout: Duration,
) -> Result<LogIdentity, EmitError> {
    let EmitterOptions { brokers, topic, .. } = options;
    let deadline = Instant::now() + timeout;
    let mut config = base_config(brokers);
    // The group is never joined; assigning by hand wants a name all the same.
    config
        .set("group.id", "fluxori-emitter")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Quiet> = BaseConsumer::from_config_and_context(&config, Quiet)
        .map_err(|error| EmitError::Setup(error.to_string()))?;
    let failed = |error: &KafkaError| failed(error, brokers, topic);

    let metadata = consumer.fetch_metadata(Some(topic), timeout).map_err(|error| failed(&error))?;
    let described = metadata.topics().first();
    let partitions = described.map(|topic| topic.partitions().len()).unwrap_or_default();
    if partitions == 0 {
        return Err(EmitError::NoTopic { topic: topic.clone() });
    }
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| failed(&error))?;
    let identity = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let reason = format!("the first record did not come within {} s", timeout.as_secs());
            return Err(EmitError::Unreachable { brokers: brokers.clone(), reason });
        }
        match consumer.poll(left) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                return Err(Halt::NoGenesis { partition }.into());
            }
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(failed(&error)),
            Some(Ok(message)) => {
                let append_time = Timestamp::from_millis(message.timestamp().to_millis().unwrap_or_default());
                let record = decode(message.key(), message.payload(), append_time);
                break LogIdentity::of_first_record(0, pinned, &record)?;
            }
        }
    };
    let found = i32::try_from(partitions).unwrap_or(i32::MAX);
    if identity.genesis.partitions != found {
        let genesis = identity.genesis.partitions;
        return Err(EmitError::Partitions { topic: topic.clone(), found, genesis });
    }
    Ok(identity)
}

/// A connection that is lost is tried again by the client until the time is over.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve)
    )
}

fn failed(error: &KafkaError, brokers: &str, topic: &str) -> EmitError {
    if is_no_topic(error) {
        return EmitError::NoTopic { topic: topic.to_owned() };
    }
    if is_passing(error) {
        let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        return EmitError::Unreachable { brokers: brokers.to_owned(), reason };
    }
    EmitError::Refused(error.to_string())
}
