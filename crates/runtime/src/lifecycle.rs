//! The life of a service: tasks that are tracked, a soft token that asks them to end, and a hard one
//! that no longer waits.
//!
//! SIGTERM or SIGINT cancels the soft token: finish what is under way, start nothing new. A second
//! signal, or the end of the grace period, cancels the hard token. A task that fails or panics
//! cancels the soft token too, and the process ends with a non-zero code.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Chain;

/// How long tasks may take to end after the soft token.
pub const GRACE: Duration = Duration::from_secs(20);
/// How long they may take after the hard one.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// Handle on the life of a service; clones are the same life.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Lifecycle {
    /// A life without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the service should end: finish what is under way, start nothing new.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when waiting is over: drop everything.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Spawns a tracked task. If it fails or panics, the service ends with a non-zero code.
    pub fn spawn<F, E>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let (name, life) = (name.into(), self.clone());
        let running = tokio::spawn(task);
        let abort = running.abort_handle();
        let hard = self.hard.clone();
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = running => ended,
                () = after_hard(hard) => {
                    abort.abort();
                    life.fail(&name, "did not end in time and was dropped");
                    return;
                }
            };
            match ended {
                Ok(Ok(())) => tracing::debug!(task = name, "ended"),
                Ok(Err(error)) => life.fail(&name, Chain(&*error.into())),
                Err(panic) => life.fail(&name, panic),
            }
        });
    }

    /// Asks the service to end, as SIGTERM does.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits until the service should end and all its tasks have, and returns the failures there were:
    /// none = a clean end.
    pub async fn finished(&self) -> Vec<String> {
        self.soft.cancelled().await;
        self.tasks.close();
        let grace = async {
            tokio::select! {
                () = tokio::time::sleep(GRACE) => {
                    tracing::warn!("tasks are still running after {} s; no longer waiting", GRACE.as_secs());
                    self.hard.cancel();
                }
                () = self.hard.cancelled() => {}
            }
            // Each task's own bound comes first.
            tokio::time::sleep(LAST_WAIT * 2).await;
        };
        tokio::select! {
            () = self.tasks.wait() => {}
            () = grace => {}
        }
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Listens for SIGTERM and SIGINT until the second one.
    pub(crate) fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let life = self.clone();
        tokio::spawn(async move {
            for token in [&life.soft, &life.hard] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                let hard = life.soft.is_cancelled();
                tracing::info!("{name}: {}", if hard { "no longer waiting" } else { "shutting down" });
                token.cancel();
            }
        });
        Ok(())
    }

    fn fail(&self, name: &str, reason: impl Display) {
        tracing::error!(task = name, reason = %reason, "a task failed; the service ends");
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(format!("{name}: {reason}"));
        drop(failures);
        self.soft.cancel();
    }
}

async fn after_hard(hard: CancellationToken) {
    hard.cancelled().await;
    tokio::time::sleep(LAST_WAIT).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_or_panics_ends_the_service_with_its_reason() {
        let life = Lifecycle::new();
        let stop = life.soft();
        life.spawn("waits", async move {
            stop.cancelled().await;
            Ok::<(), String>(())
        });
        life.spawn("fails", async { Err("no such table".to_owned()) });
        assert_eq!(life.finished().await, ["fails: no such table"]);

        let life = Lifecycle::new();
        life.spawn("panics", async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok::<(), String>(())
        });
        let failures = life.finished().await;
        assert!(failures.len() == 1 && failures[0].starts_with("panics: "), "{failures:?}");
    }

    #[tokio::test]
    async fn a_clean_end_has_no_failures() {
        let life = Lifecycle::new();
        life.spawn("done", async { Ok::<(), String>(()) });
        life.stop();
        assert!(life.finished().await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_dropped_after_the_grace() {
        let life = Lifecycle::new();
        life.spawn("hangs", std::future::pending::<Result<(), String>>());
        life.stop();
        let started = tokio::time::Instant::now();
        assert_eq!(life.finished().await, ["hangs: did not end in time and was dropped"]);
        assert_eq!(started.elapsed().as_secs(), (GRACE + LAST_WAIT).as_secs());
        assert!(life.hard().is_cancelled());
    }
}
