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
mod tests {
    use fluxori_core::command::{AllocationKind, Grant, Plan, Scope, Share};
    use fluxori_core::id::LogId;
    use fluxori_core::period::IntervalUnit;
    use fluxori_wire::Issuer;
    use uuid::Uuid;

    use super::*;

    const HORIZON: Duration = Duration::from_hours(8 * 24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn item(id: &str, share: Share, unit: IntervalUnit, anchor: &str, zone: &str) -> PlanItem {
        PlanItem {
            id: id.parse().unwrap(),
            kind: AllocationKind::Subscription,
            amount: "1000".parse().unwrap(),
            share,
            priority: 0,
            scope: Scope::default(),
            purchased: true,
            max_rollover: "200".parse().unwrap(),
            recurrence: Recurrence {
                every: 1,
                unit,
                anchor: anchor.parse().unwrap(),
                time_zone: zone.parse().unwrap(),
            },
            period_start: Timestamp::default(),
            period_end: Timestamp::default(),
        }
    }

    /// A plan with two seats and two users, of which every account was granted until the same instant.
    fn plan(items: Vec<PlanItem>, granted_until: &str) -> (OrgId, PlanState) {
        let plan = Plan {
            name: "team".parse().unwrap(),
            trial: false,
            seats: 2,
            users: ["ann".parse().unwrap(), "bob".parse().unwrap()].into(),
            items,
        };
        let accounts = plan.items.iter().flat_map(|item| plan.accounts(item).map(|a| (item.id.clone(), a)));
        let granted_until = accounts.map(|series| (series, at(granted_until))).collect();
        let revision = CommandId(Uuid::from_u128(7));
        ("acme".parse().unwrap(), PlanState { revision, plan, granted_until })
    }

    fn of_unit(unit: IntervalUnit, anchor: &str, zone: &str, granted_until: &str) -> (OrgId, PlanState) {
        plan(vec![item("base", Share::Organization, unit, anchor, zone)], granted_until)
    }

    const BOUNDS: Bounds = Bounds { horizon: HORIZON, limit: 10_000, pause: Duration::from_mins(1) };

    /// A round of a scheduler that starts.
    fn round(plan: &(OrgId, PlanState), now: &str) -> Round {
        let plans = std::slice::from_ref(plan);
        Round::of(plans, at(now), &NextOffsets::new(), BOUNDS, &mut Published::new())
    }

    /// A scheduler, and the ledger that it reads.
    struct World {
        plans: Vec<(OrgId, PlanState)>,
        ledger: NextOffsets,
        published: Published,
        /// What lies in the log and the ledger has not come to.
        log: Vec<Due>,
        offset: i64,
    }

    impl World {
        fn new(plan: (OrgId, PlanState)) -> Self {
            let (ledger, published) = (NextOffsets::new(), Published::new());
            Self { plans: vec![plan], ledger, published, log: Vec::new(), offset: 0 }
        }

        fn round(&mut self, now: &str, limit: usize) -> Round {
            Round::of(&self.plans, at(now), &self.ledger, Bounds { limit, ..BOUNDS }, &mut self.published)
        }

        /// Starts of the periods that a round publishes.
        fn publish(&mut self, now: &str) -> Vec<String> {
            let round = self.round(now, BOUNDS.limit);
            let starts = starts(&round);
            for due in round.due {
                let position = Position { partition: 0, offset: self.offset };
                let sent = Sent { start: due.start, position, at: at(now), times: due.times + 1 };
                self.published.insert(due.series.clone(), sent);
                self.offset += 1;
                self.log.push(due);
            }
            starts
        }

        /// The ledger comes to the end of the log and takes what is there, or none of it.
        fn apply(&mut self, in_force: bool) {
            for due in self.log.drain(..).filter(|_| in_force) {
                let grant = granted(&due.command);
                let period = grant.period.as_ref().unwrap();
                let (_, state) = self.plans.iter_mut().find(|(org, _)| *org == due.series.org).unwrap();
                let until =
                    state.granted_until.get_mut(&(period.item.clone(), grant.account.clone())).unwrap();
                assert_eq!(*until, period.start, "the ledger would reject it and its id be used up");
                *until = period.end;
            }
            self.ledger.insert(0, self.offset);
        }
    }

    /// Starts of the periods that are published at one moment, the ledger taking each.
    fn all(plan: (OrgId, PlanState), now: &str) -> Vec<String> {
        let (mut world, mut all) = (World::new(plan), Vec::new());
        loop {
            let starts = world.publish(now);
            if starts.is_empty() {
                return all;
            }
            all.extend(starts);
            world.apply(true);
        }
    }

    fn granted(command: &Command) -> &Grant {
        let CommandBody::Grant(_, grant) = &command.body else { panic!("{command:?}") };
        grant
    }

    /// The periods that a round grants, in order.
    fn periods(round: &Round) -> Vec<(String, String)> {
        let periods = round.due.iter().map(|due| (due, granted(&due.command).period.as_ref().unwrap()));
        periods
            .map(|(due, period)| {
                assert_eq!((due.start, due.command.issued_at), (period.start, period.start));
                (period.start.to_string(), period.end.to_string())
            })
            .collect()
    }

    fn starts(round: &Round) -> Vec<String> {
        periods(round).into_iter().map(|(start, _)| start).collect()
    }

    fn signed(round: &Round) -> Vec<Vec<u8>> {
        let issuer = Issuer::new(LogId(Uuid::from_u128(1)), "scheduler", [3; 32]);
        round.due.iter().map(|due| issuer.sign(&due.command).unwrap()).collect()
    }

    #[test]
    fn a_period_is_granted_eight_days_ahead_and_not_before() {
        let monthly = of_unit(IntervalUnit::Month, "2026-11-01T00:00:00", "UTC", "2026-12-01T00:00:00Z");
        assert_eq!(round(&monthly, "2026-11-22T23:59:59Z"), Round::default());
        let due = round(&monthly, "2026-11-23T00:00:01Z");
        assert_eq!(periods(&due), [("2026-12-01T00:00:00Z".to_owned(), "2027-01-01T00:00:00Z".to_owned())]);
        assert_eq!(due.overdue, 0);
        let command = &due.due[0].command;
        assert_eq!((command.actor.as_str(), command.reason.as_str()), (ACTOR, "plan team, item base"));
        let (org, state) = &monthly;
        let item = &state.plan.items[0];
        let period = (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!(
            *granted(command),
            state.plan.grant(state.revision, item, Account::Organization, period).unwrap()
        );
        let id = CommandId::of_period(org, state.revision, &item.id, &Account::Organization, period.0);
        assert_eq!(command.command_id, id);
    }

    #[test]
    fn months_from_the_31st_end_with_the_month_and_come_back_to_the_31st() {
        let monthly = of_unit(IntervalUnit::Month, "2026-12-31T00:00:00", "UTC", "2026-12-31T00:00:00Z");
        let expected = [
            "2026-12-31T00:00:00Z",
            "2027-01-31T00:00:00Z",
            "2027-02-28T00:00:00Z",
            "2027-03-31T00:00:00Z",
            "2027-04-30T00:00:00Z",
        ];
        assert_eq!(round(&monthly, "2027-04-25T00:00:00Z").overdue, 1);
        assert_eq!(all(monthly, "2027-04-25T00:00:00Z"), expected);
    }

    #[test]
    fn the_day_on_which_clocks_go_forward_is_a_period_of_23_hours() {
        let daily =
            |until| round(&of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "Europe/Berlin", until), until);
        for (start, end) in [
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"),
        ] {
            assert_eq!(periods(&daily(start)), [(start.to_owned(), end.to_owned())]);
        }
    }

    #[test]
    fn a_boundary_that_other_time_zone_data_moved_by_an_hour_makes_no_period_of_an_hour() {
        // Granted until midnight in UTC+2, where this build has UTC+1; and until midnight in UTC.
        for granted_until in ["2026-11-30T22:00:00Z", "2026-12-01T00:00:00Z"] {
            let monthly = of_unit(IntervalUnit::Month, "2026-01-01T00:00:00", "Europe/Berlin", granted_until);
            let due = round(&monthly, "2026-12-01T12:00:00Z");
            assert_eq!(periods(&due), [(granted_until.to_owned(), "2026-12-31T23:00:00Z".to_owned())]);
        }
    }

    #[test]
    fn a_scheduler_that_was_down_for_a_week_grants_all_missing_periods_in_order() {
        let daily = of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-01T00:00:00Z");
        assert_eq!(round(&daily, "2026-11-08T00:00:00Z").overdue, 1);
        let expected: Vec<String> = (1..=15).map(|day| format!("2026-11-{day:02}T00:00:00Z")).collect();
        assert_eq!(all(daily, "2026-11-08T00:00:00Z"), expected);
    }

    #[test]
    fn two_schedulers_at_different_times_publish_the_same_bytes() {
        let items = vec![
            item("base", Share::Seat, IntervalUnit::Month, "2026-11-01T00:00:00", "Europe/Berlin"),
            item("own", Share::User, IntervalUnit::Week, "2026-11-02T00:00:00", "America/New_York"),
        ];
        let plan = plan(items, "2026-11-30T23:00:00Z");
        let first = round(&plan, "2026-11-30T12:00:00Z");
        let second = round(&plan, "2026-11-30T12:00:09Z");
        assert_eq!(signed(&first), signed(&second));
        // The pooled allocation of two seats, and one of each of two users.
        let grants = first.due.iter().map(|due| granted(&due.command));
        let grants = grants.map(|grant| (grant.account.clone(), grant.amount.to_string()));
        let user = |user: &str| Account::User(user.parse().unwrap());
        let expected = [(Account::Organization, "2000"), (user("ann"), "1000"), (user("bob"), "1000")];
        assert_eq!(
            grants.collect::<Vec<_>>(),
            expected.map(|(account, amount)| (account, amount.to_owned()))
        );
    }

    fn daily() -> (OrgId, PlanState) {
        of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-01T00:00:00Z")
    }

    #[test]
    fn what_is_published_and_not_yet_in_the_ledger_is_not_published_again() {
        let mut world = World::new(daily());
        assert_eq!(world.publish("2026-11-01T12:00:00Z"), ["2026-11-01T00:00:00Z"]);
        // Nor what comes after it: if this one is not taken, that would be rejected for good.
        assert_eq!(world.publish("2026-11-03T12:00:00Z"), [""; 0]);
        world.apply(true);
        assert_eq!(world.publish("2026-11-03T12:00:01Z"), ["2026-11-02T00:00:00Z"]);
        // The ledger has come further than this scheduler published: another did.
        world.plans = vec![of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-11T00:00:00Z")];
        assert_eq!(starts(&world.round("2026-11-04T12:00:00Z", 1)), ["2026-11-11T00:00:00Z"]);
        assert!(world.published.is_empty());
    }

    #[test]
    fn a_period_that_the_ledger_passed_over_is_published_again_and_its_series_goes_on() {
        let mut world = World::new(daily());
        let first = signed(&world.round("2026-11-01T12:00:00Z", 1));
        assert_eq!(world.publish("2026-11-01T12:00:00Z"), ["2026-11-01T00:00:00Z"]);
        // The key is revoked, so it lies in the quarantine.
        world.apply(false);
        let early = world.round("2026-11-01T12:00:59Z", 1);
        assert_eq!((starts(&early), early.passed_over.len(), early.overdue), (vec![], 1, 1));
        assert_eq!(signed(&world.round("2026-11-01T12:01:00Z", 1)), first, "the same bytes");
        assert_eq!(world.publish("2026-11-01T12:01:00Z"), ["2026-11-01T00:00:00Z"]);
        assert_eq!(
            world.round("2026-11-01T13:00:00Z", 1),
            Round { overdue: 1, ..Round::default() },
            "on its way"
        );
        // The same key is issued again.
        world.apply(true);
        for day in 2..=9 {
            assert_eq!(world.publish("2026-11-01T13:00:00Z"), [format!("2026-11-{day:02}T00:00:00Z")]);
            world.apply(true);
        }
        assert_eq!(world.round("2026-11-01T13:00:00Z", 1), Round::default());
    }

    #[test]
    fn a_period_that_is_never_taken_is_published_about_once_an_hour() {
        let mut world = World::new(daily());
        let mut minutes = Vec::new();
        for minute in 0..400_u32 {
            let now = format!("2026-11-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
            if !world.publish(&now).is_empty() {
                minutes.push(minute);
                world.apply(false);
            }
        }
        assert_eq!(minutes, [0, 1, 3, 7, 15, 31, 63, 127, 191, 255, 319, 383]);
        // However often it was tried.
        for sent in world.published.values_mut() {
            sent.times = u32::MAX;
        }
        assert_eq!(starts(&world.round("2026-11-01T07:26:59Z", 1)), [""; 0]);
        assert_eq!(starts(&world.round("2026-11-01T07:27:00Z", 1)), ["2026-11-01T00:00:00Z"]);
    }

    #[test]
    fn a_round_has_a_limit_and_the_next_goes_on_where_it_ended() {
        let own = item("own", Share::User, IntervalUnit::Week, "2026-11-01T00:00:00", "UTC");
        let (org, state) = plan(vec![own], "2026-11-01T00:00:00Z");
        let mut world = World::new((org, state));
        let accounts = |round: &Round| -> Vec<_> {
            round.due.iter().map(|due| due.series.account.user().unwrap().to_string()).collect()
        };
        let first = world.round("2026-11-01T00:00:00Z", 1);
        assert_eq!((accounts(&first), first.overdue), (vec!["ann".to_owned()], 2));
        let sent = Sent {
            start: first.due[0].start,
            position: Position { partition: 0, offset: 0 },
            at: at("2026-11-01T00:00:00Z"),
            times: 1,
        };
        world.published.insert(first.due[0].series.clone(), sent);
        assert_eq!(accounts(&world.round("2026-11-01T00:00:00Z", 1)), ["bob"]);
    }

    #[test]
    fn an_unknown_time_zone_skips_its_item_and_no_other() {
        let items = vec![
            item("lost", Share::Organization, IntervalUnit::Day, "2026-01-01T00:00:00", "Europe/Atlantis"),
            item("kept", Share::Organization, IntervalUnit::Month, "2026-01-01T00:00:00", "UTC"),
        ];
        let due = round(&plan(items, "2026-11-01T00:00:00Z"), "2026-11-01T00:00:00Z");
        assert_eq!(starts(&due), ["2026-11-01T00:00:00Z"]);
        let (series, problem) = &due.skipped[0];
        assert_eq!((series.org.as_str(), series.item.as_str()), ("acme", "lost"));
        assert!(problem.to_string().contains("Europe/Atlantis"), "{problem}");
    }

    #[test]
    fn a_plan_without_seats_grants_nothing() {
        let seats = item("seats", Share::Seat, IntervalUnit::Month, "2026-01-01T00:00:00", "UTC");
        let (org, mut state) = plan(vec![seats], "2026-11-01T00:00:00Z");
        state.plan.seats = 0;
        let due = round(&(org, state), "2026-11-01T00:00:00Z");
        assert_eq!(due, Round::default());
    }
}
