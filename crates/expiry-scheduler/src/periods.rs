//! Pure: which periods of plans are due, and the commands that grant them.
//!
//! A command follows from plan, item, account and start alone, its time included, so that whoever publishes it, and
//! however often, publishes the same bytes. The ledger takes a period only if it begins where the last one ends, and what it
//! rejects has used up its id: so of each series one grant is under way at a time, until the ledger has taken it. One that
//! it passed over (in the quarantine, because the key was not in force, say) is published again.

use std::collections::BTreeMap;
use std::time::Duration;

use fluxori_core::amount::AmountError;
use fluxori_core::command::{Account, Command, CommandBody, PlanItem};
use fluxori_core::fold::PlanState;
use fluxori_core::id::{CommandId, ItemId, OrgId};
use fluxori_core::period::{PeriodError, Recurrence};
use fluxori_core::time::Timestamp;
use fluxori_stream::Position;

/// Who gives the grants.
const ACTOR: &str = "expiry-scheduler";

/// A boundary so shortly after the start of a period is its start by time-zone data of another year, and no end: the
/// clocks of a country were decided anew after the period before was granted.
const SAME_BOUNDARY: Duration = Duration::from_hours(3);

/// Why an item has no next period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPeriod {
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Amount(#[from] AmountError),
}

/// Whose periods follow each other without a gap: an account's of an item, under one revision of an org's plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) org: OrgId,
    pub(crate) revision: CommandId,
    pub(crate) item: ItemId,
    pub(crate) account: Account,
}

/// A grant that the brokers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Where its period begins.
    pub(crate) start: Timestamp,
    /// Where it lies in the log, the last of them.
    pub(crate) position: Position,
    /// When it was published last.
    pub(crate) at: Timestamp,
    /// How often it was published.
    pub(crate) times: u32,
}

/// Of each series the grant that was published and that the ledger has not carried out, as far as is known.
pub(crate) type Published = BTreeMap<Series, Sent>;

/// The grant of the period that follows in its series.
#[derive(Debug, PartialEq)]
pub(crate) struct Due {
    pub(crate) series: Series,
    pub(crate) command: Command,
    pub(crate) start: Timestamp,
    /// How often it was published before.
    pub(crate) times: u32,
}

/// Up to where and how often grants are published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long before it begins a period is granted.
    pub(crate) horizon: Duration,
    /// At most so many grants a round.
    pub(crate) limit: usize,
    /// How long after it was published first a grant is published again that the ledger passed over; then twice as long
    /// each time, up to [`LONGEST_PAUSE`] of it.
    pub(crate) pause: Duration,
}

/// The longest pause, in first ones: about an hour where the first is a minute.
pub(crate) const LONGEST_PAUSE: u32 = 64;

/// How far the ledger has come, by partition: the offset of the record that it applies next. It must have been read
/// before the plans, so that they hold what all records before did.
pub(crate) type NextOffsets = BTreeMap<i32, i64>;

/// What is to be done about plans at one moment.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Round {
    /// The grants that are to be published, at most as many as asked for and one of each series: the one after it could
    /// come before it if it is not taken, would be rejected, and its id be used up.
    pub(crate) due: Vec<Due>,
    /// Series that cannot be followed, with the reason.
    pub(crate) skipped: Vec<(Series, NoPeriod)>,
    /// Series of which the ledger has come to the grant and has not taken it.
    pub(crate) passed_over: Vec<Series>,
    /// How many series have no period in course that the ledger knows of.
    pub(crate) overdue: usize,
}

impl Round {
    /// The period of each series that begins where the last one ends that the ledger knows of, if that is before
    /// `now + horizon`. One that was published is published again, the same bytes, only when the ledger has come to it
    /// and has not taken it. Of `published` stays what the ledger has not taken.
    pub(crate) fn of(
        plans: &[(OrgId, PlanState)],
        now: Timestamp,
        ledger: &NextOffsets,
        bounds: Bounds,
        published: &mut Published,
    ) -> Self {
        let until = now.after(bounds.horizon);
        let mut round = Self::default();
        let mut before = std::mem::take(published);
        for (org, state) in plans {
            for ((item, account), granted_until) in &state.granted_until {
                let (item, start) = (state.plan.item(item), *granted_until);
                let Some(item) = item.filter(|item| state.plan.covers(item, account)) else { continue };
                // Nothing to grant is no grant: the ledger would refuse it.
                if state.plan.amount(item).is_ok_and(|amount| !amount.is_positive()) {
                    continue;
                }
                round.overdue += usize::from(start <= now);
                if start >= until {
                    continue;
                }
                let series = Series {
                    org: org.clone(),
                    revision: state.revision,
                    item: item.id.clone(),
                    account: account.clone(),
                };
                let mut times = 0;
                if let Some(sent) = before.remove(&series).filter(|sent| sent.start == start) {
                    published.insert(series.clone(), sent);
                    if !has_come_to(ledger, sent.position) {
                        continue;
                    }
                    round.passed_over.push(series.clone());
                    if now < sent.again_at(bounds.pause) {
                        continue;
                    }
                    times = sent.times;
                }
                if round.due.len() == bounds.limit {
                    continue;
                }
                match grant(&series, state, item, start) {
                    Ok(command) => round.due.push(Due { series, command, start, times }),
                    Err(problem) => round.skipped.push((series, problem)),
                }
            }
        }
        round
    }
}

impl Sent {
    /// When it may be published again.
    fn again_at(&self, pause: Duration) -> Timestamp {
        let doubled = 1_u32.checked_shl(self.times.saturating_sub(1)).unwrap_or(LONGEST_PAUSE);
        self.at.after(pause.saturating_mul(doubled.min(LONGEST_PAUSE)))
    }
}

/// Whether the ledger has come to the record at a position.
pub(crate) fn has_come_to(ledger: &NextOffsets, position: Position) -> bool {
    ledger.get(&position.partition).is_some_and(|next| *next > position.offset)
}

/// The grant of the period from `start` on.
fn grant(series: &Series, state: &PlanState, item: &PlanItem, start: Timestamp) -> Result<Command, NoPeriod> {
    let Series { org, revision, account, .. } = series;
    let end = end_of(&item.recurrence, start)?;
    let grant = state.plan.grant(*revision, item, account.clone(), (start, end))?;
    Ok(Command {
        command_id: CommandId::of_period(org, *revision, &item.id, account, start),
        issued_at: start,
        actor: ACTOR.to_owned(),
        reason: format!("plan {}, item {}", state.plan.name, item.id),
        reference: None,
        body: CommandBody::Grant(org.clone(), grant),
    })
}

fn end_of(recurrence: &Recurrence, start: Timestamp) -> Result<Timestamp, PeriodError> {
    let (_, end) = recurrence.period_at(start)?;
    if end < start.after(SAME_BOUNDARY) { Ok(recurrence.period_at(end)?.1) } else { Ok(end) }
}

#[cfg(test)]
mod tests;
