//! Reading without a group: watermarks, one record, or ranges of records up to a fixed end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use tokio::sync::mpsc;

use crate::client::{ANSWER, BrokerLog, base_consumer, blocking};
use crate::{Batch, StreamError};

/// Never joined; assigning partitions by hand wants a name all the same.
const GROUP: &str = "fluxori-reader";
/// A batch of a scan is handed out when it has so many bytes.
pub(crate) const MAX_BATCH_BYTES: usize = 8 << 20;
/// A scan that gets nothing for so long gives up.
const SILENCE: Duration = Duration::from_secs(15);

/// The offsets that a partition holds: `low` up to `high`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that the broker holds.
    pub low: i64,
    /// The offset that the next record will get.
    pub high: i64,
}

/// Records of one partition: `start` up to `end`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The offset after the last.
    pub end: i64,
}

/// Reads the log without being a member of any group.
#[derive(Clone)]
pub struct LogReader {
    consumer: Arc<BaseConsumer<BrokerLog>>,
    topic: Arc<str>,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl LogReader {
    /// A reader; connects in the background.
    ///
    /// # Errors
    /// [`StreamError::Setup`] if the addresses make no sense to the client library.
    pub fn new(brokers: &str, topic: &str) -> Result<Self, StreamError> {
        Ok(Self { consumer: Arc::new(consumer(brokers)?), topic: topic.into() })
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`StreamError::NoTopic`], [`StreamError::Unreachable`].
    pub async fn partitions(&self) -> Result<i32, StreamError> {
        let reader = self.clone();
        blocking(move || reader.ask(|limit| partitions(&reader.consumer, &reader.topic, limit))).await
    }

    /// The offsets that the broker holds of one partition.
    ///
    /// # Errors
    /// [`StreamError::Unreachable`], [`StreamError::Refused`] if there is no such partition.
    pub async fn watermarks(&self, partition: i32) -> Result<Watermarks, StreamError> {
        let reader = self.clone();
        blocking(move || {
            let brokers = reader.consumer.context().brokers();
            reader.ask(|limit| watermarks(&reader.consumer, brokers, &reader.topic, partition, limit))
        })
        .await
    }

    /// The record at one offset, as a batch of one.
    ///
    /// # Errors
    /// [`StreamError::OffsetMissing`] if there is none, and as [`Self::scan`].
    pub async fn fetch_one(&self, partition: i32, offset: i64) -> Result<Batch, StreamError> {
        let Watermarks { low, high } = self.watermarks(partition).await?;
        let missing = StreamError::OffsetMissing { partition, offset, low, high };
        if !(low..high).contains(&offset) {
            return Err(missing);
        }
        let mut scan = self.scan(&[Range { partition, start: offset, end: offset.saturating_add(1) }], 1)?;
        scan.next().await?.ok_or(missing)
    }

    /// The first record that the log holds of a partition, as a batch of one; none if it holds none. Where older ones
    /// were archived and deleted, it is a copy of the genesis (`credits log trim`).
    ///
    /// # Errors
    /// As [`Self::fetch_one`].
    pub async fn first(&self, partition: i32) -> Result<Option<Batch>, StreamError> {
        loop {
            let Watermarks { low, high } = self.watermarks(partition).await?;
            if low == high {
                return Ok(None);
            }
            match self.fetch_one(partition, low).await {
                // Deleted in between.
                Err(StreamError::OffsetMissing { low: now, .. }) if now > low => {}
                first => return first.map(Some),
            }
        }
    }

    /// Everything that the log holds now, as ranges for [`Self::scan`].
    ///
    /// # Errors
    /// As [`Self::partitions`].
    pub async fn everything(&self) -> Result<Vec<Range>, StreamError> {
        let mut ranges = Vec::new();
        for partition in 0..self.partitions().await? {
            let Watermarks { low, high } = self.watermarks(partition).await?;
            ranges.push(Range { partition, start: low, end: high });
        }
        Ok(ranges)
    }

    /// Reads ranges, at most one of each partition. Batches of one partition come in order and without
    /// gaps; those of different partitions mix. Reads ahead by a few batches, no more.
    ///
    /// # Errors
    /// [`StreamError::Setup`] as [`Self::new`]; the others come from [`Scan::next`].
    pub fn scan(&self, ranges: &[Range], max_records: usize) -> Result<Scan, StreamError> {
        let brokers = self.consumer.context().brokers();
        let (sender, batches) = mpsc::channel(2);
        let mut scanner = Scanner {
            consumer: consumer(brokers)?,
            topic: Arc::clone(&self.topic),
            max_records: max_records.max(1),
            open: ranges
                .iter()
                .filter(|range| range.start < range.end)
                .map(|range| (range.partition, (Batch::new(range.partition, range.start), range.end)))
                .collect(),
            sender,
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = scanner.run() {
                _ = scanner.sender.blocking_send(Err(error));
            }
        });
        Ok(Scan { batches })
    }
}

