//! Each rule, with its figures.

use std::sync::Arc;
use std::time::Duration;

use fluxori_core::command::{
    Adjust, AllocationKind, Change, CommandBody, CommandKind, Correct, IssueKey, OverdraftPolicy, Plan,
    PlanItem, Policy, Release, Scope, SetPlan, Share,
};
use fluxori_core::fold::{AllocationStatus, FoldError, Halt, OrgState, Outcome};
use fluxori_core::id::AllocationId;
use fluxori_core::period::{IntervalUnit, Recurrence};
use fluxori_core::posting::{PostingKind, Target};
use fluxori_core::record::{Body, QuarantineReason, RecordKey};
use fluxori_core::usage::{Certainty, UsageFields};

use crate::support::{Folded, Log, T0, credits, grant, minutes, org};

fn reason(outcome: &Outcome) -> Option<QuarantineReason> {
    match outcome {
        Outcome::Quarantined(quarantined) => Some(quarantined.reason),
        _ => None,
    }
}

#[test]
fn a_grant_opens_its_org_and_pays_for_usage() {
    let mut log = Log::new();
    log.grant("acme", grant("100"));
    log.usage("acme", 1, 1000, 200);
    let folded = Folded::of(&log);
    let state = folded.org("acme");
    // gpt-5: 1,000 x 1.25 + 200 x 10 USD a million = 0.00325 USD = 3.25 credits
    assert_eq!(state.balance().unwrap(), credits("96.75"));
    let kinds: Vec<_> = folded.postings.iter().map(|posting| posting.kind).collect();
    assert_eq!(kinds, [PostingKind::Grant, PostingKind::Open, PostingKind::Debit]);
    assert_eq!(state.record.number, 3);
}

#[test]
fn the_same_event_twice_is_one_debit_and_another_content_is_a_conflict() {
    let mut log = Log::new();
    log.grant("acme", grant("100"));
    log.usage("acme", 1, 1000, 200);
    log.usage("acme", 1, 1000, 200);
    log.usage("acme", 1, 1000, 201);
    let folded = Folded::of(&log);
    assert_eq!(folded.org("acme").balance().unwrap(), credits("96.75"));
    assert!(matches!(folded.outcomes[folded.outcomes.len() - 2], Outcome::Duplicate(_)));
    assert_eq!(reason(folded.last()), Some(QuarantineReason::Conflict));
}

#[test]
fn usage_before_its_org_is_open_waits_and_is_released_in_order() {
    let mut log = Log::new();
    log.usage("acme", 1, 1000, 0);
    log.usage("acme", 2, 2000, 0);
    log.usage("acme", 1, 1000, 0);
    log.grant("acme", grant("1"));
    let folded = Folded::of(&log);
    assert_eq!(reason(&folded.outcomes[log.setup]), Some(QuarantineReason::OrgNotOpen));
    assert!(matches!(folded.outcomes[log.setup + 2], Outcome::Duplicate(_)));
    let Outcome::Command { released, opened: true, .. } = folded.last() else { panic!("not opened") };
    assert_eq!(released.len(), 2);
    let debits: Vec<_> = folded.debits().map(|posting| posting.amount.to_string()).collect();
    assert_eq!(debits, ["1.25", "2.5"]);
    assert_eq!(folded.org("acme").overdraft().unwrap(), credits("2.75"));
}

