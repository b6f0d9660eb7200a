//! Takes partitions over when the group assigns them, and applies their batches.

use std::time::Duration;

use fluxori_applier::{AppliedPartition, Applier};
use fluxori_core::time::Timestamp;
use fluxori_runtime::retry::Failure;
use fluxori_runtime::{Health, clock, retry};
use fluxori_stream::{Batch, Batches, GroupHandle, Processor, TakeOver, WorkerEnd};
use tokio_util::sync::CancellationToken;

/// How far the broker's clock may run ahead of ours; a partition waits until it is less.
const MOST_CLOCK_LEAD: Duration = Duration::from_mins(5);

/// Applies the log to the ledger.
pub(crate) struct LedgerProcessor {
    applier: Applier,
    health: Health,
}

impl LedgerProcessor {
    pub(crate) const fn new(applier: Applier, health: Health) -> Self {
        Self { applier, health }
    }

    async fn apply(
        &self,
        partition: &mut AppliedPartition,
        batch: Batch,
        stop: &CancellationToken,
    ) -> Result<(), WorkerEnd> {
        wait_for_clock(partition.partition(), latest(&batch), &self.health, stop).await?;
        self.applier.apply(partition, batch, stop).await
    }
}

/// The latest append time.
fn latest(batch: &Batch) -> Timestamp {
    batch.iter().map(|record| record.append_time_ms).max().map_or(Timestamp::MIN, Timestamp::from_millis)
}

/// Waits while the log is further ahead of this machine's clock than may be: a skew that passes needs no restart.
async fn wait_for_clock(
    partition: i32,
    latest: Timestamp,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), WorkerEnd> {
    if clock_lead(latest).is_ok() {
        return Ok(());
    }
    let check = health.check(format!("clock of partition {partition}"));
    let waited = retry(&format!("go on with partition {partition}"), stop, || async {
        clock_lead(latest).map_err(|problem| {
            check.not_ready(problem.clone());
            Failure::Transient(problem)
        })
    })
    .await;
    check.remove();
    waited.map_err(|_| WorkerEnd::Stopped)
}

fn clock_lead(latest: Timestamp) -> Result<(), String> {
    let now = Timestamp::from(clock::now());
    if latest <= now.after(MOST_CLOCK_LEAD) {
        return Ok(());
    }
    Err(format!(
        "the log's append time {latest} is more than 5 minutes ahead of this machine's {now}: set the clocks right"
    ))
}

impl Processor for LedgerProcessor {
    type Worker = AppliedPartition;

    async fn take_over(
        &self,
        partition: i32,
        _group: GroupHandle,
        stop: CancellationToken,
    ) -> Result<TakeOver<AppliedPartition>, WorkerEnd> {
        let worker = self.applier.take_over(partition, &stop).await?;
        let start = worker.start();
        tracing::info!(partition, epoch = worker.epoch(), start, "took over");
        Ok(TakeOver { start, worker })
    }

    async fn run(
        &self,
        mut worker: AppliedPartition,
        mut batches: Batches,
        stop: CancellationToken,
    ) -> WorkerEnd {
        loop {
            let batch = match next(&mut worker, &mut batches).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return worker.settle().await.err().unwrap_or(WorkerEnd::Stopped),
                Err(end) => return end,
            };
            if let Err(end) = self.apply(&mut worker, batch, &stop).await {
                // The wait for the clock may have ended over a batch that is being committed.
                return worker.settle().await.err().unwrap_or(end);
            }
        }
    }
}

/// The next batch; none when the worker is asked to end. A commit that fails meanwhile is heard of at once, and not only
/// when something comes after it.
async fn next(worker: &mut AppliedPartition, batches: &mut Batches) -> Result<Option<Batch>, WorkerEnd> {
    if worker.is_committing() {
        tokio::select! {
            biased;
            batch = batches.next() => return Ok(batch),
            settled = worker.settle() => settled?,
        }
    }
    Ok(batches.next().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(seconds: u64) -> Timestamp {
        Timestamp::from(clock::now()).after(MOST_CLOCK_LEAD + Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn a_clock_that_lags_is_waited_for_and_the_wait_shows() {
        let (health, stop) = (Health::new("test"), CancellationToken::new());
        let waiting = tokio::spawn({
            let (health, stop) = (health.clone(), stop.clone());
            async move { wait_for_clock(3, ahead(1), &health, &stop).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!health.is_ready() && !waiting.is_finished());
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(health.is_ready());
    }

    #[tokio::test]
    async fn a_wait_for_the_clock_ends_with_the_service() {
        let (health, stop) = (Health::new("test"), CancellationToken::new());
        let cancel = async {
            tokio::task::yield_now().await;
            stop.cancel();
        };
        let (waited, ()) = tokio::join!(wait_for_clock(3, ahead(3_600), &health, &stop), cancel);
        assert_eq!(waited, Err(WorkerEnd::Stopped));
        assert!(health.is_ready());
    }
}
