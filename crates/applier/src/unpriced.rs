//! Usage without a full price: counted by what it lacks, and each model named once in the log.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use fluxori_core::id::{Model, Provider};
use fluxori_core::posting::Cause;
use fluxori_core::pricing::ChargeStatus;
use fluxori_ledger::PostingRow;
use metrics::counter;

/// Most models that are remembered as named: names come from call sites, and a counter goes on counting.
const MAX_NAMED: usize = 1_000;

/// The models that were named since the process began.
#[derive(Debug, Default)]
pub(crate) struct Unpriced(Mutex<HashSet<(Provider, Model, ChargeStatus)>>);

/// How many charges of a batch have no full price, by what they are.
pub(crate) type Incomplete = BTreeMap<&'static str, u64>;

impl Unpriced {
    /// Counts the debits that have no full price, and warns of the models that were not named before.
    pub(crate) fn look(&self, postings: &[PostingRow]) -> Incomplete {
        let mut incomplete = Incomplete::new();
        for row in postings {
            let Cause::Usage(usage) = &row.posting.cause else { continue };
            let status = usage.charge.status;
            if !matches!(status, ChargeStatus::Unpriced | ChargeStatus::Provisional | ChargeStatus::Partial) {
                continue;
            }
            *incomplete.entry(status.as_str()).or_default() += 1;
            let event = &usage.event;
            if self.is_new((event.provider.clone(), event.model().clone(), status)) {
                tracing::warn!(
                    provider = %event.provider,
                    model = %event.model(),
                    charge = %status,
                    event_id = %event.event_id,
                    org_id = %event.org_id,
                    "usage has no full price: `credits rates unpriced` lists it; apply a rate card, then `credits reprice`"
                );
            }
        }
        incomplete
    }

    fn is_new(&self, named: (Provider, Model, ChargeStatus)) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_NAMED && known.insert(named)
    }
}

/// Counts what was committed.
pub(crate) fn count(incomplete: &Incomplete) {
    for (status, charges) in incomplete {
        counter!("ledger_incomplete_charges_total", "charge" => *status).increment(*charges);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_once_and_no_more_than_a_thousand_are() {
        let unpriced = Unpriced::default();
        let named = |model: &str| ("openai".parse().unwrap(), model.parse().unwrap(), ChargeStatus::Unpriced);
        assert!(unpriced.is_new(named("gpt-99")));
        assert!(!unpriced.is_new(named("gpt-99")));
        let more = (0..2 * MAX_NAMED).filter(|n| unpriced.is_new(named(&format!("model-{n}")))).count();
        assert_eq!(more, MAX_NAMED - 1);
    }
}
