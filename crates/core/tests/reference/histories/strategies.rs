//! What may happen, and how often.

use std::collections::BTreeSet;

use fluxori_core::command::{AllocationKind, OverdraftPolicy, Share};
use fluxori_core::usage::Certainty;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{
    Call, Item, NewPlan, Of, PeriodTwist, Quarters, RightIs, Step, Target, Terms, Tokens, Twist, Variant,
};

/// A whole history: of everything, or mostly of plans, or mostly of corrections.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![mostly([8, 16, 14, 8, 8, 3]), mostly([8, 6, 4, 16, 3, 1]), mostly([6, 14, 8, 2, 16, 1])]
}

/// With these weights of time, usage, credits, plans, corrections and the rest. Most histories begin with an open org.
fn mostly(
    [of_time, of_usage, of_credits, of_plans, of_corrections, of_rest]: [u32; 6],
) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        of_time => time().boxed(),
        of_usage => usage().boxed(),
        of_credits => credits().boxed(),
        of_plans => plans().boxed(),
        of_corrections => corrections().boxed(),
        of_rest => rest().boxed(),
    ];
    (option::weighted(0.8, granted()), vec(step, 1..70)).prop_map(|(first, mut steps)| {
        steps.splice(..0, first);
        steps
    })
}

fn time() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Tick),
        8 => (1_u64..50).prop_map(Step::PassMinutes),
        1 => (1_u64..3).prop_map(Step::PassMicros),
        1 => (1_u64..20).prop_map(Step::PassHours),
        1 => (1_u64..40).prop_map(Step::PassDays),
        1 => (1_u64..30).prop_map(Step::GoBack),
    ]
}

fn usage() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (org(), call()).prop_map(|(org, call)| Step::Usage { org, call }),
        4 => (any::<usize>(), twist()).prop_map(|(event, twist)| Step::Again { event, twist }),
    ]
}

fn credits() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => granted(),
        1 => policy().prop_map(|(org, overdraft, grace)| Step::SetPolicy { org, overdraft, grace }),
        1 => policy().prop_map(|(org, overdraft, grace)| Step::OpenOrg { org, overdraft, grace }),
        2 => (of(), -20_i32..20, any::<bool>())
            .prop_map(|(of, count, more)| Step::Adjust { of, amount: Quarters { count, more } }),
        3 => (of(), 0_usize..3, 0_i32..9, any::<bool>()).prop_map(|(of, to, count, more)| {
            Step::Transfer { of, to, amount: Quarters { count, more } }
        }),
        2 => (of(), option::weighted(0.9, -20_i64..90)).prop_map(|(of, by)| Step::Extend { of, by }),
    ]
}

fn granted() -> impl Strategy<Value = Step> {
    (org(), account(), terms(), -60_i64..60, option::weighted(0.8, 1_u64..150))
        .prop_map(|(org, account, terms, start, lasts)| Step::Grant { org, account, terms, start, lasts })
}

fn plans() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (org(), option::weighted(0.85, plan()), -6_i64..45)
            .prop_map(|(org, plan, ago)| Step::SetPlan { org, plan, ago }),
        3 => (org(), 0_u32..4, 0_usize..4, -2_i64..45)
            .prop_map(|(org, seats, users, ago)| Step::ChangePlan { org, seats, users, ago }),
        12 => (of(), period_twist(), any::<bool>())
            .prop_map(|(of, twist, own_id)| Step::Period { of, twist, own_id }),
    ]
}

fn corrections() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (org(), target(), prop::bool::weighted(0.1), right())
            .prop_map(|(org, target, older, right)| Step::Correct { org, target, older, right }),
        6 => repricing(),
        1 => Just(Step::NewRates),
        2 => (of(), prop::bool::weighted(0.1))
            .prop_map(|(of, other_digest)| Step::Release { of, other_digest }),
        1 => (of(), prop::bool::weighted(0.2)).prop_map(|(of, elsewhere)| Step::Dismiss { of, elsewhere }),
    ]
}

fn repricing() -> impl Strategy<Value = Step> {
    let rates_ago = prop_oneof![9 => Just(0_u32), 1 => Just(1)];
    (org(), any::<usize>(), 0_usize..9, prop::bool::weighted(0.1), rates_ago, option::weighted(0.1, target()))
        .prop_map(|(org, first, count, older, rates_ago, beside)| Step::Reprice {
            org,
            first,
            count,
            older,
            rates_ago,
            beside,
        })
}

fn rest() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<usize>(), prop::bool::weighted(0.3))
            .prop_map(|(command, other)| Step::CommandAgain { command, other }),
        2 => (org(), account(), any::<bool>())
            .prop_map(|(org, account, resume)| Step::Suspend { org, account, resume }),
        1 => (org(), call()).prop_map(|(org, call)| Step::WrongKey { org, call }),
        1 => org().prop_map(|org| Step::Unreadable { org }),
        1 => Just(Step::NewRates),
    ]
}

fn org() -> impl Strategy<Value = usize> {
    prop_oneof![12 => Just(0_usize), 2 => Just(1), 1 => Just(2)]
}

fn of() -> impl Strategy<Value = Of> {
    (org(), any::<usize>()).prop_map(|(org, index)| Of { org, index })
}

/// 0: the organization, then users.
fn account() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0_usize), 1 => Just(1), 1 => Just(2)]
}

