//! The topic as an operator's mistake leaves it: truncated, or deleted and made again.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use e2e::{PARTITIONS, eventually, setting};
use fluxori_stack::pipeline::Pipeline;
use fluxori_stream::{Created, LogReader, Publisher, PublisherOptions, TopicSpec, Watermarks};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

/// Key and value of a record.
pub(super) type Record = (Vec<u8>, Vec<u8>);

pub(super) struct Topic {
    brokers: String,
    name: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

impl Topic {
    pub(super) fn of(pipeline: &Pipeline) -> Result<Self> {
        let brokers = setting(pipeline, "KAFKA_BROKERS")?.to_owned();
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { brokers, name: setting(pipeline, "FLUXORI__KAFKA__TOPIC")?.to_owned(), admin, runtime })
    }

    /// Deletes the records of a partition before an offset, as retention would.
    pub(super) fn delete_before(&self, partition: i32, offset: i64) -> Result<()> {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.name, partition, Offset::Offset(offset))?;
        let deleted = self.runtime.block_on(self.admin.delete_records(&offsets, &options()))?;
        deleted.elements().iter().try_for_each(|element| element.error())?;
        Ok(())
    }

    pub(super) fn watermarks(&self, partition: i32) -> Result<Watermarks> {
        let reader = LogReader::new(&self.brokers, &self.name)?;
        Ok(self.runtime.block_on(reader.watermarks(partition))?)
    }

    /// All records, by partition.
    pub(super) fn records(&self) -> Result<Vec<Vec<Record>>> {
        let reader = LogReader::new(&self.brokers, &self.name)?;
        self.runtime.block_on(async {
            let mut records = vec![Vec::new(); usize::try_from(PARTITIONS)?];
            let mut scan = reader.scan(&reader.everything().await?, 1_000)?;
            while let Some(batch) = scan.next().await? {
                let of_partition =
                    records.get_mut(usize::try_from(batch.partition())?).context("partition")?;
                of_partition.extend(batch.iter().map(|record| {
                    (record.key.unwrap_or_default().to_vec(), record.value.unwrap_or_default().to_vec())
                }));
            }
            Ok(records)
        })
    }

    /// Deletes the topic and makes it again, empty.
    pub(super) fn recreate(&self) -> Result<()> {
        let deleted = self.runtime.block_on(self.admin.delete_topics(&[&self.name], &options()))?;
        for result in deleted {
            result.map_err(|(topic, code)| anyhow!("{topic} cannot be deleted: {code}"))?;
        }
        let spec = TopicSpec {
            name: self.name.clone(),
            partitions: i32::try_from(PARTITIONS)?,
            replication: 1,
            min_insync_replicas: 1,
        };
        // The deletion goes on in the background.
        eventually("the topic is made again", || {
            let created = self.runtime.block_on(spec.create(&self.brokers));
            Ok(matches!(created, Ok(Created::New)).then_some(()))
        })
    }

    /// Appends records to their partitions, in order.
    pub(super) fn append(&self, records: &[Vec<Record>]) -> Result<()> {
        let publisher = Publisher::new(&PublisherOptions::new(&self.brokers, &self.name))?;
        self.runtime.block_on(async {
            for (partition, records) in (0..).zip(records) {
                let mut deliveries = Vec::with_capacity(records.len());
                for (key, value) in records {
                    deliveries.push(publisher.enqueue(partition, key, value)?);
                }
                for delivery in deliveries {
                    delivery.await?;
                }
            }
            Ok(())
        })
    }
}

fn options() -> AdminOptions {
    let limit = Some(Duration::from_secs(20));
    AdminOptions::new().request_timeout(limit).operation_timeout(limit)
}
