//! The worked examples of `docs/ledger.md`: the model, which the fold is compared with, is right by hand, and the fold is
//! right with it.

use fluxori_core::command::{
    Account, AllocationKind, Change, CommandBody, Correct, Grant, Plan, PlanItem, PlanPeriod, Reprice, Scope,
    SetPlan, Share,
};
use fluxori_core::id::{AllocationId, CommandId};
use fluxori_core::period::{IntervalUnit, Recurrence};
use fluxori_core::posting::PostingKind;
use fluxori_core::rates::Card;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::Quantities;

use crate::log::{Log, credits, event_id, grant, minutes, model, org, price};
use crate::model::{Amount, Became, Leg, Model, ONE, Org, Place, Posted, Status, of};
use crate::properties::compared;

fn modelled(log: &Log) -> (Model, Vec<Became>) {
    compared(log).unwrap();
    let mut model = Model::default();
    let became = log.records.iter().map(|record| model.apply(record).0).collect();
    (model, became)
}

fn acme(log: &Log) -> Org {
    modelled(log).0.org(&org("acme")).unwrap().clone()
}

pub(crate) fn use_tokens(log: &mut Log, id: u32, input: i64, output: i64) {
    let mut fields = log.event("acme", event_id(id, true), "gpt-5");
    (fields.input_tokens, fields.output_tokens) = (input, output);
    log.usage(fields);
}

pub(crate) fn add(log: &mut Log, grant: Grant) -> AllocationId {
    AllocationId(log.command(CommandBody::Grant(org("acme"), grant)).0)
}

fn of_kind(org: &Org, kind: PostingKind) -> Vec<&Posted> {
    org.postings.iter().filter(|posted| posted.kind == kind).collect()
}

