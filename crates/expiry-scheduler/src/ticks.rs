//! One round of ticks: an empty record under the reserved key in every partition.

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Halt, LogIdentity};
use fluxori_core::id::GLOBAL_KEY;
use fluxori_core::time::Timestamp;
use fluxori_stream::{LogReader, Publisher, PublisherOptions, StreamError};
use metrics::counter;

/// Why there are no ticks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TickError {
    /// Kafka is away or refused.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The topic holds no log, or another one.
    #[error("{0}")]
    Log(#[from] Halt),
}

/// Publishes ticks into the partitions of one log.
pub(crate) struct Ticker {
    publisher: Publisher,
    partitions: i32,
}

impl Ticker {
    /// For the log that the topic holds, if its genesis is the pinned one.
    pub(crate) async fn of_log(brokers: &str, topic: &str, genesis: [u8; 32]) -> Result<Self, TickError> {
        let reader = LogReader::new(brokers, topic)?;
        if reader.watermarks(0).await?.high == 0 {
            return Err(Halt::NoGenesis { partition: 0 }.into());
        }
        let first = reader.fetch_one(0, 0).await?;
        let record = first.iter().next().ok_or(Halt::NoGenesis { partition: 0 })?;
        let append_time = Timestamp::from_millis(record.append_time_ms);
        let record = fluxori_wire::decode(record.key, record.value, append_time);
        let log = LogIdentity::of_first_record(0, Some(Digest(genesis)), &record)?;
        let publisher = Publisher::new(&PublisherOptions::new(brokers, topic))?;
        Ok(Self { publisher, partitions: log.genesis.partitions })
    }

    /// Publishes a tick into every partition and waits until the broker has them all.
    pub(crate) async fn tick(&self) -> Result<(), TickError> {
        let mut deliveries = Vec::new();
        for partition in 0..self.partitions {
            deliveries.push(self.publisher.enqueue(partition, GLOBAL_KEY.as_bytes(), &[])?);
        }
        for delivery in deliveries {
            delivery.await?;
            counter!("scheduler_ticks_total").increment(1);
        }
        Ok(())
    }
}
