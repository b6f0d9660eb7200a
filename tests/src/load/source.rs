//! Orgs with their grants, and usage of theirs; what was accepted of it is summed up.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fluxori_core::usage::UsageEvent;
use fluxori_stack::pipeline::Pipeline;
use fluxori_stream::Publisher;
use fluxori_wire::Issuer;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Emitted, event, opening, partition};
use crate::{PARTITIONS, publisher_options, unique};

/// Orgs in each partition.
const ORGS_PER_PARTITION: usize = 3;

/// Makes usage of orgs that are open.
#[derive(Debug)]
pub struct Source {
    orgs: Vec<String>,
    random: StdRng,
    emitted: Emitted,
}

/// What an event costs its org.
#[derive(Debug, Clone)]
#[must_use = "an event that was accepted is to be counted"]
pub struct Cost {
    org: String,
    credits: i64,
}

impl Source {
    /// Opens orgs in every partition.
    ///
    /// # Errors
    /// The CLI's key cannot be read, or Kafka is away.
    pub fn open(pipeline: &Pipeline, seed: u64) -> Result<Self> {
        let orgs = orgs()?;
        let publisher = Publisher::new(&publisher_options(pipeline)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let issuer = Issuer::read(&pipeline.keys_folder().join("cli.key"))?;
        for org in &orgs {
            let grant = opening(&issuer, org)?;
            runtime.block_on(publisher.publish(partition(org)?, org.as_bytes(), &grant))?;
        }
        Ok(Self { orgs, random: StdRng::seed_from_u64(seed), emitted: Emitted::default() })
    }

    /// The next event, and what it costs once it is accepted.
    ///
    /// # Errors
    /// There are no orgs.
    #[expect(clippy::should_implement_trait, reason = "it never ends, and may fail")]
    pub fn next(&mut self) -> Result<(UsageEvent, Cost)> {
        let chosen = self.random.random_range(0..self.orgs.len());
        let org = self.orgs.get(chosen).context("no org")?;
        let (event, credits) = event(org, &mut self.random)?;
        Ok((event, Cost { org: org.clone(), credits }))
    }

    /// Counts an event that was accepted.
    pub fn accepted(&mut self, cost: Cost) {
        let used = self.emitted.orgs.entry(cost.org).or_default();
        used.events += 1;
        used.credits += cost.credits;
    }

    /// What was accepted so far.
    #[must_use]
    pub const fn emitted(&self) -> &Emitted {
        &self.emitted
    }

    pub(super) fn duplicated(&mut self) {
        self.emitted.duplicates += 1;
    }

    pub(super) const fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    pub(super) fn into_emitted(self) -> Emitted {
        self.emitted
    }
}

/// New names, as many in every partition.
fn orgs() -> Result<Vec<String>> {
    let mut of_partitions: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    while of_partitions.values().filter(|orgs| orgs.len() >= ORGS_PER_PARTITION).count()
        < usize::try_from(PARTITIONS)?
    {
        let org = unique("load");
        of_partitions.entry(partition(&org)?).or_default().push(org);
    }
    Ok(of_partitions.into_values().flat_map(|orgs| orgs.into_iter().take(ORGS_PER_PARTITION)).collect())
}
