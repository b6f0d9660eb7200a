use fluxori_core::fold::Halt;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// Why an event, or a question to the log, came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The options make no sense.
    #[error("the emitter cannot be set up: {0}")]
    Setup(String),
    /// What waits for the broker takes all the space that it may, on disk or in memory.
    #[error("the emitter is full ({max_bytes} bytes wait for the broker); emit it again later")]
    QueueFull {
        /// How many bytes may wait.
        max_bytes: u64,
    },
    /// The spool's disk did not take the event.
    #[error("the spool took nothing: {0}")]
    Spool(String),
    /// It was among the oldest when the spool was full, and the policy is to drop these. If it was on its way already, the log may have it.
    #[error("the event was dropped to make room for later ones")]
    Dropped,
    /// The record would be larger than the log takes.
    #[error("the event has {bytes} bytes, more than the 1 MiB of a record")]
    TooLarge {
        /// Bytes of the record's value.
        bytes: usize,
    },
    /// The event cannot be encoded.
    #[error("the event cannot be encoded: {0}")]
    Encoding(String),
    /// After [`crate::Emitter::close`].
    #[error("the emitter is closed")]
    Closed,
    /// In a child of the process that made the emitter, whose threads and files it does not have.
    #[error(
        "this process was forked from the one that made the emitter, and has none of its threads; make an emitter of its own"
    )]
    Forked,
    /// There is no such topic.
    #[error(
        "topic {topic} does not exist; create it with `credits log init`, or name another with FLUXORI__KAFKA__TOPIC"
    )]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The broker did not acknowledge in time; the event may be in the log all the same, so a retry bears the same id.
    #[error(
        "no acknowledgement from {brokers} in time ({reason}); is Kafka up? The event may or may not be in the log"
    )]
    NotAcknowledged {
        /// The configured addresses.
        brokers: String,
        /// What the client library said.
        reason: String,
    },
    /// Nobody answers a question.
    #[error("no broker answers at {brokers} ({reason}); is Kafka up, and are the brokers' addresses right?")]
    Unreachable {
        /// The configured addresses.
        brokers: String,
        /// What the client library said.
        reason: String,
    },
    /// The broker or the client library refused.
    #[error("Kafka refused: {0}")]
    Refused(String),
    /// Not the log that it should be.
    #[error(transparent)]
    Log(#[from] Halt),
    /// The topic has other partitions than its genesis says, so keys would hash elsewhere.
    #[error(
        "topic {topic} has {found} partitions, its genesis record says {genesis}: a log's partitions never change; move it to a new topic instead"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// As the broker says.
        found: i32,
        /// As the genesis says.
        genesis: i32,
    },
    /// The time was over before everything was acknowledged.
    #[error(
        "{remaining} events are not acknowledged yet{}",
        if *.spooled { "; they are in the spool, and sent by the next process that opens it" } else { "" }
    )]
    NotDrained {
        /// How many.
        remaining: u64,
        /// Whether they outlive this process.
        spooled: bool,
    },
}

impl EmitError {
    /// True if the same call may succeed later without anybody mending anything here.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::QueueFull { .. } | Self::Spool(_) | Self::NotAcknowledged { .. } | Self::Unreachable { .. }
        )
    }
}

/// True if the broker or the client says that the topic is not there.
pub(crate) fn is_no_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
    )
}