fn balance(org: &Org) -> Amount {
    let legs = org.postings.iter().flat_map(|posted| &posted.entries);
    legs.filter(|leg| !matches!(leg.place, Place::Absorbed | Place::Due)).map(|leg| leg.amount).sum()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn monthly(amount: &str, max_rollover: &str) -> Plan {
    let item = PlanItem {
        id: "credits".parse().unwrap(),
        kind: AllocationKind::Subscription,
        amount: credits(amount),
        share: Share::Organization,
        priority: 0,
        scope: Scope::default(),
        purchased: true,
        max_rollover: credits(max_rollover),
        recurrence: Recurrence {
            every: 1,
            unit: IntervalUnit::Month,
            anchor: "2026-01-01T00:00:00".parse().unwrap(),
            time_zone: "UTC".parse().unwrap(),
        },
        period_start: at("2026-11-01T00:00:00Z"),
        period_end: at("2026-12-01T00:00:00Z"),
    };
    Plan {
        name: "pro".parse().unwrap(),
        trial: false,
        seats: 0,
        users: ["ann".parse().unwrap()].into(),
        items: vec![item],
    }
}

pub(crate) fn set_plan(log: &mut Log, effective_at: Timestamp, plan: Option<Plan>) -> CommandId {
    log.command(CommandBody::SetPlan(org("acme"), SetPlan { effective_at, plan }))
}

pub(crate) fn next_period(
    log: &mut Log,
    plan: &Plan,
    revision: CommandId,
    start: &str,
    end: &str,
) -> AllocationId {
    let item = &plan.items[0];
    let (start, end) = (at(start), at(end));
    let mut next = grant("1");
    next.kind = item.kind;
    next.amount = item.amount;
    next.purchased = item.purchased;
    (next.effective_at, next.expires_at) = (start, Some(end));
    next.period = Some(PlanPeriod { plan: revision, item: item.id.clone(), start, end });
    add(log, next)
}

/// The org is on the plan from the beginning of November, the log begins with it.
pub(crate) fn on_plan(plan: &Plan) -> (Log, CommandId) {
    let mut log = Log::new();
    log.command(CommandBody::OpenOrg(org("acme"), fluxori_core::command::Policy::default()));
    let revision = set_plan(&mut log, at("2026-11-01T00:00:00Z"), Some(plan.clone()));
    (log, revision)
}

#[test]
fn what_is_left_of_november_rolls_over_into_december() {
    let plan = monthly("1000", "200");
    let (mut log, revision) = on_plan(&plan);
    use_tokens(&mut log, 1, 600_000, 0);
    next_period(&mut log, &plan, revision, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    log.now = at("2026-12-01T00:04:59Z");
    log.tick();
    assert_eq!(balance(&acme(&log)), 1_250 * ONE);
    log.now = at("2026-12-01T00:05:00Z");
    log.tick();
    let org = acme(&log);
    let (rollovers, closes) = (of_kind(&org, PostingKind::Rollover), of_kind(&org, PostingKind::Close));
    assert_eq!((rollovers[0].amount, closes[0].amount), (200 * ONE, 50 * ONE));
    assert_eq!(closes[0].effective_at, log.now);
    assert_eq!(balance(&org), 1_200 * ONE);
}

#[test]
fn what_is_left_waits_for_a_period_that_is_published_late() {
    let plan = monthly("1000", "200");
    let (mut log, revision) = on_plan(&plan);
    log.now = at("2026-12-02T00:00:00Z");
    log.tick();
    let org = acme(&log);
    assert_eq!((org.allocations[0].status, balance(&org)), (Status::RollingOver, 200 * ONE));
    next_period(&mut log, &plan, revision, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    next_period(&mut log, &plan, revision, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let (model, became) = modelled(&log);
    assert_eq!(became[became.len() - 2..], [Became::CarriedOut, Became::Rejected]);
    let org = model.org(&fluxori_core::id::OrgId::new("acme").unwrap()).unwrap();
    assert_eq!((org.allocations[0].status, balance(org)), (Status::Closed, 1_200 * ONE));
}

#[test]
fn credits_burn_in_the_order_of_the_example() {
    let mut log = Log::new();
    let (soon, late) = (Some(log.now.after(minutes(600))), Some(log.now.after(minutes(1200))));
    let mut expected = Vec::new();
    let mut one = |change: &dyn Fn(&mut Grant)| {
        let mut one = grant("1");
        one.expires_at = late;
        one.priority = 1;
        change(&mut one);
        expected.push(add(&mut log, one));
    };
    // From the last to the first.
    one(&|g| g.purchased = true);
    one(&|_| ());
    one(&|g| g.kind = AllocationKind::Subscription);
    one(&|g| g.kind = AllocationKind::Quota);
    one(&|g| (g.expires_at, g.priority, g.purchased) = (late, 0, true));
    one(&|g| (g.expires_at, g.priority, g.purchased) = (soon, 0, true));
    one(&|g| g.priority = -1);
    one(&|g| (g.account, g.priority) = (Account::User("ann".parse().unwrap()), 9));
    expected.reverse();
    let mut fields = log.event("acme", event_id(1, true), "gpt-5");
    (fields.input_tokens, fields.output_tokens) = (5_600, 100);
    fields.user_id = Some("ann".parse().unwrap());
    log.usage(fields);
    let org = acme(&log);
    let burnt: Vec<_> = org.debits()[0].split.iter().map(|leg| leg.place).collect();
    assert_eq!(burnt, expected.into_iter().map(Place::Allocation).collect::<Vec<_>>());
}

#[test]
fn overdraft_is_paid_off_by_unscoped_allocations_of_the_organization() {
    let mut log = Log::new();
    add(&mut log, grant("1"));
    use_tokens(&mut log, 1, 4_000, 0);
    assert_eq!(acme(&log).owed(), 4 * ONE);
    let mut scoped = grant("10");
    scoped.scope.models = ["gpt-5".parse().unwrap()].into();
    add(&mut log, scoped);
    assert_eq!(acme(&log).owed(), 4 * ONE);
    let third = add(&mut log, grant("3"));
    assert_eq!((acme(&log).owed(), acme(&log).allocation(third).remaining()), (ONE, 0));
    add(&mut log, grant("3"));
    assert_eq!((acme(&log).owed(), balance(&acme(&log))), (0, 12 * ONE));
}

#[test]
fn cached_tokens_are_charged_at_their_own_rate() {
    let mut log = Log::new();
    add(&mut log, grant("10"));
    let mut fields = log.event("acme", event_id(1, true), "gpt-5");
    (fields.input_tokens, fields.cache_read_input_tokens, fields.output_tokens) = (1_000, 600, 200);
    log.usage(fields);
    assert_eq!(acme(&log).debits()[0].charged, of(credits("2.575")));
}

#[test]
fn a_correction_goes_back_through_what_repaid_the_overdraft() {
    let mut log = Log::new();
    let first = add(&mut log, grant("1"));
    use_tokens(&mut log, 1, 4_000, 0);
    let [second, third] = ["3", "3"].map(|amount| add(&mut log, grant(amount)));
    let mut to = |revision, tokens: i64| {
        let mut quantities = Quantities::default();
        quantities.tokens.input = tokens;
        let change = Change::Replace(Box::new(quantities));
        let correct = Correct { event_id: event_id(1, true), revision, change };
        log.command(CommandBody::Correct(org("acme"), correct));
        acme(&log)
    };
    let left = |org: &Org| [first, second, third].map(|id| org.allocation(id).remaining() / ONE);
    // 5 credits become 2: the 3 that come back were overdraft, repaid with 3 and then 1.
    let org = to(1, 1_600);
    assert_eq!(left(&org), [0, 2, 3]);
    let back = of_kind(&org, PostingKind::Correct)[0];
    let entry = |id, amount| Leg { account: Account::Organization, place: Place::Allocation(id), amount };
    assert_eq!((back.amount, &back.entries), (-3 * ONE, &vec![entry(third, ONE), entry(second, 2 * ONE)]));
    // And 2 become 4 again, which burn down by the order of ids.
    assert_eq!(left(&to(2, 3_200)).iter().sum::<Amount>(), 3);
    assert_eq!(left(&to(3, 0)), [1, 3, 3]);
}

/// Names events of acme and the revisions of their charges.
fn reprice(log: &mut Log, rates: &str, events: &[(u32, i32)]) {
    let events = events.iter().map(|(id, revision)| (event_id(*id, true), *revision)).collect();
    log.command(CommandBody::Reprice(org("acme"), Reprice { rates: rates.parse().unwrap(), events }));
}

fn revisions(org: &Org) -> Vec<(i32, Amount)> {
    org.debits().iter().map(|debit| (debit.revision, debit.charged)).collect()
}

#[test]
fn usage_without_a_price_is_charged_once_it_has_one_and_what_has_it_stays() {
    let mut log = Log::new();
    let id = add(&mut log, grant("10"));
    for (id, model) in [(1, "gpt-99"), (2, "gpt-99"), (3, "o3")] {
        let mut fields = log.event("acme", event_id(id, true), model);
        fields.input_tokens = 1_000;
        log.usage(fields);
    }
    let left = |org: &Org| org.allocation(id).remaining();
    assert_eq!(left(&acme(&log)), 8 * ONE - 3);
    log.next_rates();
    reprice(&mut log, "r2", &[(1, 1), (2, 1), (3, 1)]);
    let org = acme(&log);
    // 1,000 tokens at 3 dollars a million are 3 credits.
    let o3 = (1, 2 * ONE + 3);
    assert_eq!(revisions(&org), [(2, 3 * ONE), (2, 3 * ONE), o3]);
    assert_eq!(left(&org), 2 * ONE - 3);
    assert_eq!(of_kind(&org, PostingKind::Correct).len(), 2);
    // Again, of the charges as they were and as they are: nothing is to be changed.
    let postings = org.postings.len();
    reprice(&mut log, "r2", &[(1, 1), (2, 1), (3, 1)]);
    reprice(&mut log, "r2", &[(1, 2), (2, 2), (3, 1)]);
    assert_eq!(acme(&log).postings.len(), postings);
    assert!(!modelled(&log).1.contains(&Became::Rejected));
}

#[test]
fn a_repricing_is_rejected_as_a_whole_where_it_was_looked_at_under_other_rates_or_names_what_was_not_charged()
{
    let mut log = Log::new();
    add(&mut log, grant("10"));
    let mut fields = log.event("acme", event_id(1, true), "gpt-99");
    fields.input_tokens = 1_000;
    log.usage(fields);
    log.next_rates();
    reprice(&mut log, "r1", &[(1, 1)]);
    reprice(&mut log, "r2", &[(1, 1), (2, 1)]);
    reprice(&mut log, "r2", &[(1, 1), (1, 1)]);
    reprice(&mut log, "r2", &[]);
    let (model, became) = modelled(&log);
    assert_eq!(became[became.len() - 4..], [Became::Rejected; 4]);
    assert_eq!(revisions(model.org(&org("acme")).unwrap()), [(1, 0)]);
}

#[test]
fn a_repricing_leaves_what_was_corrected_meanwhile_what_is_void_and_what_would_cost_too_much() {
    let mut log = Log::new();
    add(&mut log, grant("10"));
    for (id, tokens) in [(1, 1_000), (2, 1_000), (3, 1_000_000_000), (4, 1_000)] {
        let mut fields = log.event("acme", event_id(id, true), "gpt-99");
        fields.input_tokens = tokens;
        log.usage(fields);
    }
    for (id, change) in [(1, Change::Replace(Box::default())), (2, Change::Void)] {
        let correct = Correct { event_id: event_id(id, true), revision: 1, change };
        log.command(CommandBody::Correct(org("acme"), correct));
    }
    log.rates(Card {
        models: vec![model("gpt-99", vec![price("2026-01-01T00:00:00Z", r#"{"input": "10000"}"#)])],
        ..Card::default()
    });
    reprice(&mut log, "r2", &[(1, 1), (2, 2), (3, 1), (4, 1)]);
    let org = acme(&log);
    assert_eq!(revisions(&org), [(2, 0), (2, 0), (1, 0), (2, 10_000 * ONE)]);
}

#[test]
fn a_smaller_plan_in_mid_period_takes_its_share_and_no_more_than_is_left() {
    let plan = monthly("1000", "0");
    let (mut log, _) = on_plan(&plan);
    let mut smaller = monthly("100", "0");
    set_plan(&mut log, at("2026-11-16T00:00:00Z"), Some(smaller.clone()));
    assert_eq!(balance(&acme(&log)), 550 * ONE);
    smaller.items[0].id = "another".parse().unwrap();
    set_plan(&mut log, at("2026-11-16T00:00:00Z"), Some(smaller));
    assert_eq!(balance(&acme(&log)), 550 * ONE);
    set_plan(&mut log, at("2026-11-16T00:00:00Z"), None);
    assert_eq!(balance(&acme(&log)), 500 * ONE);
}

#[test]
fn what_was_used_of_a_credit_limit_is_due_when_it_closes() {
    let mut log = Log::new();
    let mut limit = grant("10");
    limit.kind = AllocationKind::Payg;
    limit.expires_at = Some(log.now.after(minutes(10)));
    let id = add(&mut log, limit);
    use_tokens(&mut log, 1, 4_000, 0);
    log.now = log.now.after(minutes(15));
    log.tick();
    let correct = Correct { event_id: event_id(1, true), revision: 1, change: Change::Void };
    log.command(CommandBody::Correct(org("acme"), correct));
    let org = acme(&log);
    let leg = |place, amount| Leg { account: Account::Organization, place, amount };
    let allocation = Place::Allocation(id);
    let close = of_kind(&org, PostingKind::Close)[0];
    assert_eq!(close.entries, [leg(allocation, -5 * ONE), leg(Place::Due, -5 * ONE)]);
    let back = of_kind(&org, PostingKind::Correct)[0];
    let expected = [leg(allocation, 5 * ONE), leg(allocation, -5 * ONE), leg(Place::Due, 5 * ONE)];
    assert_eq!(back.entries, expected);
}
