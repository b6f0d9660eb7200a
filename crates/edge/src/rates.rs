//! The rates in force, kept in memory and read again when the ledger has booked something for all orgs.

use std::sync::Arc;

use fluxori_applier::context_of;
use fluxori_core::rates::Rates;
use fluxori_ledger::Ledger;
use fluxori_runtime::http::Problem;
use tokio::sync::Mutex;

use crate::refusal::Refusal;

/// Every partition comes to the same rates; this one's say what they are.
const PARTITION: i32 = 0;

/// The rates in force.
#[derive(Debug)]
pub(crate) struct RatesInForce {
    ledger: Ledger,
    /// And the offset of the last global record that they follow from.
    read: Mutex<Option<(i64, Arc<Rates>)>>,
}

impl RatesInForce {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { ledger, read: Mutex::new(None) }
    }

    /// The rates as the ledger has them now.
    pub(crate) async fn now(&self) -> Result<Arc<Rates>, Refusal> {
        let mut read = self.read.lock().await;
        let last = self.ledger.last_global_record(PARTITION).await?.unwrap_or(-1);
        if let Some((known, rates)) = read.as_ref().filter(|(known, _)| *known == last) {
            tracing::trace!(offset = known, "the rates have not changed");
            return Ok(Arc::clone(rates));
        }
        let globals = self.ledger.global_records(PARTITION).await?;
        let made = tokio::task::spawn_blocking(move || {
            let last = globals.last().map_or(-1, |record| record.offset);
            context_of(PARTITION, None, &globals, &Arc::default())
                .map(|context| (last, Arc::clone(context.rates())))
        });
        let (last, rates) = made.await.map_err(Problem::internal)?.map_err(Problem::internal)?;
        *read = Some((last, Arc::clone(&rates)));
        Ok(rates)
    }
}
