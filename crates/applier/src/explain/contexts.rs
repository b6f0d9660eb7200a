//! The rates that held when a posting was booked, kept for the next explanation.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use fluxori_core::command::CommandBody;
use fluxori_core::digest::Digest;
use fluxori_core::fold::Halt;
use fluxori_core::id::RevisionId;
use fluxori_core::rates::{Rates, SharedRates};
use fluxori_core::record::Body;
use fluxori_ledger::GlobalRecord;

use super::ExplainError;
use crate::partition::context_seeing;

/// How many are kept. Those that came about by the same revisions have their rates in common, so that this is memory for a
/// few cards and not for so many.
const KEPT: usize = 16;

/// Makes the contexts that explanations need, for one log and one ledger, and keeps the last few: verifying all global
/// records of a partition and building its rates takes a second where there are many.
#[derive(Debug, Default)]
pub struct Contexts {
    genesis: Option<Digest>,
    shared: Arc<SharedRates>,
    /// The latest last.
    kept: Mutex<VecDeque<(Key, Arc<RatesThen>)>>,
}

/// A partition, the number of its global records so far and the offset of the last: it only ever gets more.
type Key = (i32, usize, Option<i64>);

/// What held after some global records of a partition.
#[derive(Debug)]
pub(super) struct RatesThen {
    pub(super) rates: Arc<Rates>,
    /// Where each revision is from, as its seal says.
    pub(super) sources: HashMap<RevisionId, String>,
}

impl Contexts {
    /// None yet. `genesis` is the digest that the configuration names, if it does: another log is refused.
    #[must_use]
    pub fn new(genesis: Option<Digest>) -> Self {
        Self { genesis, ..Self::default() }
    }

    /// What held after these global records of a partition.
    pub(super) async fn after(
        &self,
        partition: i32,
        globals: Vec<GlobalRecord>,
    ) -> Result<Arc<RatesThen>, ExplainError> {
        let key = (partition, globals.len(), globals.last().map(|record| record.offset));
        if let Some(then) = self.find(key) {
            return Ok(then);
        }
        let (genesis, shared) = (self.genesis, Arc::clone(&self.shared));
        let made = tokio::task::spawn_blocking(move || make(partition, genesis, &globals, &shared));
        let then = Arc::new(made.await??);
        self.keep(key, &then);
        Ok(then)
    }

    fn find(&self, key: Key) -> Option<Arc<RatesThen>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| *known == key)?;
        let found = kept.remove(at)?;
        let then = Arc::clone(&found.1);
        kept.push_back(found);
        Some(then)
    }

    fn keep(&self, key: Key, then: &Arc<RatesThen>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != key);
        kept.push_back((key, Arc::clone(then)));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

fn make(
    partition: i32,
    genesis: Option<Digest>,
    globals: &[GlobalRecord],
    shared: &Arc<SharedRates>,
) -> Result<RatesThen, Halt> {
    let mut sources = HashMap::new();
    let context = context_seeing(partition, genesis, globals, shared, |record| {
        if let Body::Command(signed) = &record.body
            && let CommandBody::RatesSeal(seal) = &signed.command.body
            && let Some(reference) = &signed.command.reference
        {
            sources.entry(seal.revision.clone()).or_insert_with(|| reference.clone());
        }
    })?;
    Ok(RatesThen { rates: Arc::clone(context.rates()), sources })
}

#[cfg(test)]
mod tests {
    use fluxori_core::time::Timestamp;

    use super::*;

    #[tokio::test]
    async fn what_was_made_for_one_explanation_is_there_for_the_next_until_many_others_were_asked_for() {
        let contexts = Contexts::default();
        let first = contexts.after(0, Vec::new()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &contexts.after(0, Vec::new()).await.unwrap()));
        for other in 1..i32::try_from(KEPT).unwrap() {
            contexts.after(other, Vec::new()).await.unwrap();
        }
        assert!(Arc::ptr_eq(&first, &contexts.after(0, Vec::new()).await.unwrap()));
        for other in 1..=i32::try_from(KEPT).unwrap() {
            contexts.after(other, Vec::new()).await.unwrap();
        }
        assert_eq!(contexts.kept.lock().unwrap().len(), KEPT);
        assert!(!Arc::ptr_eq(&first, &contexts.after(0, Vec::new()).await.unwrap()));
    }

    #[tokio::test]
    async fn a_further_global_record_is_not_answered_with_what_held_before_it() {
        let contexts = Contexts::default();
        contexts.after(0, Vec::new()).await.unwrap();
        let unreadable = GlobalRecord { offset: 0, append_time: Timestamp::MIN, value: vec![1, 2, 3] };
        assert!(matches!(contexts.after(0, vec![unreadable]).await, Err(ExplainError::Log(_))));
    }
}
