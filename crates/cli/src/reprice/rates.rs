//! The rates that a partition has in force, and which usage is asked for by their names.

use std::collections::HashMap;
use std::sync::Arc;

use fluxori_core::command::CommandBody;
use fluxori_core::digest::{Canonical, Digest};
use fluxori_core::fold::{ChargedUsage, Context, LogIdentity};
use fluxori_core::id::{GLOBAL_KEY, Model, OrgId, Provider, RevisionId};
use fluxori_core::rates::{Audience, ModelEntry, Rates};
use fluxori_core::record::{Body, partition_of};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{GlobalRecord, Ledger, ModelNames};

use super::RepriceArguments;
use crate::error::CliError;
use crate::session::Session;

/// What a partition has in force.
pub(super) struct InForce {
    context: Context,
    /// When the revision was sealed, by the clock of who sealed it.
    pub(super) sealed_at: Timestamp,
}

impl InForce {
    pub(super) fn rates(&self) -> &Rates {
        self.context.rates()
    }
}

/// The rates of partitions, each read when it is first needed. Most partitions have the same records, and then share them.
pub(super) struct PartitionRates<'run> {
    session: &'run Session,
    ledger: &'run Ledger,
    revision: &'run RevisionId,
    partitions: i32,
    by_partition: HashMap<i32, Arc<InForce>>,
    by_records: HashMap<Digest, Arc<InForce>>,
}

impl<'run> PartitionRates<'run> {
    pub(super) fn new(
        session: &'run Session,
        ledger: &'run Ledger,
        log: &LogIdentity,
        revision: &'run RevisionId,
    ) -> Self {
        let partitions = log.genesis.partitions;
        let (by_partition, by_records) = (HashMap::new(), HashMap::new());
        Self { session, ledger, revision, partitions, by_partition, by_records }
    }

    pub(super) async fn of_org(&mut self, org: &OrgId) -> Result<Arc<InForce>, CliError> {
        self.of_partition(partition_of(org.as_str().as_bytes(), self.partitions)).await
    }

    /// # Errors
    /// Another revision than the one that was named is in force.
    pub(super) async fn of_partition(&mut self, partition: i32) -> Result<Arc<InForce>, CliError> {
        if let Some(known) = self.by_partition.get(&partition) {
            return Ok(Arc::clone(known));
        }
        let globals = self.ledger.global_records(partition).await?;
        let mut canonical = Canonical::new("records");
        for global in &globals {
            canonical.bytes(&global.value);
        }
        let records = canonical.digest();
        let in_force = match self.by_records.get(&records) {
            Some(known) => Arc::clone(known),
            None => Arc::new(self.read(partition, &globals)?),
        };
        self.by_records.insert(records, Arc::clone(&in_force));
        self.by_partition.insert(partition, Arc::clone(&in_force));
        Ok(in_force)
    }

    fn read(&self, partition: i32, globals: &[GlobalRecord]) -> Result<InForce, CliError> {
        let context = self.session.context(partition, globals)?;
        let revision = self.revision;
        let latest = context.rates().revisions().last();
        if latest != Some(revision) {
            let latest = latest.map_or_else(|| "none".to_owned(), ToString::to_string);
            return Err(CliError::Refused(format!(
                "revision {revision} is not the one in force in partition {partition}, which is {latest}: look at what \
                 that makes of the charges, and name it"
            )));
        }
        let sealed_at = globals.iter().find_map(|global| {
            let record =
                fluxori_wire::decode(Some(GLOBAL_KEY.as_bytes()), Some(&global.value), global.append_time);
            let Body::Command(signed) = record.body else { return None };
            matches!(&signed.command.body, CommandBody::RatesSeal(seal) if seal.revision == *revision)
                .then_some(signed.command.issued_at)
        });
        Ok(InForce { context, sealed_at: sealed_at.unwrap_or_default() })
    }
}

/// The model, provider and span of time that are asked for.
pub(super) struct Asked {
    model: Option<AskedModel>,
    provider: Option<Provider>,
    since: Timestamp,
    until: Option<Timestamp>,
}

struct AskedModel {
    name: Model,
    /// What the rates have under that name, of any provider.
    known: Vec<(Provider, Model)>,
    names: ModelNames,
}

impl Asked {
    pub(super) fn of(arguments: &RepriceArguments, rates: &Rates) -> Self {
        let RepriceArguments { model, provider, since, until, .. } = arguments;
        let model = model.as_ref().map(|name| {
            let means = |entry: &&ModelEntry| {
                let meant = rates.model(&entry.provider, name, Audience::Operator).map(|(meant, _)| meant);
                meant.is_some_and(|meant| (&meant.provider, &meant.model) == (&entry.provider, &entry.model))
            };
            let entries: Vec<_> = rates.models().into_iter().filter(means).collect();
            let own = entries.iter().flat_map(|entry| entry.aliases.iter().chain([&entry.model]));
            AskedModel {
                name: name.clone(),
                known: entries.iter().map(|entry| (entry.provider.clone(), entry.model.clone())).collect(),
                names: ModelNames {
                    names: own.chain([name]).map(ToString::to_string).collect(),
                    patterns: entries.iter().flat_map(|entry| entry.patterns.iter().cloned()).collect(),
                },
            }
        });
        let provider = provider.as_ref().map(|provider| rates.provider(provider).clone());
        Self { model, provider, since: *since, until: *until }
    }

    /// The names for the ledger to look for.
    pub(super) fn names(&self) -> Option<ModelNames> {
        self.model.as_ref().map(|model| model.names.clone())
    }

    /// Whether a charge is one that is asked for.
    pub(super) fn is_asked(&self, usage: &ChargedUsage, rates: &Rates) -> bool {
        let means = |model: &AskedModel, name: &Model| {
            *name == model.name
                || rates.model(&usage.provider, name, Audience::Operator).is_some_and(|(entry, _)| {
                    model.known.iter().any(|known| (&known.0, &known.1) == (&entry.provider, &entry.model))
                })
        };
        usage.occurred_at >= self.since
            && self.until.is_none_or(|until| usage.occurred_at < until)
            && self.provider.as_ref().is_none_or(|provider| rates.provider(&usage.provider) == provider)
            && self.model.as_ref().is_none_or(|model| {
                [&usage.request_model, &usage.model].into_iter().any(|name| means(model, name))
            })
    }
}