#[test]
fn only_a_permitted_signature_creates_credits() {
    let mut log = Log::new();
    let body = || CommandBody::Grant(org("acme"), grant("100"));
    let mut forged = log.signed(body(), 50);
    forged.signature[0] ^= 1;
    log.push(RecordKey::Org(org("acme")), Body::Command(Box::new(forged)));
    let mut stranger = log.signed(body(), 51);
    stranger.issuer_key_id = "0000000000000000".parse().unwrap();
    log.push(RecordKey::Org(org("acme")), Body::Command(Box::new(stranger)));
    let mut altered = log.signed(body(), 52);
    altered.payload.push(0);
    log.push(RecordKey::Org(org("acme")), Body::Command(Box::new(altered)));
    let rooted = log.signed_by_root(body(), 53);
    log.push(RecordKey::Org(org("acme")), Body::Command(Box::new(rooted)));
    let folded = Folded::of(&log);
    let reasons: Vec<_> = folded.outcomes.iter().filter_map(reason).collect();
    assert_eq!(
        reasons,
        [
            QuarantineReason::BadSignature,
            QuarantineReason::UnknownKey,
            QuarantineReason::BadSignature,
            QuarantineReason::NotPermitted
        ]
    );
    assert!(folded.fold.orgs().next().is_none());
}

#[test]
fn the_same_command_twice_is_one_command() {
    let mut log = Log::new();
    let signed = log.signed(CommandBody::Grant(org("acme"), grant("100")), 60);
    for _ in 0..2 {
        log.push(RecordKey::Org(org("acme")), Body::Command(Box::new(signed.clone())));
    }
    let other = log.signed(CommandBody::Grant(org("acme"), grant("200")), 60);
    log.push(RecordKey::Org(org("acme")), Body::Command(Box::new(other)));
    let folded = Folded::of(&log);
    assert_eq!(folded.org("acme").record.totals.granted, credits("100"));
    assert_eq!(reason(folded.last()), Some(QuarantineReason::Conflict));
}

#[test]
fn credits_burn_in_the_order_of_the_design() {
    let mut log = Log::new();
    let soon = Some(T0.after(minutes(600)));
    let late = Some(T0.after(minutes(1200)));
    // From last to first.
    let mut expected = Vec::new();
    let mut add = |log: &mut Log, change: &dyn Fn(&mut fluxori_core::command::Grant)| {
        let mut one = grant("1");
        change(&mut one);
        expected.push(log.grant("acme", one));
    };
    let until = move |kind, expires_at| {
        move |g: &mut fluxori_core::command::Grant| (g.kind, g.expires_at) = (kind, expires_at)
    };
    add(&mut log, &|g| g.purchased = true);
    add(&mut log, &|_| ());
    add(&mut log, &until(AllocationKind::Payg, late));
    add(&mut log, &until(AllocationKind::Prepaid, late));
    add(&mut log, &until(AllocationKind::Subscription, late));
    add(&mut log, &until(AllocationKind::Quota, late));
    add(&mut log, &until(AllocationKind::Payg, soon));
    add(&mut log, &|g| g.priority = -1);
    add(&mut log, &|g| {
        g.priority = 9;
        g.account = fluxori_core::command::Account::User("ann".parse().unwrap());
    });
    expected.reverse();
    log.usage_with("acme", 1, 6400, 100, |event| event.user_id = Some("ann".parse().unwrap()));
    let folded = Folded::of(&log);
    let debit = folded.debits().next().unwrap();
    let burnt: Vec<_> = debit
        .entries
        .iter()
        .filter_map(|entry| match entry.target {
            Target::Allocation(id) => Some(id),
            Target::Overdraft | Target::Absorbed | Target::Due => None,
        })
        .collect();
    assert_eq!(debit.amount, credits("9"));
    assert_eq!(burnt, expected);
}

#[test]
fn another_users_and_another_scopes_credits_are_left_alone() {
    let mut log = Log::new();
    let mut anns = grant("10");
    anns.account = fluxori_core::command::Account::User("ann".parse().unwrap());
    log.grant("acme", anns);
    let mut scoped = grant("10");
    scoped.scope.modules = ["pim".parse().unwrap()].into();
    log.grant("acme", scoped);
    log.usage_with("acme", 1, 1000, 0, |event| event.user_id = Some("bob".parse().unwrap()));
    let folded = Folded::of(&log);
    assert_eq!(folded.org("acme").overdraft().unwrap(), credits("1.25"));
    assert!(folded.org("acme").allocations().all(|allocation| allocation.consumed.is_zero()));
}

