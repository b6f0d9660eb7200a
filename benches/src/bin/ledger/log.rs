//! A log of its own: topic, keys, rates, a grant for every org, then events.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use benches::PARTITIONS;
use fluxori_core::record::partition_of;
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;
use fluxori_stack::Endpoints;
use fluxori_stack::pipeline::Pipeline;
use fluxori_stream::{Delivery, LogReader, Publisher, PublisherOptions, StreamError};
use fluxori_wire::Issuer;
use tokio::runtime::Runtime;

use crate::workload::{Spread, Workload};

/// So many records are acknowledged together.
const TOGETHER: usize = 20_000;
/// Where the first event occurred, before now.
const BEGIN: Duration = Duration::from_hours(1);

/// What all figures share.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) endpoints: Endpoints,
}

/// A log with its workload.
pub(crate) struct Log<'bench> {
    pub(crate) bench: &'bench Bench,
    pub(crate) pipeline: Pipeline,
    pub(crate) workload: Workload,
    publisher: Publisher,
    reader: LogReader,
}

impl<'bench> Log<'bench> {
    /// Makes the log, puts the rate card in force and opens all orgs.
    pub(crate) fn new(bench: &'bench Bench, name: &str, orgs: usize, spread: Spread) -> Result<Self> {
        let options = benches::pipeline_options(bench.endpoints.clone(), name)?;
        let name = options.name.clone();
        let pipeline = Pipeline::init(options)?;
        let card = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rates/small.toml");
        pipeline.credits(&[
            "rates",
            "apply",
            card.to_str().context("path")?,
            "--no-wait",
            "--output",
            "json",
        ])?;
        let brokers = &bench.endpoints.kafka_brokers;
        let _inside = bench.runtime.enter();
        let publisher = Publisher::new(&PublisherOptions::new(brokers, &name))?;
        let reader = LogReader::new(brokers, &name)?;
        let begin = Timestamp::from(clock::now()).before(BEGIN);
        let workload = Workload::new(orgs, spread, 1, begin)?;
        let mut log = Self { bench, pipeline, workload, publisher, reader };
        log.open_orgs()?;
        Ok(log)
    }

    fn open_orgs(&mut self) -> Result<()> {
        let issuer = Issuer::read(&self.pipeline.keys_folder().join("edge.key"))?;
        let orgs = self.workload.orgs().to_vec();
        let mut records = Vec::with_capacity(orgs.len());
        for org in orgs {
            records.push((org.as_str().to_owned(), issuer.sign(&self.workload.grant(&org))?));
        }
        self.publish(records.into_iter().map(Ok))
    }

    /// Draws events and appends them.
    pub(crate) fn fill(&mut self, events: usize) -> Result<()> {
        for begin in (0..events).step_by(TOGETHER) {
            let drawn: Vec<_> = (begin..events.min(begin + TOGETHER))
                .map(|_| self.workload.event().map(|(org, value)| (org.as_str().to_owned(), value)))
                .collect();
            self.publish(drawn.into_iter())?;
        }
        Ok(())
    }

    fn publish(&self, records: impl Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
        self.bench.runtime.block_on(async {
            let mut deliveries = Vec::new();
            for record in records {
                let (key, value) = record?;
                deliveries.push(self.enqueue(&key, &value).await?);
                if deliveries.len() == TOGETHER {
                    acknowledged(std::mem::take(&mut deliveries)).await?;
                }
            }
            acknowledged(deliveries).await
        })
    }

    /// Hands a record over, as soon as there is room.
    pub(crate) async fn enqueue(&self, key: &str, value: &[u8]) -> Result<Delivery> {
        let partition = partition_of(key.as_bytes(), PARTITIONS);
        loop {
            match self.publisher.enqueue(partition, key.as_bytes(), value) {
                Err(StreamError::QueueFull) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => return Ok(other?),
            }
        }
    }

    /// Where each partition ends.
    pub(crate) fn ends(&self) -> Result<Vec<i64>> {
        let ranges = self.bench.runtime.block_on(self.reader.everything())?;
        Ok(ranges.into_iter().map(|range| range.end).collect())
    }

    pub(crate) fn reader(&self) -> &LogReader {
        &self.reader
    }
}

pub(crate) async fn acknowledged(deliveries: Vec<Delivery>) -> Result<()> {
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(())
}
