use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// What can go wrong between us and the brokers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Nobody answers, or not in time.
    #[error(
        "no broker answers at {brokers} while trying to {action} ({reason}); is Kafka up, and are the brokers' addresses right?"
    )]
    Unreachable {
        /// The configured addresses.
        brokers: String,
        /// What was tried.
        action: String,
        /// What the client library said.
        reason: String,
    },
    /// The brokers refused.
    #[error("Kafka refused to {action}: {reason}")]
    Refused {
        /// What was tried.
        action: String,
        /// What the broker or the client library said.
        reason: String,
    },
    /// The client library does not take an option.
    #[error("the Kafka client cannot be set up: {0}")]
    Setup(String),
    /// There is no such topic.
    #[error("topic {topic} does not exist; create it with `credits log init`")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// A topic exists already and is not what was asked for.
    #[error(
        "topic {topic} exists and differs: {differences}; choose another topic, or delete it if nothing in it is needed"
    )]
    TopicDiffers {
        /// Its name.
        topic: String,
        /// What differs, found and wanted.
        differences: String,
    },
    /// The topic keeps the producers' times in place of the brokers'.
    #[error(
        "topic {topic} does not keep append times; set message.timestamp.type=LogAppendTime before the first record"
    )]
    NotAppendTime {
        /// Its name.
        topic: String,
    },
    /// An offset that should be there is not in the log.
    #[error("{}", missing(*partition, *offset, *low, *high))]
    OffsetMissing {
        /// The partition.
        partition: i32,
        /// The offset that was asked for.
        offset: i64,
        /// The first offset that the broker holds.
        low: i64,
        /// The offset that the next record will get.
        high: i64,
    },
    /// Offsets were skipped, which a log without transactions or compaction never does. Whether they held records
    /// cannot be told.
    #[error(
        "partition {partition} jumps from offset {expected} to {found}: a transactional producer wrote to the topic, whose markers take offsets (deny it TransactionalId), or records were deleted or compacted away (restore them from the archive)"
    )]
    Gap {
        /// The partition.
        partition: i32,
        /// The offset that was due.
        expected: i64,
        /// The offset that came.
        found: i64,
    },
    /// The group has moved on: this member no longer owns the partition.
    #[error("partition {partition} is no longer ours ({reason})")]
    Fenced {
        /// The partition.
        partition: i32,
        /// How that was found out.
        reason: String,
    },
    /// Whether an offset was committed is not known.
    #[error("whether the offset of partition {partition} was committed is unknown ({reason})")]
    CommitUnknown {
        /// The partition.
        partition: i32,
        /// What the client library said.
        reason: String,
    },
    /// The record is larger than the topic takes.
    #[error("the record of {bytes} bytes is larger than the log takes")]
    TooLarge {
        /// Key and value together.
        bytes: usize,
    },
    /// More records wait for the broker than the publisher may hold.
    #[error("the publisher's queue is full; wait for acknowledgements before publishing more")]
    QueueFull,
    /// The broker did not acknowledge in time; the record may be in the log all the same.
    #[error(
        "no acknowledgement from {brokers} ({reason}); is Kafka up? The record may or may not be in the log"
    )]
    NotAcknowledged {
        /// The configured addresses.
        brokers: String,
        /// What the client library said.
        reason: String,
    },
    /// Two batches do not follow each other.
    #[error(
        "partition {partition}: a batch that starts at {found} does not follow one that ends at {expected}"
    )]
    NotAdjacent {
        /// The partition of the first batch.
        partition: i32,
        /// Where the first batch ends.
        expected: i64,
        /// Where the second starts.
        found: i64,
    },
    /// A partition's worker panicked.
    #[error("the worker of partition {partition} panicked: {reason}")]
    Panicked {
        /// The partition.
        partition: i32,
        /// Its last words.
        reason: String,
    },
}

