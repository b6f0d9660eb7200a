//! Committing one batch, and what its end means.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fluxori_core::fold::Counters;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{BatchWrite, EncodedPostings, Ledger, LedgerError};
use fluxori_runtime::clock;
use fluxori_stream::WorkerEnd;
use metrics::{counter, histogram};
use tokio::sync::Semaphore;

use crate::outages::Outages;
use crate::unpriced::{self, Incomplete};

/// Encoded postings that are not needed any more, for their memory: fresh pages for every batch would be a tenth of all
/// work. The last to come is the first to go, because it is still in the processor's cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spares(Arc<Mutex<Vec<EncodedPostings>>>);

impl Spares {
    pub(crate) fn take(&self) -> Option<EncodedPostings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, postings: EncodedPostings) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(postings);
    }
}

/// A batch that is to be committed.
pub(crate) struct Commit {
    pub(crate) ledger: Ledger,
    /// Commits under way at once.
    pub(crate) commits: Arc<Semaphore>,
    pub(crate) outages: Arc<Outages>,
    pub(crate) spares: Spares,
    /// The batch, its postings left out.
    pub(crate) write: BatchWrite,
    pub(crate) postings: EncodedPostings,
    /// The counters before the batch.
    pub(crate) before: Counters,
    /// Its charges without a full price.
    pub(crate) incomplete: Incomplete,
    /// When its first record was appended.
    pub(crate) oldest: Option<Timestamp>,
}

impl Commit {
    /// Commits the batch and counts what it did.
    pub(crate) async fn run(self) -> Result<(), WorkerEnd> {
        let Self { ledger, commits, outages, spares, write, postings, before, incomplete, oldest } = self;
        // Never closed; and if it were, the limit would be all that is lost.
        let _permit = commits.acquire().await;
        let started = Instant::now();
        ledger.commit_encoded(&write, &postings).await.map_err(|error| {
            outages.failed(write.partition, &error);
            uncommitted(write.start_offset, write.cursor.next_offset, &error)
        })?;
        spares.put(postings);
        outages.succeeded(write.partition);
        histogram!("ledger_commit_seconds").record(started.elapsed());
        let now = Timestamp::from(clock::now()).micros();
        if let Some(lag) = oldest.and_then(|oldest| u64::try_from(now.saturating_sub(oldest.micros())).ok()) {
            // Of the record that waited longest.
            histogram!("ledger_append_to_commit_seconds").record(Duration::from_micros(lag));
        }
        count(before, write.cursor.counters);
        unpriced::count(&incomplete);
        tracing::debug!(
            partition = write.partition,
            records = write.cursor.next_offset - write.start_offset,
            next_offset = write.cursor.next_offset,
            "committed"
        );
        Ok(())
    }
}

/// Whatever went wrong, what is in memory counts for nothing any more. Fenced, or unknown whether it was committed:
/// begin again from what is stored. Refused for what the batch holds: that would be so for ever.
pub(crate) fn uncommitted(start: i64, end: i64, error: &LedgerError) -> WorkerEnd {
    if error.is_permanent() {
        return WorkerEnd::Halt(format!("offsets {start} to {end} (exclusive) cannot be committed: {error}"));
    }
    WorkerEnd::Rejoin(error.to_string())
}

fn count(before: Counters, after: Counters) {
    for (outcome, before, after) in [
        ("debited", before.debited, after.debited),
        ("command", before.commands, after.commands),
        ("rejected", before.rejected, after.rejected),
        ("duplicate", before.duplicates, after.duplicates),
        ("quarantined", before.quarantined, after.quarantined),
        ("released", before.released, after.released),
        ("superseded", before.superseded, after.superseded),
    ] {
        counter!("ledger_records_total", "outcome" => outcome)
            .increment(u64::try_from(after - before).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_can_never_be_committed_halts_and_a_fenced_one_is_taken_over_again() {
        let refused = LedgerError::Unreadable { what: "an amount".into() };
        let WorkerEnd::Halt(reason) = uncommitted(5, 9, &refused) else { panic!("it does not halt") };
        assert!(reason.starts_with("offsets 5 to 9 (exclusive) cannot be committed: "), "{reason}");
        let fenced = LedgerError::Fenced { partition: 0, ours: 1, found: 2 };
        assert!(matches!(uncommitted(5, 9, &fenced), WorkerEnd::Rejoin(_)));
    }
}
