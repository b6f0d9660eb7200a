//! The rates in force, kept in memory and made again when the ledger has booked something for all orgs.

use std::sync::{Arc, Mutex, PoisonError};

use fluxori_applier::context_of;
use fluxori_core::rates::{Rates, SharedRates};
use fluxori_ledger::Ledger;
use fluxori_runtime::http::Problem;

use crate::refusal::Refusal;

/// Every partition comes to the same rates; this one's say what they are.
const PARTITION: i32 = 0;

/// The rates in force.
#[derive(Debug)]
pub(crate) struct RatesInForce {
    ledger: Ledger,
    shared: Arc<SharedRates>,
    newest: Arc<Newest<Rates>>,
}

impl RatesInForce {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { ledger, shared: Arc::default(), newest: Arc::default() }
    }

    /// The rates as the ledger has them now; or those before, while somebody else waits for the new ones.
    pub(crate) async fn now(&self) -> Result<Arc<Rates>, Refusal> {
        let last = self.ledger.last_global_record(PARTITION).await?.unwrap_or(-1);
        let (ledger, shared) = (self.ledger.clone(), Arc::clone(&self.shared));
        self.newest.at_least(last, || async move { make(&ledger, shared).await }).await
    }
}

/// The rates, and the offset of the last global record that they follow from.
async fn make(ledger: &Ledger, shared: Arc<SharedRates>) -> Result<(i64, Arc<Rates>), Refusal> {
    let globals = ledger.global_records(PARTITION).await?;
    let made = tokio::task::spawn_blocking(move || {
        let last = globals.last().map_or(-1, |record| record.offset);
        context_of(PARTITION, None, &globals, &shared).map(|context| (last, Arc::clone(context.rates())))
    });
    Ok(made.await.map_err(Problem::internal)?.map_err(Problem::internal)?)
}

/// The newest of a thing that takes long to make, and the offset that it goes by.
#[derive(Debug)]
struct Newest<T> {
    known: Mutex<Option<(i64, Arc<T>)>>,
    /// Held while one is made.
    making: Arc<tokio::sync::Mutex<()>>,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self { known: Mutex::default(), making: Arc::default() }
    }
}

impl<T: Send + Sync + 'static> Newest<T> {
    /// The thing as of `offset` or later, made unless it is known. It is made by one caller at a time, and to the end even if
    /// that one gives up; meanwhile others get the one before, if there is one.
    async fn at_least<F>(self: &Arc<Self>, offset: i64, make: impl FnOnce() -> F) -> Result<Arc<T>, Refusal>
    where
        F: Future<Output = Result<(i64, Arc<T>), Refusal>> + Send + 'static,
    {
        if let Some(known) = self.known(offset) {
            return Ok(known);
        }
        let turn = match Arc::clone(&self.making).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => match self.known(i64::MIN) {
                Some(before) => return Ok(before),
                None => Arc::clone(&self.making).lock_owned().await,
            },
        };
        // Made while this one waited.
        if let Some(known) = self.known(offset) {
            return Ok(known);
        }
        let (this, made) = (Arc::clone(self), make());
        let made = tokio::spawn(async move {
            let made = made.await;
            if let Ok((offset, thing)) = &made {
                *this.known.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((*offset, Arc::clone(thing)));
            }
            drop(turn);
            made
        });
        Ok(made.await.map_err(Problem::internal)??.1)
    }

    fn known(&self, offset: i64) -> Option<Arc<T>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(known, _)| *known >= offset).map(|(_, thing)| Arc::clone(thing))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Made in so many seconds.
    async fn in_seconds(seconds: u64, offset: i64) -> Result<(i64, Arc<i64>), Refusal> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok((offset, Arc::new(offset)))
    }

    async fn never() -> Result<(i64, Arc<i64>), Refusal> {
        panic!("made again")
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_is_there_for_the_next_caller_even_if_the_first_gave_up() {
        let newest = Arc::new(Newest::default());
        let first = newest.at_least(7, || in_seconds(10, 7));
        assert!(tokio::time::timeout(Duration::from_secs(1), first).await.is_err());
        assert_eq!(*newest.at_least(7, never).await.unwrap(), 7);
        assert_eq!(*newest.at_least(6, never).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_newer_is_made_others_go_on_with_the_one_before() {
        let newest = Arc::new(Newest::default());
        newest.at_least(1, || in_seconds(0, 1)).await.unwrap();
        let waiting = tokio::spawn({
            let newest = Arc::clone(&newest);
            async move { *newest.at_least(2, || in_seconds(10, 2)).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*newest.at_least(2, never).await.unwrap(), 1);
        assert_eq!(waiting.await.unwrap(), 2);
        assert_eq!(*newest.at_least(2, never).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_made_is_tried_again() {
        let newest = Arc::new(Newest::default());
        let failed = newest.at_least(1, || async { Err(Problem::unavailable("Postgres").into()) }).await;
        assert_eq!(failed.unwrap_err().problem().status().as_u16(), 503);
        assert_eq!(*newest.at_least(1, || in_seconds(0, 1)).await.unwrap(), 1);
    }
}