impl LogReader {
    pub(crate) fn consumer(&self) -> Arc<BaseConsumer<BrokerLog>> {
        Arc::clone(&self.consumer)
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Asks in short tries, so that brokers that are down are reported soon and slow ones are waited
    /// for. Serves the client's own lines and errors in between, since nobody else does.
    fn ask<T>(&self, call: impl Fn(Duration) -> Result<T, StreamError>) -> Result<T, StreamError> {
        let log = self.consumer.context();
        let mut tries = 3;
        loop {
            tries -= 1;
            let answer = call(ANSWER / 3);
            if answer.is_ok() {
                log.answered();
            }
            for _ in 0..100 {
                _ = self.consumer.poll(Duration::ZERO);
            }
            match answer {
                Err(error) if error.is_transient() && tries > 0 && !log.is_down() => {}
                answer => return answer,
            }
        }
    }
}

/// The batches of a scan; dropping it ends the scan.
#[derive(Debug)]
pub struct Scan {
    batches: mpsc::Receiver<Result<Batch, StreamError>>,
}

impl Scan {
    pub(crate) fn new(batches: mpsc::Receiver<Result<Batch, StreamError>>) -> Self {
        Self { batches }
    }

    /// The next batch, or none when all ranges are read.
    ///
    /// # Errors
    /// [`StreamError::OffsetMissing`] if a range is not wholly in the log, [`StreamError::Gap`],
    /// [`StreamError::NotAppendTime`], and [`StreamError::Unreachable`] if nothing comes for 15 s.
    pub async fn next(&mut self) -> Result<Option<Batch>, StreamError> {
        self.batches.recv().await.transpose()
    }
}

/// The thread of a scan.
struct Scanner {
    consumer: BaseConsumer<BrokerLog>,
    topic: Arc<str>,
    max_records: usize,
    /// The batch that grows, and the end, of every partition that is not read to its end yet.
    open: BTreeMap<i32, (Batch, i64)>,
    sender: mpsc::Sender<Result<Batch, StreamError>>,
}

impl Scanner {
    fn run(&mut self) -> Result<(), StreamError> {
        let brokers = self.consumer.context().brokers();
        let mut assignment = TopicPartitionList::new();
        for (partition, (batch, end)) in &self.open {
            let Watermarks { low, high } =
                watermarks(&self.consumer, brokers, &self.topic, *partition, ANSWER)?;
            let missing = |offset| StreamError::OffsetMissing { partition: *partition, offset, low, high };
            if batch.start() < low {
                return Err(missing(batch.start()));
            }
            if *end > high {
                return Err(missing(end.saturating_sub(1)));
            }
            assignment
                .add_partition_offset(&self.topic, *partition, Offset::Offset(batch.start()))
                .map_err(|error| self.failed(&error))?;
        }
        self.consumer.assign(&assignment).map_err(|error| self.failed(&error))?;
        let mut heard = Instant::now();
        while !self.open.is_empty() && !self.sender.is_closed() {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    if let Some(batch) = take(&mut self.open, &message, &self.topic, self.max_records)? {
                        let partition = batch.partition();
                        if self.sender.blocking_send(Ok(batch)).is_err() {
                            return Ok(());
                        }
                        if !self.open.contains_key(&partition) {
                            drop(message);
                            self.pause(partition)?;
                        }
                    }
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(code) if crate::error::is_unreachable(code) => {}
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Err(self.truncated(&error));
                    }
                    _ => return Err(self.failed(&error)),
                },
                None => {}
            }
            if heard.elapsed() > SILENCE {
                return Err(StreamError::Unreachable {
                    brokers: self.consumer.context().brokers().into(),
                    action: format!("read topic {}", self.topic),
                    reason: format!(
                        "nothing came for {} s; if brokers answer, the last record may be the marker of a \
                         transactional producer",
                        SILENCE.as_secs()
                    ),
                });
            }
        }
        Ok(())
    }

    fn pause(&self, partition: i32) -> Result<(), StreamError> {
        let mut done = TopicPartitionList::new();
        done.add_partition(&self.topic, partition);
        self.consumer.pause(&done).map_err(|error| self.failed(&error))
    }

    /// Part of the log went away while it was read: which partition, says a look at all of them.
    fn truncated(&self, error: &KafkaError) -> StreamError {
        let brokers = self.consumer.context().brokers();
        for (partition, (batch, _)) in &self.open {
            if let Ok(Watermarks { low, high }) =
                watermarks(&self.consumer, brokers, &self.topic, *partition, ANSWER)
                && !(low..=high).contains(&batch.end())
            {
                return StreamError::OffsetMissing { partition: *partition, offset: batch.end(), low, high };
            }
        }
        self.failed(error)
    }

    fn failed(&self, error: &KafkaError) -> StreamError {
        StreamError::from_call(self.consumer.context().brokers(), format!("read topic {}", self.topic), error)
    }
}

