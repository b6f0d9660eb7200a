//! What the numbers of a step stand for.

use std::collections::BTreeSet;

use fluxori_core::amount::Credits;
use fluxori_core::command::{Account, AllocationKind, Grant, OverdraftPolicy, Plan, PlanItem, Policy, Scope};
use fluxori_core::id::{EventId, OrgId, UserId};
use fluxori_core::period::{IntervalUnit, Recurrence};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantities, Quantity, UsageFields};

use super::{Item, NewPlan, Quarters, Terms, Tokens};
use crate::log::{event_id, minutes, org};

pub(super) const ORGS: [&str; 3] = ["acme", "globex", "initech"];
pub(super) const USERS: [&str; 2] = ["ann", "bob"];
pub(super) const MODELS: [&str; 9] =
    ["gpt-5", "o3", "o3-latest", "embed", "gpt-5-2025-08-07", "o3-20250416", "gpt-99", "gpt-5", DEAR];
/// A few tokens of it are much, and the most that an event can have are more than it can cost.
pub(super) const DEAR: &str = "dear";
pub(super) const MINUTE: i64 = 60_000_000;

pub(super) fn planned(plan: &NewPlan, effective_at: Timestamp) -> Plan {
    let item = |item: &Item| {
        let (period_start, period_end) = slot(effective_at, item.hour);
        let subscription = item.terms.kind == AllocationKind::Subscription;
        let max_rollover = if subscription { item.max_rollover } else { 0 };
        PlanItem {
            id: ["api", "chat", "storage"][item.id].parse().unwrap(),
            kind: item.terms.kind,
            amount: credits(item.terms.amount),
            share: item.share,
            priority: item.terms.priority,
            scope: scope(item.terms.scope),
            purchased: item.terms.purchased,
            max_rollover: credits(Quarters { count: max_rollover, more: false }),
            recurrence: Recurrence {
                every: 1 + u32::from(item.hour),
                unit: IntervalUnit::Day,
                anchor: "2026-01-01T00:00:00".parse().unwrap(),
                time_zone: "UTC".parse().unwrap(),
            },
            period_start,
            period_end,
        }
    };
    Plan {
        name: "plan".parse().unwrap(),
        trial: plan.trial,
        seats: plan.seats,
        users: user_set(plan.users),
        items: plan.items.iter().map(item).collect(),
    }
}

pub(super) fn pick<T>(from: &[T], index: usize) -> Option<&T> {
    from.get(index.checked_rem(from.len())?)
}

pub(super) fn org_id(index: usize) -> OrgId {
    org(ORGS[index])
}

pub(super) fn user(index: usize) -> UserId {
    USERS[index].parse().unwrap()
}

pub(super) fn account(index: usize) -> Account {
    index.checked_sub(1).map(user).into()
}

/// No, one or both users, or a third one alone.
pub(super) fn user_set(choice: usize) -> BTreeSet<UserId> {
    match choice {
        0 => BTreeSet::new(),
        1 => [user(0)].into(),
        2 => [user(0), user(1)].into(),
        _ => [user(1)].into(),
    }
}

/// One event in five has a foreign id.
pub(super) fn numbered(number: u32) -> EventId {
    event_id(number, number % 5 != 4)
}

pub(super) fn credits(quarters: Quarters) -> Credits {
    let more = if quarters.more { 7 } else { 0 };
    Credits::from_scaled(i128::from(quarters.count) * 250_000_000_000 + more).unwrap()
}

pub(super) fn policy(overdraft: Option<OverdraftPolicy>, grace: u64) -> Policy {
    Policy { overdraft, grace: minutes(grace) }
}

pub(super) fn scope(choice: usize) -> Scope {
    let mut scope = Scope::default();
    match choice {
        1 => scope.modules = ["pim".parse().unwrap()].into(),
        2 => scope.features = ["search".parse().unwrap()].into(),
        3 => scope.models = ["gpt-5".parse().unwrap()].into(),
        4 => scope.models = ["o3".parse().unwrap(), "embed".parse().unwrap()].into(),
        5 => {
            scope.modules = ["pim".parse().unwrap(), "rag-retrieval".parse().unwrap()].into();
            scope.models = ["gpt-5".parse().unwrap()].into();
        }
        6 => scope.models = ["o3-20250416".parse().unwrap()].into(),
        _ => {}
    }
    scope
}

pub(super) fn granted(
    account: Account,
    terms: &Terms,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
) -> Grant {
    Grant {
        account,
        kind: terms.kind,
        amount: credits(terms.amount),
        effective_at,
        expires_at,
        priority: terms.priority,
        scope: scope(terms.scope),
        purchased: terms.purchased,
        period: None,
    }
}

pub(super) fn is_dear(fields: &UsageFields) -> bool {
    fields.request_model.as_str() == DEAR
}

pub(super) fn quantities(mut tokens: Tokens, dear: bool) -> Quantities {
    if dear {
        (tokens.input, tokens.output, tokens.special) = (tokens.input / 2_000, tokens.output / 100, 0);
    }
    let mut quantities = Quantities::default();
    let counts = &mut quantities.tokens;
    counts.input = tokens.input;
    counts.cache_read = tokens.cached.min(tokens.input);
    counts.cache_write_1h = tokens.special.min(tokens.input - counts.cache_read);
    counts.output = tokens.output;
    counts.reasoning = tokens.special.min(tokens.output);
    if tokens.special % 7 == 1 {
        counts.audio_output = tokens.output;
    }
    if tokens.pages {
        quantities.units.insert("pages".to_owned(), Quantity(rust_decimal::Decimal::ONE));
    }
    quantities
}

pub(super) fn absurd() -> Quantities {
    let mut quantities = Quantities::default();
    quantities.tokens.input = 1_000_000_000;
    quantities.tokens.output = 1_000_000_000;
    quantities
}

/// Periods lie on a grid, so that plans that follow each other have the same ones in course.
pub(super) fn slot(at: Timestamp, hour: bool) -> (Timestamp, Timestamp) {
    let length = if hour { 60 } else { 30 } * MINUTE;
    let start = at.micros().div_euclid(length) * length;
    (Timestamp::from_micros(start), Timestamp::from_micros(start + length))
}

pub(super) fn is_of_an_hour(item: &PlanItem) -> bool {
    item.recurrence.every == 2
}
