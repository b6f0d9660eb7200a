//! Rates that several partitions have in common.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use foldhash::HashMap;

use super::Rates;
use crate::digest::{Canonical, Digest};
use crate::id::RevisionId;

/// The rates in force of all partitions of a process: those that came about by the same revisions are there once. A card of
/// some thousand models takes some megabytes, and a log has up to hundreds of partitions.
///
/// No input of the fold: what is found here is what the partition would have made of its own records.
#[derive(Debug, Default)]
pub struct SharedRates(Mutex<HashMap<Digest, Weak<Rates>>>);

impl SharedRates {
    /// The rates after these revisions, if a partition has them.
    pub(crate) fn find(&self, history: Digest) -> Option<Arc<Rates>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&history)?.upgrade()
    }

    /// Notes the rates after these revisions.
    pub(crate) fn note(&self, history: Digest, rates: &Arc<Rates>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, rates| rates.strong_count() > 0);
        known.insert(history, Arc::downgrade(rates));
    }
}

/// What a revision makes of the digest of those before it: two partitions with the same digest have the same rates.
pub(crate) fn history_after(before: Digest, revision: &RevisionId, sealed: Digest) -> Digest {
    let mut canonical = Canonical::new("fluxori.rates.history.v1");
    canonical.bytes(&before.0).text(revision.as_str()).bytes(&sealed.0);
    canonical.digest()
}
