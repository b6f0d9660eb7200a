//! Retries with backoff against servers that may be away for a while. The only module that names the
//! `backoff` crate, which is no longer maintained.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use tokio_util::sync::CancellationToken;

/// No pause between two tries is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// While it fails, at most one warning in this time.
const QUIET: Duration = Duration::from_secs(10);
/// A try that gives no answer for so long is reported while it goes on.
const SLOW: Duration = Duration::from_secs(5);

/// How one try failed. `?` makes an error transient.
#[derive(Debug)]
pub enum Failure<E> {
    /// Worth another try.
    Transient(E),
    /// Will fail the same way again.
    Permanent(E),
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::Transient(error)
    }
}

/// Why there is no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError<E> {
    /// The service is shutting down.
    #[error("given up because the service is shutting down")]
    Stopped,
    /// A try failed in a way that another will not mend.
    #[error("{0}")]
    Permanent(E),
}

/// Repeats `op` until it succeeds, fails for good, or `shutdown` is cancelled. Pauses grow from
/// 0.1 to 5 s, with jitter. `what` names the thing that is tried, as in "connect to Postgres at
/// 127.0.0.1:5432"; the first failure is logged as a warning at once, later ones every ten seconds,
/// and the recovery once.
///
/// # Errors
/// [`RetryError::Stopped`] on shutdown, [`RetryError::Permanent`] as `op` says.
pub async fn retry<T, E, F, Fut>(
    what: &str,
    shutdown: &CancellationToken,
    mut op: F,
) -> Result<T, RetryError<E>>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Failure<E>>>,
{
    let mut pauses = ExponentialBackoff {
        initial_interval: Duration::from_millis(100),
        current_interval: Duration::from_millis(100),
        max_interval: LONGEST_PAUSE,
        max_elapsed_time: None,
        multiplier: 2.0,
        ..ExponentialBackoff::default()
    };
    let started = Instant::now();
    let mut warned: Option<Instant> = None;
    let mut tries = 0_u64;
    loop {
        tries += 1;
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(RetryError::Stopped),
            outcome = report_slow(what, op()) => outcome,
        };
        let error = match outcome {
            Ok(value) => {
                if warned.is_some() {
                    let seconds = started.elapsed().as_secs_f32();
                    tracing::info!(tries, "recovered after {seconds:.1} s: {what}");
                }
                return Ok(value);
            }
            Err(Failure::Permanent(error)) => return Err(RetryError::Permanent(error)),
            Err(Failure::Transient(error)) => error,
        };
        if warned.is_none_or(|at| at.elapsed() >= QUIET) {
            warned = Some(Instant::now());
            tracing::warn!(tries, %error, "cannot {what}; trying again");
        }
        let pause = pauses.next_backoff().unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        tokio::select! {
            () = shutdown.cancelled() => return Err(RetryError::Stopped),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn report_slow<T>(what: &str, attempt: impl Future<Output = T>) -> T {
    let mut attempt = std::pin::pin!(attempt);
    if let Ok(outcome) = tokio::time::timeout(SLOW, &mut attempt).await {
        return outcome;
    }
    tracing::warn!("no answer within {} s, still waiting: {what}", SLOW.as_secs());
    attempt.await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn transient_failures_are_tried_again_until_one_succeeds() {
        let tries = Cell::new(0);
        let outcome: Result<u32, RetryError<String>> = retry("test", &CancellationToken::new(), async || {
            tries.set(tries.get() + 1);
            if tries.get() < 20 { Err(Failure::Transient("away".to_owned())) } else { Ok(tries.get()) }
        })
        .await;
        assert_eq!(outcome, Ok(20));
    }

    #[tokio::test]
    async fn a_permanent_failure_is_not_tried_again() {
        let tries = Cell::new(0);
        let outcome: Result<(), _> = retry("test", &CancellationToken::new(), async || {
            tries.set(tries.get() + 1);
            Err(Failure::Permanent("no such database".to_owned()))
        })
        .await;
        assert_eq!((outcome, tries.get()), (Err(RetryError::Permanent("no such database".into())), 1));
    }

    #[tokio::test]
    async fn shutdown_ends_the_tries_even_while_one_hangs() {
        let shutdown = CancellationToken::new();
        let hangs = async || std::future::pending::<Result<(), Failure<String>>>().await;
        let cancel = async {
            tokio::task::yield_now().await;
            shutdown.cancel();
        };
        let (outcome, ()) = tokio::join!(retry("test", &shutdown, hangs), cancel);
        assert_eq!(outcome, Err(RetryError::Stopped));
    }
}
