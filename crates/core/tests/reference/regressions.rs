//! Histories that told the fold and the model apart once, by hand and with figures.

use fluxori_core::command::{Change, CommandBody, Correct, Share};
use fluxori_core::id::CommandId;
use fluxori_core::usage::Quantities;
use uuid::Uuid;

use crate::examples::{add, at, monthly, next_period, on_plan, set_plan, use_tokens};
use crate::log::{Log, credits, event_id, grant, org};
use crate::properties::compared;

#[test]
fn the_grant_of_a_period_opens_no_org() {
    let mut log = Log::new();
    use_tokens(&mut log, 1, 1_000, 0);
    let no_plan = CommandId(Uuid::from_u128(9));
    next_period(&mut log, &monthly("10", "0"), no_plan, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let pair = compared(&log).unwrap();
    assert!(!pair.past.is_open(&org("acme")));
    assert_eq!(pair.fold.counters().released, 0);
}

#[test]
fn whoever_left_the_plan_keeps_what_the_elapsed_part_gave() {
    let mut plan = monthly("1000", "0");
    plan.items[0].share = Share::User;
    let (mut log, _) = on_plan(&plan);
    plan.users = ["bob".parse().unwrap()].into();
    set_plan(&mut log, at("2026-11-16T00:00:00Z"), Some(plan.clone()));
    plan.users = ["bob".parse().unwrap(), "carol".parse().unwrap()].into();
    set_plan(&mut log, at("2026-11-16T00:00:00Z"), Some(plan));
    set_plan(&mut log, at("2026-11-21T00:00:00Z"), None);
    let pair = compared(&log).unwrap();
    let state = pair.fold.orgs().next().unwrap();
    let left: Vec<_> =
        state.allocations().map(|a| (a.account.user().unwrap().as_str(), a.remaining)).collect();
    let third = credits("166.666666666667");
    // The halves for half of November; bob's and carol's begin in its middle and end five days later.
    assert_eq!(left, [("ann", credits("500")), ("bob", third), ("carol", third)]);
}

#[test]
fn an_ordinary_grant_leaves_the_plan_in_force() {
    let plan = monthly("1000", "0");
    let (mut log, revision) = on_plan(&plan);
    add(&mut log, grant("1"));
    next_period(&mut log, &plan, revision, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let pair = compared(&log).unwrap();
    assert_eq!(pair.fold.orgs().next().unwrap().allocation_count(), 3);
}

#[test]
fn no_period_is_granted_twice_when_a_plan_is_set_back_in_time() {
    let plan = monthly("1000", "200");
    let (mut log, revision) = on_plan(&plan);
    next_period(&mut log, &plan, revision, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    log.now = at("2026-12-10T00:00:00Z");
    // December is open; the plan is set as of the end of November.
    let again = set_plan(&mut log, at("2026-11-30T00:00:00Z"), Some(plan.clone()));
    next_period(&mut log, &plan, again, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let pair = compared(&log).unwrap();
    let state = pair.fold.orgs().next().unwrap();
    let december = at("2026-12-01T00:00:00Z");
    let of_december = state.allocations().filter(|a| a.period.as_ref().is_some_and(|p| p.start == december));
    assert_eq!(of_december.count(), 1);
}

#[test]
fn a_plan_is_not_set_as_of_before_it_was_last_changed() {
    let plan = monthly("1000", "200");
    let (mut log, _) = on_plan(&plan);
    log.now = at("2026-11-20T00:00:00Z");
    set_plan(&mut log, at("2026-11-20T00:00:00Z"), None);
    // Put back as of five days earlier, the plan would give the credits of those days again.
    set_plan(&mut log, at("2026-11-15T00:00:00Z"), Some(plan.clone()));
    let pair = compared(&log).unwrap();
    let state = pair.fold.orgs().next().unwrap();
    assert_eq!((state.record.plan.as_ref(), pair.fold.counters().rejected), (None, 1));
    set_plan(&mut log, at("2026-11-20T00:00:00Z"), Some(plan));
    let pair = compared(&log).unwrap();
    let state = pair.fold.orgs().next().unwrap();
    assert_eq!((state.record.plan.is_some(), state.balance().unwrap()), (true, credits("1000")));
}

#[test]
fn a_correction_ahead_of_its_event_that_would_charge_too_much_leaves_the_charge() {
    let mut log = Log::new();
    add(&mut log, grant("100"));
    let mut quantities = Quantities::default();
    quantities.tokens.input = 1_000_000_000;
    let change = Change::Replace(Box::new(quantities));
    let correct = Correct { event_id: event_id(1, true), revision: 1, change };
    log.command(CommandBody::Correct(org("acme"), correct));
    let mut fields = log.event("acme", event_id(1, true), "dear");
    fields.input_tokens = 2;
    log.usage(fields);
    let pair = compared(&log).unwrap();
    let state = pair.fold.orgs().next().unwrap();
    assert_eq!((state.record.number, state.balance().unwrap()), (5, credits("80")));
}

#[test]
fn a_command_that_opens_an_org_releases_what_waits_after_its_own_allocation_opened() {
    let mut log = Log::new();
    use_tokens(&mut log, 1, 1_000, 0);
    log.command(CommandBody::Grant(org("acme"), grant("2")));
    let pair = compared(&log).unwrap();
    assert_eq!(pair.fold.orgs().next().unwrap().overdraft().unwrap(), credits("0"));
}