#[test]
fn overdraft_is_paid_off_by_the_next_unscoped_allocation_that_opens() {
    let mut log = Log::new();
    log.grant("acme", grant("1"));
    log.usage("acme", 1, 4000, 0);
    let mut scoped = grant("10");
    scoped.scope.models = ["gpt-5".parse().unwrap()].into();
    log.grant("acme", scoped);
    log.grant("acme", grant("3"));
    log.grant("acme", grant("3"));
    let folded = Folded::of(&log);
    let repays: Vec<_> = folded.postings.iter().filter(|p| p.kind == PostingKind::Repay).collect();
    assert_eq!(repays.len(), 2);
    assert_eq!((repays[0].amount, repays[1].amount), (credits("3"), credits("1")));
    let state = folded.org("acme");
    assert_eq!(state.overdraft().unwrap(), credits("0"));
    assert_eq!(state.balance().unwrap(), credits("12"));
}

#[test]
fn a_policy_can_absorb_what_nothing_covers() {
    let mut log = Log::new();
    log.command(
        "acme",
        CommandBody::OpenOrg(
            org("acme"),
            Policy { overdraft: Some(OverdraftPolicy::Absorb), ..Policy::default() },
        ),
    );
    log.usage("acme", 1, 1000, 0);
    let state = Folded::of(&log).org("acme").clone();
    assert_eq!((state.overdraft().unwrap(), state.record.totals.absorbed), (credits("0"), credits("1.25")));
}

#[test]
fn an_idle_orgs_allocation_closes_with_a_tick_and_not_before_its_grace_is_over() {
    let mut log = Log::new();
    let mut short = grant("10");
    short.expires_at = Some(T0.after(minutes(10)));
    log.grant("acme", short);
    log.now = T0.after(minutes(14));
    log.tick();
    assert_eq!(Folded::of(&log).org("acme").allocation_count(), 1);
    log.now = T0.after(minutes(15));
    log.tick();
    log.tick();
    let folded = Folded::of(&log);
    let closes: Vec<_> = folded.postings.iter().filter(|p| p.kind == PostingKind::Close).collect();
    assert_eq!(closes.len(), 1);
    assert_eq!((closes[0].amount, closes[0].effective_at), (credits("10"), T0.after(minutes(15))));
    assert_eq!(folded.org("acme").record.totals.expired, credits("10"));
    assert_eq!(folded.org("acme").balance().unwrap(), credits("0"));
}

#[test]
fn during_the_grace_usage_burns_what_was_valid_when_it_occurred() {
    let mut log = Log::new();
    let boundary = T0.after(minutes(60));
    let mut first = grant("10");
    first.expires_at = Some(boundary);
    let first = log.grant("acme", first);
    let mut second = grant("10");
    second.effective_at = boundary;
    let second = log.grant("acme", second);
    log.now = boundary.after(minutes(2));
    log.usage_with("acme", 1, 800, 0, |event| event.occurred_at = boundary.before(minutes(1)));
    log.usage_with("acme", 2, 1600, 0, |event| event.occurred_at = boundary);
    let folded = Folded::of(&log);
    let consumed =
        |id: AllocationId| folded.org("acme").allocations().find(|a| a.id == id).map(|a| a.consumed).unwrap();
    assert_eq!((consumed(first), consumed(second)), (credits("1"), credits("2")));
}

#[test]
fn an_adjustment_takes_no_more_than_is_left() {
    let mut log = Log::new();
    let id = log.grant("acme", grant("10"));
    log.command(
        "acme",
        CommandBody::Adjust(org("acme"), Adjust { allocation_id: id, amount: credits("-11") }),
    );
    log.command(
        "acme",
        CommandBody::Adjust(org("acme"), Adjust { allocation_id: id, amount: credits("-4") }),
    );
    let folded = Folded::of(&log);
    let rejected = &folded.outcomes[folded.outcomes.len() - 2];
    assert!(
        matches!(rejected, Outcome::Command { rejection: Some(why), .. } if why.0.contains("has 10 credits left"))
    );
    assert_eq!(folded.org("acme").balance().unwrap(), credits("6"));
}

