//! One round of plans: the grants of periods that are due, read from the ledger and published into the log.

use std::collections::BTreeSet;
use std::time::Duration;

use fluxori_core::command::Command;
use fluxori_core::id::{ItemId, LogId, OrgId};
use fluxori_core::record::partition_of;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Ledger, LedgerError};
use fluxori_runtime::Config;
use fluxori_stream::{Delivery, Publisher, StreamError};
use fluxori_wire::{Issuer, WireError};
use metrics::{counter, gauge};

use crate::periods::{NoPeriod, Published, Round, Series};
use crate::ticks::Ticker;

/// At most so many grants a round.
const LIMIT: usize = 10_000;
/// How long a query waits for a connection.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);
/// Postgres counts as away when reading the plans takes longer.
const READING: Duration = Duration::from_secs(60);

/// Why periods are not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The key file is not what it must be.
    #[error("scheduler.issuer_key_file: {0}")]
    Key(#[source] WireError),
    /// The key is another log's.
    #[error(
        "the key in scheduler.issuer_key_file signs for log {key}, and the topic is log {log} by its genesis; name the \
         key file that `credits log init` made for this log"
    )]
    KeyOfAnotherLog { key: LogId, log: LogId },
    /// Postgres is away, or holds no ledger yet.
    #[error("the plans cannot be read: {0}")]
    Ledger(#[from] LedgerError),
    /// Postgres does not answer.
    #[error("the plans cannot be read: Postgres says nothing for {} s", READING.as_secs())]
    Silent,
    /// A grant does not fit a record.
    #[error("a period cannot be encoded: {0}")]
    Encoding(#[source] WireError),
    /// Kafka is away or refused.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Publishes the coming periods of plans into one log.
pub(crate) struct Planner {
    ledger: Ledger,
    issuer: Issuer,
    publisher: Publisher,
    partitions: i32,
    horizon: Duration,
    /// What the brokers have and the ledger has not come to. Forgetting it would only repeat grants that are carried
    /// out once.
    published: Published,
    /// The items that were complained about.
    skipped: BTreeSet<(OrgId, ItemId)>,
}

impl Planner {
    /// Publishes nothing yet and connects when it is first needed; none if the configuration names no database or no key.
    pub(crate) fn of_config(config: &Config, ticker: &Ticker) -> Result<Option<Self>, PlanError> {
        let (postgres, scheduler) = (&config.postgres, &config.scheduler);
        let Some(key_file) = scheduler.issuer_key_file.as_deref().filter(|_| !postgres.url.is_empty()) else {
            return Ok(None);
        };
        let issuer = Issuer::read(key_file).map_err(PlanError::Key)?;
        if issuer.log_id() != ticker.log_id() {
            return Err(PlanError::KeyOfAnotherLog { key: issuer.log_id(), log: ticker.log_id() });
        }
        Ok(Some(Self {
            ledger: Ledger::connect_lazily(
                postgres.url.expose(),
                postgres.max_connections,
                CONNECTION_PATIENCE,
            )?,
            issuer,
            publisher: ticker.publisher().clone(),
            partitions: ticker.partitions(),
            horizon: scheduler.plan_horizon(),
            published: Published::new(),
            skipped: BTreeSet::new(),
        }))
    }

    /// Publishes the periods that are due at `now`, and waits until the broker has them.
    pub(crate) async fn publish_due(&mut self, now: Timestamp) -> Result<(), PlanError> {
        let plans = tokio::time::timeout(READING, self.ledger.plans_due(now.after(self.horizon)));
        let plans = plans.await.map_err(|_| PlanError::Silent)??;
        let round = Round::of(&plans, now, self.horizon, LIMIT, &mut self.published);
        gauge!("scheduler_periods_overdue").set(count(round.overdue));
        self.complain(&round.skipped);
        self.publish(round).await
    }

    /// The first grants of all series, then the second, and so on: a grant must be in the log before the one after it
    /// goes out, because the ledger refuses a period that does not follow the last, once and for all.
    async fn publish(&mut self, round: Round) -> Result<(), PlanError> {
        let mut waiting: Vec<_> =
            round.due.into_iter().map(|due| (due.series, due.grants.into_iter())).collect();
        let mut failed = None;
        while !waiting.is_empty() {
            let mut sent = Vec::new();
            for (series, mut grants) in waiting {
                let Some((command, end)) = grants.next() else { continue };
                match self.enqueue(&series, &command) {
                    Ok(delivery) => sent.push((series, grants, end, delivery)),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            waiting = Vec::new();
            for (series, grants, end, delivery) in sent {
                match delivery.await {
                    Ok(_) => {
                        counter!("scheduler_periods_published_total").increment(1);
                        self.published.insert(series.clone(), end);
                        waiting.push((series, grants));
                    }
                    Err(error) => failed = failed.or(Some(error.into())),
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn enqueue(&self, series: &Series, command: &Command) -> Result<Delivery, PlanError> {
        let value = self.issuer.sign(command).map_err(PlanError::Encoding)?;
        let key = series.org.as_str().as_bytes();
        Ok(self.publisher.enqueue(partition_of(key, self.partitions), key, &value)?)
    }

    /// Says once of each item that it has no next period, and why.
    fn complain(&mut self, skipped: &[(Series, NoPeriod)]) {
        gauge!("scheduler_periods_skipped").set(count(skipped.len()));
        let mut now = BTreeSet::new();
        for (series, problem) in skipped {
            let item = (series.org.clone(), series.item.clone());
            if now.insert(item.clone()) && !self.skipped.contains(&item) {
                let Series { org, item, .. } = series;
                tracing::warn!(%org, %item, "no period can be granted, set a plan that mends it: {problem}");
            }
        }
        self.skipped = now;
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
