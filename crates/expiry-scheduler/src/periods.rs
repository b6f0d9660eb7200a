//! Pure: which periods of plans are due, and the commands that grant them.
//!
//! A command follows from plan, item, account and start alone, its time included, so that whoever publishes it, and
//! however often, publishes the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use fluxori_core::amount::AmountError;
use fluxori_core::command::{Account, Command, CommandBody, PlanItem};
use fluxori_core::fold::PlanState;
use fluxori_core::id::{CommandId, ItemId, OrgId};
use fluxori_core::period::{PeriodError, Recurrence};
use fluxori_core::time::Timestamp;

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

/// Where the last period of a series ends that has been published.
pub(crate) type Published = BTreeMap<Series, Timestamp>;

/// Grants of one series, the earliest first, each with the end of its period.
#[derive(Debug, PartialEq)]
pub(crate) struct DueSeries {
    pub(crate) series: Series,
    pub(crate) grants: Vec<(Command, Timestamp)>,
}

/// What is to be done about plans at one moment.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Round {
    /// The grants that are to be published, at most as many as asked for.
    pub(crate) due: Vec<DueSeries>,
    /// Series that cannot be followed, with the reason.
    pub(crate) skipped: Vec<(Series, NoPeriod)>,
    /// How many series have no period in course that the ledger knows of.
    pub(crate) overdue: usize,
}

impl Round {
    /// The periods that begin before `now + horizon` and follow what is granted or published already, at most `limit`
    /// of them. Of `published` stays what the ledger has not come to.
    pub(crate) fn of(
        plans: &[(OrgId, PlanState)],
        now: Timestamp,
        horizon: Duration,
        limit: usize,
        published: &mut Published,
    ) -> Self {
        let until = now.after(horizon);
        let mut round = Self::default();
        let mut before = std::mem::take(published);
        let mut left = limit;
        for (org, state) in plans {
            for ((item, account), granted_until) in &state.granted_until {
                let item = state.plan.item(item).filter(|item| state.plan.covers(item, account));
                let Some(item) = item else { continue };
                // Nothing to grant is no grant: the ledger would refuse it.
                if state.plan.amount(item).is_ok_and(|amount| !amount.is_positive()) {
                    continue;
                }
                let series = Series {
                    org: org.clone(),
                    revision: state.revision,
                    item: item.id.clone(),
                    account: account.clone(),
                };
                let ahead = before.remove(&series).filter(|end| end > granted_until);
                if let Some(end) = ahead {
                    published.insert(series.clone(), end);
                }
                let mut start = ahead.unwrap_or(*granted_until);
                let mut grants = Vec::new();
                round.overdue += usize::from(*granted_until <= now);
                while start < until && left > 0 {
                    match grant(&series, state, item, start) {
                        Ok((command, end)) => {
                            grants.push((command, end));
                            left -= 1;
                            start = end;
                        }
                        Err(problem) => {
                            round.skipped.push((series.clone(), problem));
                            break;
                        }
                    }
                }
                if !grants.is_empty() {
                    round.due.push(DueSeries { series, grants });
                }
            }
        }
        round
    }
}

