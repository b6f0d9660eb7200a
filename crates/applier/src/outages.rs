//! Shows in `/readyz` that Postgres does not take batches, for as long as it does not.
//!
//! A member whose commit failed begins again from what is stored, and gets its partitions back within moments: it is
//! joined and at work, until the next commit fails in the same way. Only a commit says that it can work.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fluxori_ledger::LedgerError;
use fluxori_runtime::Health;
use fluxori_runtime::health::Check;

/// After this time the commit of any partition counts: the one that failed may be another member's by now. Longer than
/// the longest pause between two tries.
const FORGOTTEN: Duration = Duration::from_secs(15);

/// Whether batches can be committed.
#[derive(Debug)]
pub(crate) struct Outages {
    check: Check,
    /// The partition whose commit failed last, and when.
    failing: Mutex<Option<(i32, Instant)>>,
}

impl Outages {
    pub(crate) fn new(health: &Health) -> Self {
        let check = health.check("commits");
        check.ready();
        Self { check, failing: Mutex::new(None) }
    }

    /// A commit failed. That somebody else has the partition now is no outage.
    pub(crate) fn failed(&self, partition: i32, error: &LedgerError) {
        if matches!(error, LedgerError::Database(_)) {
            self.outage(partition, &error.to_string());
        }
    }

    fn outage(&self, partition: i32, reason: &str) {
        *self.lock() = Some((partition, Instant::now()));
        self.check.not_ready(format!("partition {partition} cannot be committed: {reason}"));
    }

    /// A commit succeeded.
    pub(crate) fn succeeded(&self, partition: i32) {
        self.succeeded_at(partition, Instant::now());
    }

    fn succeeded_at(&self, partition: i32, now: Instant) {
        let mut failing = self.lock();
        let mended = |(failed, at): (i32, Instant)| failed == partition || now.duration_since(at) > FORGOTTEN;
        if failing.is_some_and(mended) {
            *failing = None;
            self.check.ready();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(i32, Instant)>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_commit_shows_until_its_partition_or_after_a_while_any_is_committed() {
        let health = Health::new("test");
        let outages = Outages::new(&health);
        outages.outage(3, "no space left");
        assert!(!health.is_ready());
        outages.succeeded(4);
        assert!(!health.is_ready());
        outages.succeeded(3);
        assert!(health.is_ready());
        outages.outage(3, "no space left");
        outages.succeeded_at(4, Instant::now() + FORGOTTEN * 2);
        assert!(health.is_ready());
        outages.failed(3, &LedgerError::Fenced { partition: 3, ours: 1, found: 2 });
        assert!(health.is_ready());
    }
}
