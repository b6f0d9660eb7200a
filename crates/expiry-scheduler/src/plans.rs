//! One round of plans: the grants of periods that are due, read from the ledger and published into the log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fluxori_core::command::Command;
use fluxori_core::fold::PlanState;
use fluxori_core::id::{ItemId, LogId, OrgId};
use fluxori_core::record::partition_of;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Ledger, LedgerError};
use fluxori_runtime::{Config, clock};
use fluxori_stream::{Delivery, Position, Publisher, StreamError};
use fluxori_wire::{Issuer, WireError};
use metrics::{counter, gauge};

use crate::periods::{Bounds, Due, NextOffsets, Published, Round, Sent, Series, has_come_to};
use crate::ticks::Ticker;

/// At most so many grants a round.
const LIMIT: usize = 10_000;
/// How long a query waits for a connection.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);
/// Postgres counts as away when one statement takes longer.
const READING: Duration = Duration::from_secs(60);
/// How long a round waits for the ledger to come to what it published.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LEDGER_POLL: Duration = Duration::from_millis(100);

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
    bounds: Bounds,
    /// Forgetting it would only repeat grants that are carried out once.
    published: Published,
    /// The items that were complained about.
    complained: BTreeSet<(OrgId, ItemId)>,
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
            bounds: Bounds {
                horizon: scheduler.plan_horizon(),
                limit: LIMIT,
                pause: scheduler.plan_interval(),
            },
            published: Published::new(),
            complained: BTreeSet::new(),
        }))
    }

    /// Publishes the periods that are due and waits until the broker has them; then what follows them, as long as the
    /// ledger comes to them soon. So all that is missing after a pause is granted at once, and what cannot be granted now
    /// is left to the next call.
    pub(crate) async fn publish_due(&mut self) -> Result<(), PlanError> {
        loop {
            let sent = self.round(clock::now().into()).await?;
            if !self.reaches_any(&sent).await? {
                return Ok(());
            }
        }
    }

    /// One round: at most one grant of each series.
    async fn round(&mut self, now: Timestamp) -> Result<Vec<Position>, PlanError> {
        let ledger = self.next_offsets().await?;
        let plans = self.plans_due(now.after(self.bounds.horizon)).await?;
        let round = Round::of(&plans, now, &ledger, self.bounds, &mut self.published);
        gauge!("scheduler_periods_overdue").set(count(round.overdue));
        gauge!("scheduler_periods_skipped").set(count(round.skipped.len()));
        gauge!("scheduler_periods_passed_over").set(count(round.passed_over.len()));
        self.complain(&round);
        self.publish(round.due, now).await
    }

    async fn plans_due(&self, until: Timestamp) -> Result<Vec<(OrgId, PlanState)>, PlanError> {
        let (mut plans, mut last) = (Vec::new(), None);
        loop {
            let (due, next) = answered(self.ledger.plans_due(until, last.as_ref())).await?;
            plans.extend(due);
            if next.is_none() {
                return Ok(plans);
            }
            last = next;
        }
    }

    async fn next_offsets(&self) -> Result<NextOffsets, PlanError> {
        let cursors = answered(self.ledger.cursors()).await?;
        Ok(cursors.into_iter().map(|cursor| (cursor.partition, cursor.cursor.next_offset)).collect())
    }

    /// Waits until the ledger has come to all of `sent`, but not for long; whether it has come to any.
    async fn reaches_any(&self, sent: &[Position]) -> Result<bool, PlanError> {
        if sent.is_empty() {
            return Ok(false);
        }
        let begin = Instant::now();
        loop {
            let ledger = self.next_offsets().await?;
            let reached = sent.iter().filter(|position| has_come_to(&ledger, **position)).count();
            if reached == sent.len() || begin.elapsed() >= LEDGER_PATIENCE {
                return Ok(reached > 0);
            }
            tokio::time::sleep(LEDGER_POLL).await;
        }
    }

    async fn publish(&mut self, due: Vec<Due>, now: Timestamp) -> Result<Vec<Position>, PlanError> {
        let (mut under_way, mut sent, mut failed) = (Vec::new(), Vec::new(), None);
        for due in due {
            match self.enqueue(&due.series, &due.command) {
                Ok(delivery) => under_way.push((due, delivery)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for (Due { series, start, times, .. }, delivery) in under_way {
            match delivery.await {
                Ok(position) => {
                    counter!("scheduler_periods_published_total").increment(1);
                    let times = times.saturating_add(1);
                    self.published.insert(series, Sent { start, position, at: now, times });
                    sent.push(position);
                }
                Err(error) => failed = failed.or(Some(error.into())),
            }
        }
        failed.map_or(Ok(sent), Err)
    }

    fn enqueue(&self, series: &Series, command: &Command) -> Result<Delivery, PlanError> {
        let value = self.issuer.sign(command).map_err(PlanError::Encoding)?;
        let key = series.org.as_str().as_bytes();
        Ok(self.publisher.enqueue(partition_of(key, self.partitions), key, &value)?)
    }

    /// Says once of each item that it has no next period, and why.
    fn complain(&mut self, round: &Round) {
        let mut now = BTreeSet::new();
        let skipped = round.skipped.iter().map(|(series, problem)| (series, Some(problem)));
        for (series, problem) in skipped.chain(round.passed_over.iter().map(|series| (series, None))) {
            let item = (series.org.clone(), series.item.clone());
            if !now.insert(item.clone()) || self.complained.contains(&item) {
                continue;
            }
            let Series { org, item, .. } = series;
            match problem {
                Some(problem) => {
                    tracing::warn!(%org, %item, "no period can be granted, set a plan that mends it: {problem}");
                }
                None => tracing::warn!(
                    %org, %item,
                    "a period was published and the ledger has not taken it, trying again: look for it in the quarantine \
                     and, rejected, in the table commands"
                ),
            }
        }
        self.complained = now;
    }
}

/// What a read of the ledger gives, unless Postgres keeps it waiting.
async fn answered<T>(read: impl Future<Output = Result<T, LedgerError>>) -> Result<T, PlanError> {
    let answer = tokio::time::timeout(READING, read).await;
    Ok(answer.map_err(|_| PlanError::Silent)??)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