/// The grant of the period from `start` on, and where it ends.
fn grant(
    series: &Series,
    state: &PlanState,
    item: &PlanItem,
    start: Timestamp,
) -> Result<(Command, Timestamp), NoPeriod> {
    let Series { org, revision, account, .. } = series;
    let end = end_of(&item.recurrence, start)?;
    let grant = state.plan.grant(*revision, item, account.clone(), (start, end))?;
    let command = Command {
        command_id: CommandId::of_period(org, *revision, &item.id, account, start),
        issued_at: start,
        actor: ACTOR.to_owned(),
        reason: format!("plan {}, item {}", state.plan.name, item.id),
        reference: None,
        body: CommandBody::Grant(org.clone(), grant),
    };
    Ok((command, end))
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

    fn round(plan: &(OrgId, PlanState), now: &str, published: &mut Published) -> Round {
        Round::of(std::slice::from_ref(plan), at(now), HORIZON, 10_000, published)
    }

    fn granted(command: &Command) -> &Grant {
        let CommandBody::Grant(_, grant) = &command.body else { panic!("{command:?}") };
        grant
    }

    /// The periods that a round grants, in order.
    fn periods(round: &Round) -> Vec<(String, String)> {
        let commands = round.due.iter().flat_map(|due| &due.grants);
        commands
            .map(|(command, end)| {
                let period = granted(command).period.as_ref().unwrap();
                assert_eq!((period.end, command.issued_at), (*end, period.start));
                (period.start.to_string(), period.end.to_string())
            })
            .collect()
    }

    fn starts(round: &Round) -> Vec<String> {
        periods(round).into_iter().map(|(start, _)| start).collect()
    }

    fn signed(round: &Round) -> Vec<Vec<u8>> {
        let issuer = Issuer::new(LogId(Uuid::from_u128(1)), "scheduler", [3; 32]);
        let commands = round.due.iter().flat_map(|due| &due.grants);
        commands.map(|(command, _)| issuer.sign(command).unwrap()).collect()
    }

    #[test]
    fn a_period_is_granted_eight_days_ahead_and_not_before() {
        let monthly = of_unit(IntervalUnit::Month, "2026-11-01T00:00:00", "UTC", "2026-12-01T00:00:00Z");
        assert_eq!(round(&monthly, "2026-11-22T23:59:59Z", &mut Published::new()), Round::default());
        let due = round(&monthly, "2026-11-23T00:00:01Z", &mut Published::new());
        assert_eq!(periods(&due), [("2026-12-01T00:00:00Z".to_owned(), "2027-01-01T00:00:00Z".to_owned())]);
        assert_eq!(due.overdue, 0);
        let command = &due.due[0].grants[0].0;
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
        let due = round(&monthly, "2027-04-25T00:00:00Z", &mut Published::new());
        let expected = [
            "2026-12-31T00:00:00Z",
            "2027-01-31T00:00:00Z",
            "2027-02-28T00:00:00Z",
            "2027-03-31T00:00:00Z",
            "2027-04-30T00:00:00Z",
        ];
        assert_eq!(starts(&due), expected);
        assert_eq!(due.overdue, 1);
    }

    #[test]
    fn the_day_on_which_clocks_go_forward_is_a_period_of_23_hours() {
        let daily =
            of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "Europe/Berlin", "2026-03-28T23:00:00Z");
        let due = round(&daily, "2026-03-22T12:00:00Z", &mut Published::new());
        assert_eq!(
            periods(&due)[..2],
            [
                ("2026-03-28T23:00:00Z".to_owned(), "2026-03-29T22:00:00Z".to_owned()),
                ("2026-03-29T22:00:00Z".to_owned(), "2026-03-30T22:00:00Z".to_owned()),
            ]
        );
    }

    #[test]
    fn a_boundary_that_other_time_zone_data_moved_by_an_hour_makes_no_period_of_an_hour() {
        // Granted until midnight in UTC+2, where this build has UTC+1; and until midnight in UTC.
        for granted_until in ["2026-11-30T22:00:00Z", "2026-12-01T00:00:00Z"] {
            let monthly = of_unit(IntervalUnit::Month, "2026-01-01T00:00:00", "Europe/Berlin", granted_until);
            let due = round(&monthly, "2026-12-01T12:00:00Z", &mut Published::new());
            assert_eq!(periods(&due), [(granted_until.to_owned(), "2026-12-31T23:00:00Z".to_owned())]);
        }
    }

    #[test]
    fn a_scheduler_that_was_down_for_a_week_grants_all_missing_periods_in_order() {
        let daily = of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-01T00:00:00Z");
        let due = round(&daily, "2026-11-08T00:00:00Z", &mut Published::new());
        let expected: Vec<String> = (1..=15).map(|day| format!("2026-11-{day:02}T00:00:00Z")).collect();
        assert_eq!(starts(&due), expected);
        assert_eq!((due.due.len(), due.overdue), (1, 1));
    }

    #[test]
    fn two_schedulers_at_different_times_publish_the_same_bytes() {
        let items = vec![
            item("base", Share::Seat, IntervalUnit::Month, "2026-11-01T00:00:00", "Europe/Berlin"),
            item("own", Share::User, IntervalUnit::Week, "2026-11-02T00:00:00", "America/New_York"),
        ];
        let plan = plan(items, "2026-11-30T23:00:00Z");
        let first = round(&plan, "2026-11-30T12:00:00Z", &mut Published::new());
        let second = round(&plan, "2026-11-30T12:00:09Z", &mut Published::new());
        assert_eq!(signed(&first), signed(&second));
        // The pooled allocation of two seats, and one of each of two users.
        let grants = first.due.iter().map(|due| granted(&due.grants[0].0));
        let grants = grants.map(|grant| (grant.account.clone(), grant.amount.to_string()));
        let user = |user: &str| Account::User(user.parse().unwrap());
        let expected = [(Account::Organization, "2000"), (user("ann"), "1000"), (user("bob"), "1000")];
        assert_eq!(
            grants.collect::<Vec<_>>(),
            expected.map(|(account, amount)| (account, amount.to_owned()))
        );
    }

    #[test]
    fn what_is_published_and_not_yet_in_the_ledger_is_not_published_again() {
        let daily = of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-01T00:00:00Z");
        let mut published = Published::new();
        let due = round(&daily, "2026-11-01T12:00:00Z", &mut published);
        for series in due.due {
            published.insert(series.series, series.grants.last().unwrap().1);
        }
        assert_eq!(starts(&round(&daily, "2026-11-01T12:01:00Z", &mut published)), [""; 0]);
        assert_eq!(starts(&round(&daily, "2026-11-02T12:00:00Z", &mut published)), ["2026-11-10T00:00:00Z"]);
        // The ledger has come further than this scheduler published: another did.
        let later = of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-11T00:00:00Z");
        assert_eq!(starts(&round(&later, "2026-11-03T12:00:00Z", &mut published)), ["2026-11-11T00:00:00Z"]);
        assert!(published.is_empty());
    }

    #[test]
    fn a_round_has_a_limit_and_the_next_goes_on_where_it_ended() {
        let daily = of_unit(IntervalUnit::Day, "2026-01-01T00:00:00", "UTC", "2026-11-01T00:00:00Z");
        let now = at("2026-11-08T00:00:00Z");
        let mut published = Published::new();
        let first = Round::of(std::slice::from_ref(&daily), now, HORIZON, 2, &mut published);
        assert_eq!(starts(&first), ["2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"]);
        published.insert(first.due[0].series.clone(), first.due[0].grants[1].1);
        let second = Round::of(&[daily], now, HORIZON, 1, &mut published);
        assert_eq!(starts(&second), ["2026-11-03T00:00:00Z"]);
    }

    #[test]
    fn an_unknown_time_zone_skips_its_item_and_no_other() {
        let items = vec![
            item("lost", Share::Organization, IntervalUnit::Day, "2026-01-01T00:00:00", "Europe/Atlantis"),
            item("kept", Share::Organization, IntervalUnit::Month, "2026-01-01T00:00:00", "UTC"),
        ];
        let due = round(&plan(items, "2026-11-01T00:00:00Z"), "2026-11-01T00:00:00Z", &mut Published::new());
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
        let due = round(&(org, state), "2026-11-01T00:00:00Z", &mut Published::new());
        assert_eq!(due, Round::default());
    }
}