#[test]
fn what_lies_under_a_wrong_key_or_in_a_wrong_partition_is_nobodys() {
    let mut log = Log::new();
    log.grant("acme", grant("10"));
    let event = log.event("acme", 1, 1000, 0);
    log.push(RecordKey::Org(org("other")), Body::Usage(Arc::new(event.clone())));
    log.push(RecordKey::Invalid, Body::Usage(Arc::new(event)));
    let folded = Folded::of(&log);
    let reasons: Vec<_> = folded.outcomes.iter().filter_map(reason).collect();
    assert_eq!(reasons, [QuarantineReason::WrongKey; 2]);
    let elsewhere = Folded::in_partition(&log, 1);
    assert!(elsewhere.outcomes.iter().any(|o| reason(o) == Some(QuarantineReason::WrongPartition)));
}

#[test]
fn a_log_that_is_not_ours_or_has_no_genesis_halts() {
    let log = Log::new();
    let pinned = Folded::try_fold(&log, 0, Some(fluxori_core::digest::Digest::of(b"another")));
    assert!(matches!(pinned, Err(FoldError::Halt(Halt::WrongLog { .. }))));
    let mut headless = Log::new();
    headless.records.remove(0);
    assert!(matches!(Folded::try_fold(&headless, 0, None), Err(FoldError::Halt(Halt::NoGenesis { .. }))));
    let mut newer = Log::new();
    newer.set_rules_version(2);
    assert!(matches!(
        Folded::try_fold(&newer, 0, None),
        Err(FoldError::Halt(Halt::UnknownRules { found: 2 }))
    ));
}

#[test]
fn rates_hold_from_their_seal_on_and_a_seal_that_does_not_fit_is_rejected() {
    let mut log = Log::without_rates();
    log.grant("acme", grant("10"));
    log.usage("acme", 1, 1000, 0);
    log.seal_only("r1");
    log.rates("r1");
    log.usage("acme", 2, 1000, 0);
    let folded = Folded::of(&log);
    let rejected = folded.outcomes.iter().any(
        |o| matches!(o, Outcome::Global(global) if global.kind == CommandKind::Rates && global.rejection.is_some()),
    );
    assert!(rejected);
    let debits: Vec<_> = folded.debits().map(|posting| posting.amount.to_string()).collect();
    assert_eq!(debits, ["0", "1.25"]);
}

#[test]
fn a_scheduled_allocation_counts_only_once_it_opens() {
    let mut log = Log::new();
    let mut later = grant("10");
    later.effective_at = T0.after(minutes(30));
    log.grant("acme", later);
    let state = Folded::of(&log).org("acme").clone();
    assert_eq!(state.balance().unwrap(), credits("0"));
    assert_eq!(state.allocations().next().unwrap().status, AllocationStatus::Scheduled);
    assert_eq!(state.next_boundary(), Some(T0.after(minutes(30))));
    log.now = T0.after(minutes(30));
    log.tick();
    assert_eq!(Folded::of(&log).org("acme").balance().unwrap(), credits("10"));
}

#[test]
fn a_late_event_and_one_from_the_future_are_quarantined() {
    let mut log = Log::new();
    log.grant("acme", grant("10"));
    let now = log.now;
    log.usage_with("acme", 1, 1, 0, |e| e.occurred_at = now.after(Duration::from_secs(301)));
    log.usage_with("acme", 2, 1, 0, |e| e.occurred_at = now.before(Duration::from_hours(36 * 24)));
    let folded = Folded::of(&log);
    let reasons: Vec<_> = folded.outcomes.iter().filter_map(reason).collect();
    assert_eq!(reasons, [QuarantineReason::OccurredInFuture, QuarantineReason::TooLate]);
}

