//! Read your own writes: waiting until the ledger has passed a position.
//!
//! One task reads the ledger's cursors while anybody waits, and tells all who wait: however many they are, the database
//! is asked a hundred times a second at most.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use fluxori_core::id::LogId;
use fluxori_ledger::{Ledger, LedgerError};
use fluxori_runtime::http::Problem;
use fluxori_wire::Position;
use tokio::sync::{Notify, watch};

use crate::refusal::{Refusal, of_ledger};

/// How long between two looks at the cursors.
const INTERVAL: Duration = Duration::from_millis(10);
/// A look that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(3);
/// Even who does not want to wait gets one fresh look.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// How far the ledger has come, as far as is known here. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seen: watch::Sender<Seen>,
    waiting: AtomicUsize,
    /// Wakes the task when the first waiter comes.
    wanted: Notify,
    longest_wait: Duration,
}

/// The last look at the cursors.
#[derive(Debug, Default)]
struct Seen {
    /// The offset of the next record to be applied, by partition.
    next_offsets: BTreeMap<i32, i64>,
    /// Why the last look failed, if it did.
    failure: Option<Failure>,
}

#[derive(Debug)]
enum Failure {
    Error(LedgerError),
    /// The database keeps the connection and says nothing.
    Silence,
}

impl Failure {
    /// The answer to those who waited; none if the failure does not explain why they waited in vain.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Error(error) => of_ledger(error),
            Self::Silence => Some(Problem::unavailable("Postgres").into()),
        }
    }
}

impl Seen {
    fn has_passed(&self, partition: i32, offset: i64) -> bool {
        self.next_offsets.get(&partition).is_some_and(|next| *next > offset)
    }
}

impl Progress {
    /// Starts the task, which ends with the runtime.
    pub(crate) fn watch(ledger: Ledger, longest_wait: Duration) -> Self {
        let progress = Self::new(longest_wait);
        tokio::spawn(follow(ledger, Arc::clone(&progress.0)));
        progress
    }

    fn new(longest_wait: Duration) -> Self {
        let (seen, _) = watch::channel(Seen::default());
        let waiting = AtomicUsize::new(0);
        Self(Arc::new(Shared { seen, waiting, wanted: Notify::new(), longest_wait }))
    }

    /// Waits, up to the bound, until the ledger has applied the record at `offset`.
    ///
    /// # Errors
    /// 504 if it has not by then, 503 if that cannot be known because Postgres is away.
    pub(crate) async fn passed(&self, partition: i32, offset: i64) -> Result<(), Refusal> {
        let mut seen = self.0.seen.subscribe();
        if seen.borrow_and_update().has_passed(partition, offset) {
            return Ok(());
        }
        let _waiting = Waiting::begin(&self.0);
        let bound = self.0.longest_wait.max(SHORTEST_WAIT);
        let passed = seen.wait_for(|seen| seen.has_passed(partition, offset));
        if matches!(tokio::time::timeout(bound, passed).await, Ok(Ok(_))) {
            return Ok(());
        }
        let away = self.0.seen.borrow().failure.as_ref().and_then(Failure::refusal);
        Err(away.unwrap_or_else(|| {
            let detail = format!(
                "the ledger has not passed the position within {} s; is ledger-consumer running? Try again later, or \
                 without at_least for what there is now",
                bound.as_secs_f32()
            );
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "not-yet", "The ledger has not come so far yet", detail)
        }))
    }
}

/// One who waits, for as long as it lives.
struct Waiting<'s>(&'s Shared);

impl<'s> Waiting<'s> {
    fn begin(shared: &'s Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        shared.wanted.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn follow(ledger: Ledger, shared: Arc<Shared>) {
    loop {
        if shared.waiting.load(Ordering::Acquire) == 0 {
            shared.wanted.notified().await;
            continue;
        }
        let failure = match tokio::time::timeout(PATIENCE, ledger.cursors()).await {
            Ok(Ok(cursors)) => {
                let next = cursors.into_iter().map(|cursor| (cursor.partition, cursor.cursor.next_offset));
                shared.seen.send_replace(Seen { next_offsets: next.collect(), failure: None });
                None
            }
            Ok(Err(error)) => Some(Failure::Error(error)),
            Err(_) => Some(Failure::Silence),
        };
        if let Some(failure) = failure {
            tracing::debug!(?failure, "the cursors cannot be read");
            shared.seen.send_modify(|seen| seen.failure = Some(failure));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The offset in `partition` that a caller wants to see applied; none if the position says nothing about it.
///
/// # Errors
/// 400 if the text is no position, 409 if it is one of another log.
pub(crate) fn wanted_offset(text: &str, log_id: LogId, partition: i32) -> Result<Option<i64>, Refusal> {
    let position: Position = text.parse().map_err(|error| Refusal::parameter("at_least", error))?;
    if position.log_id != log_id {
        let detail =
            format!("at_least is a position in log {}, and this ledger is of log {log_id}", position.log_id);
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "another-log",
            "The position belongs to another log",
            detail,
        ));
    }
    Ok(position.offsets.get(&partition).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(partition: i32, next_offset: i64) -> Seen {
        Seen { next_offsets: BTreeMap::from([(partition, next_offset)]), failure: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_until_its_own_partition_has_passed_the_position() {
        let progress = Progress::new(Duration::from_secs(5));
        let waiter = tokio::spawn({
            let progress = progress.clone();
            async move { progress.passed(3, 7).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert_eq!(progress.0.waiting.load(Ordering::Acquire), 1);
        for other in [seen(3, 7), seen(2, 100)] {
            progress.0.seen.send_replace(other);
            tokio::task::yield_now().await;
            assert!(!waiter.is_finished());
        }
        progress.0.seen.send_replace(seen(3, 8));
        assert!(waiter.await.unwrap());
        assert_eq!(progress.0.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_does_not_wait_for_ever() {
        let progress = Progress::new(Duration::from_secs(5));
        let refusal = progress.passed(0, 0).await.unwrap_err();
        assert_eq!(refusal.problem().status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(progress.0.waiting.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_position_counts_for_its_own_log_and_partition_alone() {
        let log = LogId(uuid::Uuid::from_u128(1));
        let text = Position::of(log, 3, 42).to_string();
        let status = |refusal: Refusal| refusal.problem().status();
        assert_eq!(wanted_offset(&text, log, 3).unwrap(), Some(42));
        assert_eq!(wanted_offset(&text, log, 4).unwrap(), None);
        let other = LogId(uuid::Uuid::from_u128(2));
        assert_eq!(status(wanted_offset(&text, other, 3).unwrap_err()), StatusCode::CONFLICT);
        assert_eq!(status(wanted_offset("nonsense", log, 3).unwrap_err()), StatusCode::BAD_REQUEST);
    }
}
