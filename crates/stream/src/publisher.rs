use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::StreamError;
use crate::client::{BrokerLog, MAX_RECORD_BYTES, base};

/// How a publisher publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How long a record may wait for its acknowledgement, retries included.
    pub message_timeout: Duration,
    /// How long a record waits for others to travel with.
    pub linger: Duration,
}

impl PublisherOptions {
    /// 30 s for the acknowledgement, and 2 ms of linger.
    #[must_use]
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            message_timeout: Duration::from_secs(30),
            linger: Duration::from_millis(2),
        }
    }
}

/// Where a record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// Appends records to the log. Idempotent: a retry after a lost answer does not append twice. Records
/// of one partition keep their order. Clones share one connection and one queue.
#[derive(Clone)]
pub struct Publisher {
    producer: FutureProducer<BrokerLog>,
    log: BrokerLog,
    topic: Arc<str>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher; connects in the background, so brokers that are away show up at the first record.
    ///
    /// # Errors
    /// [`StreamError::Setup`] if the options make no sense to the client library.
    pub fn new(options: &PublisherOptions) -> Result<Self, StreamError> {
        let log = BrokerLog::new(&options.brokers);
        let producer = base(&options.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", options.linger.as_millis().to_string())
            .set("message.timeout.ms", options.message_timeout.as_millis().max(1).to_string())
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "262144")
            .create_with_context(log.clone())
            .map_err(|error| StreamError::Setup(error.to_string()))?;
        Ok(Self { producer, log, topic: options.topic.as_str().into() })
    }

    /// Hands a record over and returns at once; the returned future waits for the acknowledgement.
    /// Records handed over one after the other travel together.
    ///
    /// # Errors
    /// [`StreamError::QueueFull`] and [`StreamError::TooLarge`] at once; the others come from the future.
    pub fn enqueue(&self, partition: i32, key: &[u8], value: &[u8]) -> Result<Delivery, StreamError> {
        let record = FutureRecord::to(&self.topic).partition(partition).key(key).payload(value);
        match self.producer.send_result(record) {
            Ok(future) => Ok(Delivery { future, log: self.log.clone(), bytes: key.len() + value.len() }),
            Err((error, _)) => Err(failed(&self.log, key.len() + value.len(), &error)),
        }
    }

    /// Appends a record to a partition and waits until the broker has acknowledged it. Waits for room
    /// in the queue first.
    ///
    /// # Errors
    /// [`StreamError::NotAcknowledged`] after the timeout: the record may be in the log all the same.
    /// [`StreamError::TooLarge`] and [`StreamError::Refused`] are final.
    pub async fn publish(&self, partition: i32, key: &[u8], value: &[u8]) -> Result<Position, StreamError> {
        loop {
            match self.enqueue(partition, key, value) {
                Err(StreamError::QueueFull) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return Err(error),
                Ok(delivery) => return delivery.await,
            }
        }
    }

    /// Waits until everything handed over is acknowledged or has failed, or the time is over.
    ///
    /// # Errors
    /// [`StreamError::NotAcknowledged`] if records are still waiting then.
    pub async fn flush(&self, timeout: Duration) -> Result<(), StreamError> {
        let producer = self.producer.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(timeout)).await;
        let reason = match flushed {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(StreamError::NotAcknowledged { brokers: self.log.brokers().into(), reason })
    }
}

/// The acknowledgement of one record: its position, when it has come.
#[must_use = "a record counts as published only when its acknowledgement has come"]
pub struct Delivery {
    future: DeliveryFuture,
    log: BrokerLog,
    bytes: usize,
}

impl Future for Delivery {
    type Output = Result<Position, StreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(context).map(|delivered| match delivered {
            Ok(Ok(delivery)) => {
                self.log.answered();
                Ok(Position { partition: delivery.partition, offset: delivery.offset })
            }
            Ok(Err((error, _))) => Err(failed(&self.log, self.bytes, &error)),
            Err(_) => Err(failed(&self.log, self.bytes, &KafkaError::Canceled)),
        })
    }
}

fn failed(log: &BrokerLog, bytes: usize, error: &KafkaError) -> StreamError {
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => StreamError::QueueFull,
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => StreamError::TooLarge { bytes },
        Some(code) if crate::error::is_unreachable(code) => {
            StreamError::NotAcknowledged { brokers: log.brokers().into(), reason: code.to_string() }
        }
        Some(
            Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::PurgeQueue
            | Code::PurgeInflight,
        ) => StreamError::NotAcknowledged { brokers: log.brokers().into(), reason: error.to_string() },
        _ => StreamError::Refused { action: "append a record".into(), reason: error.to_string() },
    }
}