#[test]
fn rules_that_this_build_does_not_know_halt_it_and_known_ones_are_rejected() {
    let mut log = Log::new();
    let known = log.signed_by_root(CommandBody::SetRules(1), 90);
    log.push(RecordKey::Global, Body::Command(Box::new(known)));
    assert!(matches!(Folded::of(&log).last(), Outcome::Global(outcome) if outcome.rejection.is_some()));
    let newer = log.signed_by_root(CommandBody::SetRules(2), 91);
    log.push(RecordKey::Global, Body::Command(Box::new(newer)));
    let halted = Folded::try_fold(&log, 0, None);
    assert!(matches!(halted, Err(FoldError::Halt(Halt::UnknownRules { found: 2 }))));
}

#[test]
fn no_issuer_gets_what_only_the_root_may_do() {
    let mut log = Log::new();
    let key = |public_key, kinds: &[CommandKind]| {
        CommandBody::IssueKey(IssueKey {
            issuer: "second root".to_owned(),
            public_key,
            kinds: kinds.iter().copied().collect(),
        })
    };
    let root = log.root_key();
    for (id, body) in [(95, key([9; 32], &[CommandKind::IssueKey])), (96, key(root, &[CommandKind::Grant]))] {
        let signed = log.signed_by_root(body, id);
        log.push(RecordKey::Global, Body::Command(Box::new(signed)));
        assert!(matches!(Folded::of(&log).last(), Outcome::Global(outcome) if outcome.rejection.is_some()));
    }
}

#[test]
fn what_would_leave_the_range_of_amounts_is_refused_and_stops_nothing() {
    let mut log = Log::new();
    let id = log.grant("acme", grant("10"));
    let most = credits("9999999999999999");
    log.command("acme", CommandBody::Adjust(org("acme"), Adjust { allocation_id: id, amount: most }));
    let folded = Folded::of(&log);
    assert!(matches!(folded.last(), Outcome::Command { rejection: Some(_), .. }));
    assert_eq!(folded.org("acme").balance().unwrap(), credits("10"));
    // The largest event there is: 1,250,000 credits for its input and 10,000,000 for its output.
    log.usage("acme", 1, 1_000_000_000, 1_000_000_000);
    log.usage("acme", 2, 1000, 0);
    let folded = Folded::of(&log);
    assert_eq!(folded.org("acme").record.totals.charged, credits("11250001.25"));
}

#[test]
fn no_more_than_a_bounded_number_of_events_waits_for_an_org() {
    let mut log = Log::new();
    for id in 0..10_005 {
        log.usage("typo", id, 1, 0);
    }
    let folded = Folded::of(&log);
    let beyond =
        folded.outcomes.iter().filter(|o| reason(o) == Some(QuarantineReason::TooManyWaiting)).count();
    assert_eq!(beyond, 5);
    log.grant("typo", grant("1"));
    assert_eq!(Folded::of(&log).debits().count(), 10_000);
}

#[test]
fn an_allocation_for_a_model_pays_for_its_dated_name_too() {
    let mut log = Log::new();
    let mut scoped = grant("10");
    scoped.scope.models = ["gpt-5".parse().unwrap()].into();
    log.grant("acme", scoped);
    log.usage_with("acme", 1, 1000, 0, |event| {
        event.request_model = "gpt-5-2025-08-07".parse().unwrap();
        event.response_model = Some("gpt-5-2025-08-07".parse().unwrap());
    });
    assert_eq!(Folded::of(&log).org("acme").balance().unwrap(), credits("8.75"));
}