fn quarters() -> impl Strategy<Value = Quarters> {
    let count = prop_oneof![1 => Just(0_i32), 30 => 1_i32..40];
    (count, prop::bool::weighted(0.2)).prop_map(|(count, more)| Quarters { count, more })
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (0_i64..6_000, 0_i64..1_500, 0_i64..300, 0_i64..300, prop::bool::weighted(0.1))
        .prop_map(|(input, cached, output, special, pages)| Tokens { input, cached, output, special, pages })
}

fn certainty() -> impl Strategy<Value = Certainty> {
    prop_oneof![2 => Just(Certainty::Exact), 3 => Just(Certainty::AtLeast), 1 => Just(Certainty::Unknown)]
}

fn call() -> impl Strategy<Value = Call> {
    let variant = prop_oneof![
        20 => Just(Variant::Plain),
        1 => Just(Variant::OwnKey),
        1 => Just(Variant::FromCache),
        1 => Just(Variant::Batch),
        2 => Just(Variant::Revision2),
        1 => Just(Variant::Absurd),
    ];
    let days = 24 * 60;
    let ago = prop_oneof![
        6 => Just(0_i64),
        6 => 0_i64..90,
        1 => -4_i64..0,
        1 => -8_i64..-4,
        1 => 1..34 * days,
        1 => 34 * days..37 * days,
        1 => Just(35 * days),
    ];
    let user = prop_oneof![2 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    (0_usize..9, tokens(), ago, user, 0_usize..2, any::<bool>(), certainty(), variant).prop_map(
        |(model, tokens, ago, user, module, feature, certainty, variant)| Call {
            model,
            tokens,
            ago,
            user,
            module,
            feature,
            certainty,
            variant,
        },
    )
}

fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        2 => Just(Twist::Same),
        1 => Just(Twist::NoBearing),
        1 => Just(Twist::OtherTokens),
        1 => Just(Twist::OtherUser),
        5 => (tokens(), certainty()).prop_map(|(tokens, certainty)| Twist::Supersedes { tokens, certainty }),
        1 => tokens().prop_map(|tokens| Twist::SupersedesAnotherUsers { tokens }),
        1 => tokens().prop_map(|tokens| Twist::Revision1 { tokens }),
    ]
}

fn kind() -> impl Strategy<Value = AllocationKind> {
    prop_oneof![
        2 => Just(AllocationKind::Prepaid),
        2 => Just(AllocationKind::Subscription),
        1 => Just(AllocationKind::Quota),
        2 => Just(AllocationKind::Payg),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    let scope = prop_oneof![5 => Just(0_usize), 2 => 1_usize..7];
    (kind(), quarters(), -1_i32..2, scope, any::<bool>()).prop_map(
        |(kind, amount, priority, scope, purchased)| Terms { kind, amount, priority, scope, purchased },
    )
}

fn policy() -> impl Strategy<Value = (usize, Option<OverdraftPolicy>, u64)> {
    let overdraft = prop_oneof![
        2 => Just(None),
        2 => Just(Some(OverdraftPolicy::Carry)),
        1 => Just(Some(OverdraftPolicy::Absorb)),
    ];
    // 35 days is the longest grace.
    let grace = prop_oneof![8 => 0_u64..20, 1 => 35 * 24 * 60_u64 - 1..35 * 24 * 60 + 2];
    (org(), overdraft, grace)
}

fn item() -> impl Strategy<Value = Item> {
    let share = prop_oneof![
        2 => Just(Share::Organization),
        1 => Just(Share::Seat),
        2 => Just(Share::User),
    ];
    let kind = prop_oneof![
        16 => Just(AllocationKind::Subscription),
        6 => Just(AllocationKind::Quota),
        6 => Just(AllocationKind::Payg),
        // Refused.
        1 => Just(AllocationKind::Prepaid),
    ];
    (0_usize..3, kind, terms(), share, 0_i32..30, prop::bool::weighted(0.3)).prop_map(
        |(id, kind, terms, share, max_rollover, hour)| {
            let terms = Terms { kind, ..terms };
            Item { id, terms, share, max_rollover, hour }
        },
    )
}

fn plan() -> impl Strategy<Value = NewPlan> {
    (vec(item(), 1..4), prop::bool::weighted(0.1), prop::bool::weighted(0.2), 0_u32..4, 0_usize..4).prop_map(
        |(mut items, twice, trial, seats, users)| {
            // An item twice is refused.
            let mut seen = BTreeSet::new();
            items.retain(|item| seen.insert(item.id) || twice);
            NewPlan { items, trial, seats, users }
        },
    )
}

fn period_twist() -> impl Strategy<Value = PeriodTwist> {
    prop_oneof![
        12 => Just(PeriodTwist::Right),
        1 => Just(PeriodTwist::Stale),
        1 => Just(PeriodTwist::Gap),
        1 => Just(PeriodTwist::WrongAmount),
        1 => Just(PeriodTwist::WrongAccount),
        1 => Just(PeriodTwist::OtherOrg),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![8 => any::<usize>().prop_map(Target::Known), 2 => (0_u32..3).prop_map(Target::Coming)]
}

fn right() -> impl Strategy<Value = RightIs> {
    prop_oneof![
        3 => Just(RightIs::Nothing),
        8 => tokens().prop_map(RightIs::Used),
        1 => Just(RightIs::Absurd),
    ]
}
