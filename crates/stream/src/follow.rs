//! Reading on: what the log holds from some offsets on, and then what comes, without a group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::client::{ANSWER, BrokerLog, blocking};
use crate::reader::{MAX_BATCH_BYTES, Scan, consumer, push, watermarks};
use crate::{Batch, LogReader, StreamError, Watermarks};

/// What has come is handed out after this at the latest.
const LINGER: Duration = Duration::from_millis(100);
/// Brokers may be away for so long.
const PATIENCE: Duration = Duration::from_mins(1);

impl LogReader {
    /// The offset of the first record of a partition that was appended at or after a time, in milliseconds since 1970 UTC;
    /// that of the next record to come if there is none.
    ///
    /// # Errors
    /// As [`Self::watermarks`].
    pub async fn offset_at(&self, partition: i32, time_ms: i64) -> Result<i64, StreamError> {
        let (reader, topic) = (self.consumer(), self.topic().to_owned());
        let found = blocking(move || {
            let brokers = reader.context().brokers();
            let failed = |error| {
                let action = format!("look for a time in partition {partition} of topic {topic}");
                StreamError::from_call(brokers, action, &error)
            };
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(&topic, partition, Offset::Offset(time_ms)).map_err(failed)?;
            let found = reader.offsets_for_times(asked, ANSWER).map_err(failed)?;
            let found = found.find_partition(&topic, partition);
            let Some(found) = found else { return Ok(None) };
            found.error().map_err(failed)?;
            Ok(match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        })
        .await?;
        match found {
            Some(offset) => Ok(offset),
            None => Ok(self.watermarks(partition).await?.high),
        }
    }

    /// Reads partitions from these offsets on, and waits for what comes; ends only with an error, or when it is dropped.
    /// Batches of one partition come in order and without gaps, as soon as there is something; those of different
    /// partitions mix. Brokers may be away for a minute.
    ///
    /// # Errors
    /// [`StreamError::Setup`] as [`Self::new`]; the others come from [`Scan::next`].
    pub fn follow(&self, from: &BTreeMap<i32, i64>, max_records: usize) -> Result<Scan, StreamError> {
        let reader = self.consumer();
        let (sender, batches) = mpsc::channel(2);
        let batch = |(partition, start): (&i32, &i64)| (*partition, Batch::new(*partition, *start));
        let mut follower = Follower {
            consumer: consumer(reader.context().brokers())?,
            topic: self.topic().to_owned(),
            max_records: max_records.max(1),
            open: from.iter().map(batch).collect(),
            sender,
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = follower.run() {
                _ = follower.sender.blocking_send(Err(error));
            }
        });
        Ok(Scan::new(batches))
    }
}

/// The thread that reads on.
struct Follower {
    consumer: BaseConsumer<BrokerLog>,
    topic: String,
    max_records: usize,
    /// The batch that grows, of every partition.
    open: BTreeMap<i32, Batch>,
    sender: mpsc::Sender<Result<Batch, StreamError>>,
}

impl Follower {
    fn run(&mut self) -> Result<(), StreamError> {
        let failed = |follower: &Self, error| {
            let brokers = follower.consumer.context().brokers();
            StreamError::from_call(brokers, format!("read topic {}", follower.topic), &error)
        };
        let mut assignment = TopicPartitionList::new();
        for (partition, batch) in &self.open {
            let Watermarks { low, high } = self.watermarks(*partition)?;
            if !(low..=high).contains(&batch.start()) {
                let offset = batch.start();
                return Err(StreamError::OffsetMissing { partition: *partition, offset, low, high });
            }
            assignment
                .add_partition_offset(&self.topic, *partition, Offset::Offset(batch.start()))
                .map_err(|error| failed(self, error))?;
        }
        self.consumer.assign(&assignment).map_err(|error| failed(self, error))?;
        let mut handed_out = Instant::now();
        let mut away_since = None;
        while !self.sender.is_closed() {
            let is_waiting = self.open.values().any(|batch| !batch.is_empty());
            let wait = if is_waiting { Duration::ZERO } else { LINGER };
            let is_idle = match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    if let Some(batch) = self.open.get_mut(&message.partition()) {
                        push(batch, &message, &self.topic)?;
                    }
                    self.consumer.context().answered();
                    false
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(code) if crate::error::is_unreachable(code) => true,
                    _ => return Err(failed(self, error)),
                },
                None => true,
            };
            let is_full = |batch: &Batch| batch.len() >= self.max_records || batch.bytes() >= MAX_BATCH_BYTES;
            if is_idle || handed_out.elapsed() > LINGER || self.open.values().any(is_full) {
                if self.hand_out().is_none() {
                    return Ok(());
                }
                handed_out = Instant::now();
            }
            if is_idle {
                self.check_brokers(&mut away_since)?;
            }
        }
        Ok(())
    }

    /// Hands out what has come; none if nobody wants it any more.
    fn hand_out(&mut self) -> Option<()> {
        for open in self.open.values_mut().filter(|batch| !batch.is_empty()) {
            let next = open.following();
            self.sender.blocking_send(Ok(std::mem::replace(open, next))).ok()?;
        }
        Some(())
    }

    /// While brokers are away, asks them again and again. The client itself goes on by itself when they are back.
    fn check_brokers(&self, away_since: &mut Option<Instant>) -> Result<(), StreamError> {
        let log = self.consumer.context();
        let (true, Some(partition)) = (log.is_down(), self.open.keys().next()) else {
            *away_since = None;
            return Ok(());
        };
        match self.watermarks(*partition) {
            Ok(_) => {
                log.answered();
                Ok(())
            }
            Err(error) if away_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE => Err(error),
            Err(_) => Ok(()),
        }
    }

    fn watermarks(&self, partition: i32) -> Result<Watermarks, StreamError> {
        let brokers = self.consumer.context().brokers();
        watermarks(&self.consumer, brokers, &self.topic, partition, ANSWER)
    }
}