impl StreamError {
    /// True if the same call may succeed later without anybody mending anything here.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::QueueFull
                | Self::NotAcknowledged { .. }
                | Self::CommitUnknown { .. }
        )
    }

    /// True if the group has moved on and the partition must be taken over anew.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// Sorts an error of the client library for a call that only asks.
    pub(crate) fn from_call(brokers: &str, action: impl Into<String>, error: &KafkaError) -> Self {
        let action = action.into();
        match error.rdkafka_error_code() {
            Some(code) if is_unreachable(code) => {
                Self::Unreachable { brokers: brokers.into(), action, reason: code.to_string() }
            }
            Some(code) => Self::Refused { action, reason: code.to_string() },
            None => Self::Refused { action, reason: error.to_string() },
        }
    }

    /// Sorts the error of a commit: refused for good because the group moved on, or unknown.
    pub(crate) fn from_commit(partition: i32, error: &KafkaError) -> Self {
        let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        match error.rdkafka_error_code() {
            Some(
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::FencedInstanceId
                | Code::RebalanceInProgress
                | Code::AssignmentLost
                | Code::StaleMemberEpoch
                | Code::FencedMemberEpoch,
            ) => Self::Fenced { partition, reason },
            _ => Self::CommitUnknown { partition, reason },
        }
    }
}

/// What is missing of a log that holds `low` up to `high`, exclusive, and what to do.
fn missing(partition: i32, offset: i64, low: i64, high: i64) -> String {
    let due = format!("partition {partition}: the record at offset {offset} is due, and the broker's log");
    match low - offset {
        1 => format!("{due} begins at {low}: {offset} is missing. {DELETED}"),
        2.. => format!("{due} begins at {low}: {offset} to {} are missing. {DELETED}", low - 1),
        _ => format!("{due} ends at {high}, before it. {MADE_AGAIN}"),
    }
}

/// What may have become of records that the log held once, and what to do.
const DELETED: &str = "They were deleted (by retention or DeleteRecords) before they were done with, or this is another \
                       log: restore the topic from a backup or its archive, and keep deletion off what is not archived";
/// What may have become of a log that is shorter than it was, and what to do.
const MADE_AGAIN: &str = "The topic was made again or has lost its end: restore it from a backup or its archive, name \
                          the topic that is meant, or begin anew with an empty database, which is filled from this log";

/// True for codes that mean that a server is away, rather than that it said no.
pub(crate) fn is_unreachable(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::Resolve
            | Code::NodeUpdate
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::UnknownBroker
            | Code::Retry
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_an_old_generation_is_fenced_and_a_timeout_is_unknown() {
        for code in [Code::IllegalGeneration, Code::UnknownMemberId, Code::AssignmentLost] {
            assert!(StreamError::from_commit(3, &KafkaError::ConsumerCommit(code)).is_fenced(), "{code}");
        }
        let unknown = StreamError::from_commit(3, &KafkaError::ConsumerCommit(Code::RequestTimedOut));
        assert!(!unknown.is_fenced() && unknown.is_transient());
    }

    #[test]
    fn what_is_missing_of_a_log_is_named_with_what_to_do() {
        let text =
            |offset, low, high| StreamError::OffsetMissing { partition: 3, offset, low, high }.to_string();
        let truncated = text(10, 15, 20);
        assert!(truncated.contains("begins at 15: 10 to 14 are missing") && truncated.contains("restore"));
        assert!(text(10, 11, 20).contains("begins at 11: 10 is missing"));
        let shorter = text(10, 0, 5);
        assert!(shorter.contains("ends at 5, before it") && shorter.contains("restore"), "{shorter}");
    }

    #[test]
    fn a_broker_that_is_away_is_named_with_the_question_to_ask() {
        let error = KafkaError::MetadataFetch(Code::BrokerTransportFailure);
        let text = StreamError::from_call("a:1", "read the watermarks", &error).to_string();
        assert!(text.starts_with("no broker answers at a:1") && text.contains("is Kafka up"), "{text}");
    }
}
