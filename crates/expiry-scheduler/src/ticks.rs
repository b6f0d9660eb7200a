//! One round of ticks: an empty record under the reserved key in every partition.

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Halt, LogIdentity};
use fluxori_core::id::{GLOBAL_KEY, LogId};
use fluxori_core::time::Timestamp;
use fluxori_stream::{LogReader, Publisher, PublisherOptions, Range, StreamError, Watermarks};
use metrics::counter;

/// Why there are no ticks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TickError {
    /// Kafka is away or refused.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A tick must not be the first record of a partition.
    #[error("partition {0} has no genesis yet: run `credits log init` again")]
    NotBegun(i32),
    /// The topic holds another log, or none.
    #[error("{0}")]
    Log(#[from] Halt),
}

/// Publishes ticks into the partitions of one log.
pub(crate) struct Ticker {
    publisher: Publisher,
    partitions: i32,
    log_id: LogId,
}

impl Ticker {
    /// For the log that the topic holds, if every partition of it begins with the pinned genesis.
    pub(crate) async fn of_log(brokers: &str, topic: &str, genesis: [u8; 32]) -> Result<Self, TickError> {
        let reader = LogReader::new(brokers, topic)?;
        let partitions = reader.partitions().await?;
        let mut firsts = Vec::new();
        for partition in 0..partitions {
            // The genesis, or a copy of it where older records were archived and deleted.
            let Watermarks { low, high } = reader.watermarks(partition).await?;
            if low == high {
                return Err(TickError::NotBegun(partition));
            }
            firsts.push(Range { partition, start: low, end: low.saturating_add(1) });
        }
        let mut scan = reader.scan(&firsts, 1)?;
        let mut log_id = None;
        while let Some(first) = scan.next().await? {
            for raw in first.iter() {
                let append_time = Timestamp::from_millis(raw.append_time_ms);
                let record = fluxori_wire::decode(raw.key, raw.value, append_time);
                let identity =
                    LogIdentity::of_first_record(first.partition(), Some(Digest(genesis)), &record)?;
                log_id = Some(identity.genesis.log_id);
            }
        }
        let publisher = Publisher::new(&PublisherOptions::new(brokers, topic))?;
        Ok(Self { publisher, partitions, log_id: log_id.ok_or(TickError::NotBegun(0))? })
    }

    /// What the ticks are published with.
    pub(crate) const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// How many partitions the log has.
    pub(crate) const fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Which log it is.
    pub(crate) const fn log_id(&self) -> LogId {
        self.log_id
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

#[cfg(test)]
mod tests {
    use fluxori_core::command::{Command, CommandBody, Genesis};
    use fluxori_core::id::CommandId;
    use fluxori_stream::TopicSpec;
    use fluxori_wire::Issuer;
    use uuid::Uuid;

    use super::*;

    /// A genesis record and its digest.
    fn genesis(log: u128) -> (Vec<u8>, [u8; 32]) {
        let log_id = LogId(Uuid::from_u128(log));
        let root = Issuer::new(log_id, "root", [1; 32]);
        let command = Command {
            command_id: CommandId(Uuid::from_u128(1)),
            issued_at: Timestamp::from_millis(1_795_000_000_000),
            actor: "test".into(),
            reason: "test".into(),
            reference: None,
            body: CommandBody::Genesis(Genesis {
                log_id,
                root_key: root.public_key(),
                rules_version: 1,
                partitions: 2,
            }),
        };
        let digest = Digest::of(&fluxori_wire::encode_payload(&command).unwrap());
        (root.sign(&command).unwrap(), digest.0)
    }

    #[tokio::test]
    async fn no_partition_is_ticked_before_all_of_them_have_their_genesis() {
        let brokers = std::env::var("KAFKA_BROKERS")
            .expect("KAFKA_BROKERS is not set: this test needs a broker; `cargo xtask test` starts one");
        let topic = format!("test-ticks-{}", fluxori_runtime::clock::now().timestamp_micros());
        let spec = TopicSpec { name: topic.clone(), partitions: 2, replication: 1, min_insync_replicas: 1 };
        spec.create(&brokers).await.unwrap();
        let publisher = Publisher::new(&PublisherOptions::new(&brokers, &topic)).unwrap();
        let (record, pinned) = genesis(7);
        let ticker = async || Ticker::of_log(&brokers, &topic, pinned).await;

        assert!(matches!(ticker().await, Err(TickError::NotBegun(0))));
        publisher.publish(0, GLOBAL_KEY.as_bytes(), &record).await.unwrap();
        assert!(matches!(ticker().await, Err(TickError::NotBegun(1))));
        publisher.publish(1, GLOBAL_KEY.as_bytes(), &record).await.unwrap();
        ticker().await.unwrap().tick().await.unwrap();
        let reader = LogReader::new(&brokers, &topic).unwrap();
        for partition in 0..2 {
            let tick = reader.fetch_one(partition, 1).await.unwrap();
            assert_eq!(tick.iter().next().unwrap().key, Some(GLOBAL_KEY.as_bytes()));
        }
        let other = Ticker::of_log(&brokers, &topic, genesis(8).1).await;
        assert!(matches!(other, Err(TickError::Log(Halt::WrongLog { .. }))));
    }
}