/// Charged almost 10^16 credits already, what comes next may not fit; whatever is refused is as if it had not come.
#[test]
fn usage_beyond_the_range_of_totals_is_refused_whole_and_can_be_released_once_it_fits() {
    let mut log = Log::new();
    log.grant("acme", grant("1"));
    let (begin, at_least) =
        (log.records.len(), |fields: &mut UsageFields| fields.certainty = Certainty::AtLeast);
    log.usage_with("acme", 1, 1000, 200, at_least);
    let dearer = |fields: &mut UsageFields| fields.revision = 2;
    log.usage_with("acme", 1, 10_000, 2_000, dearer);
    log.usage_with("acme", 1, 10_000, 2_000, dearer);
    let (first, second) = (log.event("acme", 1, 0, 0).event_id, log.event("acme", 2, 3_200, 400));
    let void =
        |event_id| CommandBody::Correct(org("acme"), Correct { event_id, revision: 1, change: Change::Void });
    let release = Release { event_id: second.event_id, billing_digest: second.billing_digest() };
    let release = CommandBody::Release(org("acme"), release);
    log.command("acme", void(second.event_id));
    log.usage("acme", 2, 3_200, 400);
    log.command("acme", release.clone());
    log.command("acme", void(first));
    log.command("acme", release);

    let mut folded = Folded::begin(&log);
    folded.apply(&log.records[..begin]);
    let mut state = folded.org("acme").clone();
    let charged = "9999999999999990".parse().unwrap();
    (state.record.totals.charged, state.record.totals.overdraft_incurred) = (charged, charged);
    folded.fold.load(OrgState::restore(state.record.clone(), state.allocations().cloned().collect()));
    folded.apply(&log.records[begin..]);

    let beyond = Some(QuarantineReason::AmountOutOfRange);
    let reasons: Vec<_> = folded.outcomes[begin..].iter().map(reason).collect();
    assert_eq!(reasons, [None, beyond, beyond, None, beyond, None, None, None]);
    let rejected = |outcome: &Outcome| matches!(outcome, Outcome::Command { rejection: Some(_), .. });
    let rejections: Vec<_> = folded.outcomes[begin..].iter().map(rejected).collect();
    assert_eq!(rejections, [false, false, false, false, false, true, false, false]);
    // 3.25 credits were charged and voided; 8 are charged in the end, and the correction that waited voids them.
    let amounts: Vec<_> = folded.postings.iter().map(|posting| (posting.kind, posting.amount)).collect();
    let last: Vec<_> = amounts.iter().rev().take(3).rev().collect();
    let (debit, correct) = (PostingKind::Debit, PostingKind::Correct);
    assert_eq!(
        last,
        [&(PostingKind::Setting, credits("0")), &(debit, credits("8")), &(correct, credits("-8"))]
    );
    assert_eq!(folded.org("acme").record.totals.charged, charged);
}

#[test]
fn the_largest_plan_is_carried_out_opened_and_taken_off() {
    let mut log = Log::new();
    log.grant("acme", grant("1"));
    let item = PlanItem {
        id: "credits".parse().unwrap(),
        kind: AllocationKind::Quota,
        amount: credits("100"),
        share: Share::User,
        priority: 0,
        scope: Scope::default(),
        purchased: false,
        max_rollover: credits("0"),
        recurrence: Recurrence {
            every: 1,
            unit: IntervalUnit::Day,
            anchor: "2026-01-01T00:00:00".parse().unwrap(),
            time_zone: "UTC".parse().unwrap(),
        },
        period_start: T0,
        period_end: T0.after(minutes(24 * 60)),
    };
    let users = (0..10_000).map(|number| format!("user-{number}").parse().unwrap()).collect();
    let plan = Plan { name: "all".parse().unwrap(), trial: false, seats: 0, users, items: vec![item] };
    let set = |effective_at, plan| CommandBody::SetPlan(org("acme"), SetPlan { effective_at, plan });
    log.command("acme", set(T0, Some(plan)));
    log.tick();
    log.now = T0.after(minutes(12 * 60));
    log.command("acme", set(T0.after(minutes(12 * 60)), None));
    let folded = Folded::of(&log);
    assert_eq!((folded.org("acme").allocation_count(), folded.fold.counters().rejected), (10_001, 0));
    assert_eq!(folded.org("acme").balance().unwrap(), credits("500001"));
    log.now = T0.after(minutes(48 * 60));
    log.tick();
    let folded = Folded::of(&log);
    assert_eq!(folded.org("acme").balance().unwrap(), credits("1"));
}