/// Puts a message into its open batch, and takes the batch out if it is full or the last one.
fn take(
    open: &mut BTreeMap<i32, (Batch, i64)>,
    message: &BorrowedMessage<'_>,
    topic: &str,
    max_records: usize,
) -> Result<Option<Batch>, StreamError> {
    // A partition that is read to its end may have a few more messages on the way.
    let Some((batch, end)) = open.get_mut(&message.partition()) else { return Ok(None) };
    push(batch, message, topic)?;
    if batch.end() >= *end {
        return Ok(open.remove(&message.partition()).map(|(batch, _)| batch));
    }
    if batch.len() >= max_records || batch.bytes() >= MAX_BATCH_BYTES {
        let next = batch.following();
        return Ok(Some(std::mem::replace(batch, next)));
    }
    Ok(None)
}

/// Adds a message to the batch that it must follow.
pub(crate) fn push(batch: &mut Batch, message: &BorrowedMessage<'_>, topic: &str) -> Result<(), StreamError> {
    let (partition, expected, found) = (batch.partition(), batch.end(), message.offset());
    if found != expected {
        return Err(StreamError::Gap { partition, expected, found });
    }
    let Timestamp::LogAppendTime(append_time_ms) = message.timestamp() else {
        return Err(StreamError::NotAppendTime { topic: topic.into() });
    };
    batch.push(append_time_ms, message.key(), message.payload());
    Ok(())
}

/// The offsets that the broker holds of one partition. Blocks.
pub(crate) fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    brokers: &str,
    topic: &str,
    partition: i32,
    limit: Duration,
) -> Result<Watermarks, StreamError> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, limit).map_err(|error| {
        let action = format!("read the watermarks of partition {partition} of topic {topic}");
        StreamError::from_call(brokers, action, &error)
    })?;
    Ok(Watermarks { low, high })
}

fn partitions(consumer: &BaseConsumer<BrokerLog>, topic: &str, limit: Duration) -> Result<i32, StreamError> {
    let metadata = consumer.fetch_metadata(Some(topic), limit).map_err(|error| {
        StreamError::from_call(consumer.context().brokers(), format!("describe topic {topic}"), &error)
    })?;
    match metadata.topics().first().map(|found| found.partitions().len()) {
        None | Some(0) => Err(StreamError::NoTopic { topic: topic.into() }),
        Some(count) => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
    }
}

pub(crate) fn consumer(brokers: &str) -> Result<BaseConsumer<BrokerLog>, StreamError> {
    base_consumer(brokers, GROUP)
        .create_with_context(BrokerLog::new(brokers))
        .map_err(|error| StreamError::Setup(error.to_string()))
}
