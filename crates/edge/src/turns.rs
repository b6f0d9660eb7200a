//! Requests that cost much are answered a few at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// After how many seconds it may try again.
const LATER: u64 = 2;

/// So many requests of one kind at a time, over all callers.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    what: &'static str,
    free: Arc<Semaphore>,
}

impl Turns {
    /// `what` names the requests, as many, to callers.
    pub(crate) fn new(what: &'static str, at_once: usize) -> Self {
        Self { what, free: Arc::new(Semaphore::new(at_once)) }
    }

    /// A turn, which ends when it is dropped. It goes with the work: what was begun goes on when nobody waits for the answer.
    ///
    /// # Errors
    /// 503 where none gets free for two seconds.
    pub(crate) async fn take(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let free = Arc::clone(&self.free).acquire_owned();
        // The semaphore is never closed.
        if let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, free).await {
            return Ok(turn);
        }
        let detail =
            format!("as many {} as may be answered at once are under way; try again in {LATER} s", self.what);
        let title = "Too many costly requests are under way";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title, detail).retry_after(LATER))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_in_time_is_told_to_come_back_and_who_does_goes_on() {
        let turns = Turns::new("explanations", 2);
        let (first, _second) = (turns.take().await.unwrap(), turns.take().await.unwrap());
        let refused = turns.take().await.unwrap_err().into_response();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &2.into()));
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take().await.is_ok() }
        });
        tokio::time::sleep(PATIENCE / 2).await;
        drop(first);
        assert!(waiting.await.unwrap());
    }
}
