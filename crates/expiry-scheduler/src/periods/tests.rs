//! Rounds, and the series that come of them while a ledger takes grants or passes them over.

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
            let until = state.granted_until.get_mut(&(period.item.clone(), grant.account.clone())).unwrap();
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
    for (start, end) in
        [("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), ("2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z")]
    {
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
    assert_eq!(grants.collect::<Vec<_>>(), expected.map(|(account, amount)| (account, amount.to_owned())));
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
