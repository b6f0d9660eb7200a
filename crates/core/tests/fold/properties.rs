//! What every history keeps, whatever is in it.

use fluxori_core::command::{Adjust, CommandBody, OverdraftPolicy, Policy};
use fluxori_core::fold::OrgState;
use fluxori_core::id::AllocationId;
use fluxori_core::posting::{Cause, PricedUsage};
use proptest::prelude::*;

use crate::support::{Folded, Log, credits, grant, minutes, org};

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Grant { org: u8, amount: u32, start: i8, minutes: Option<u8>, priority: i8, user: bool, scoped: bool },
    Usage { org: u8, id: u16, tokens: u32, ago: u8, user: bool },
    Adjust { org: u8, index: u8, amount: i32 },
    Policy { org: u8, absorb: bool, grace: u8 },
    Tick,
    Pass { minutes: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u8..3, 1_u32..20, -20_i8..40, proptest::option::of(1_u8..90), -2_i8..3, any::<bool>(), any::<bool>())
            .prop_map(|(org, amount, start, minutes, priority, user, scoped)| Step::Grant {
                org, amount, start, minutes, priority, user, scoped
            }),
        8 => (0_u8..3, 0_u16..200, 0_u32..8000, 0_u8..30, any::<bool>())
            .prop_map(|(org, id, tokens, ago, user)| Step::Usage { org, id, tokens, ago, user }),
        1 => (0_u8..3, any::<u8>(), -15_i32..15).prop_map(|(org, index, amount)| Step::Adjust { org, index, amount }),
        1 => (0_u8..3, any::<bool>(), 0_u8..10).prop_map(|(org, absorb, grace)| Step::Policy { org, absorb, grace }),
        1 => Just(Step::Tick),
        3 => (1_u8..45).prop_map(|minutes| Step::Pass { minutes }),
    ];
    proptest::collection::vec(step, 1..80)
}

fn history(steps: &[Step]) -> Log {
    let mut log = Log::new();
    let mut granted: Vec<AllocationId> = Vec::new();
    for step in steps {
        match *step {
            Step::Grant { org, amount, start, minutes: lasts, priority, user, scoped } => {
                let mut one = grant(&amount.to_string());
                let shift = minutes(u64::from(start.unsigned_abs()));
                one.effective_at = if start < 0 { log.now.before(shift) } else { log.now.after(shift) };
                one.expires_at = lasts.map(|lasts| one.effective_at.after(minutes(u64::from(lasts))));
                one.priority = i32::from(priority);
                if user {
                    one.account = fluxori_core::command::Account::User("ann".parse().unwrap());
                }
                if scoped {
                    one.scope.modules = ["pim".parse().unwrap()].into();
                }
                granted.push(log.grant(&format!("org-{org}"), one));
            }
            Step::Usage { org, id, tokens, ago, user } => {
                let at = log.now.before(minutes(u64::from(ago)));
                let id = u32::from(org) * 1000 + u32::from(id);
                log.usage_with(&format!("org-{org}"), id, i64::from(tokens), 0, |event| {
                    event.occurred_at = at;
                    event.user_id = user.then(|| "ann".parse().unwrap());
                });
            }
            Step::Adjust { org: index_org, index, amount } => {
                let id = granted.get(usize::from(index) % granted.len().max(1)).copied();
                let name = format!("org-{index_org}");
                if let Some(allocation_id) = id {
                    let adjust = Adjust { allocation_id, amount: credits(&amount.to_string()) };
                    log.command(&name, CommandBody::Adjust(org(&name), adjust));
                }
            }
            Step::Policy { org: index, absorb, grace } => {
                let overdraft = if absorb { OverdraftPolicy::Absorb } else { OverdraftPolicy::Carry };
                let policy = Policy { overdraft: Some(overdraft), grace: minutes(u64::from(grace)) };
                let name = format!("org-{index}");
                log.command(&name, CommandBody::SetPolicy(org(&name), policy));
            }
            Step::Tick => log.tick(),
            Step::Pass { minutes: passed } => log.now = log.now.after(minutes(u64::from(passed))),
        }
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Conservation per allocation and org, gapless numbers, balance = sum of entries, no allocation below zero.
    #[test]
    fn every_history_conserves_credits(steps in steps()) {
        let folded = Folded::of(&history(&steps));
        folded.check();
    }

    /// The outcome does not depend on how the log was cut into batches, nor on when states were dropped and loaded
    /// again.
    #[test]
    fn every_cut_into_batches_gives_the_same_postings(steps in steps(), sizes in proptest::collection::vec(1_usize..9, 1..20)) {
        let log = history(&steps);
        let whole = Folded::of(&log);
        let cut = Folded::in_batches(&log, &sizes);
        prop_assert_eq!(&whole.postings, &cut.postings);
        prop_assert_eq!(whole.fold.outcomes(), cut.fold.outcomes());
        prop_assert_eq!(whole.fold.counters(), cut.fold.counters());
    }

    /// A debit that is traced again from the state before it takes the same credits, and says of every allocation that it
    /// passed over why.
    #[test]
    fn a_traced_debit_is_the_posting(steps in steps()) {
        let log = history(&steps);
        let mut folded = Folded::begin(&log);
        for record in &log.records {
            let before: Vec<OrgState> = folded.fold.orgs().cloned().collect();
            let booked = folded.postings.len();
            folded.apply(std::slice::from_ref(record));
            // Where boundaries were booked first, the state before is another one.
            let [posting] = &folded.postings[booked..] else { continue };
            let Cause::Usage(usage) = &posting.cause else { continue };
            let state = before.into_iter().find(|state| *state.org() == posting.org).unwrap();
            let traced = state.trace_debit(PricedUsage::clone(usage), posting.recorded_at).unwrap();
            prop_assert_eq!(&traced.entries, &posting.entries);
            for considered in traced.considered {
                prop_assert_eq!(considered.skipped.is_none(), considered.taken.is_positive());
            }
        }
    }

    /// Sending any part of the usage and commands again changes no balance.
    #[test]
    fn replaying_any_prefix_changes_nothing(steps in steps(), share in 0.0_f64..1.0) {
        let log = history(&steps);
        let mut again = log.clone();
        again.replay_prefix(share);
        let (once, twice) = (Folded::of(&log), Folded::of(&again));
        for state in once.fold.orgs() {
            let other = twice.org(state.org().as_str());
            prop_assert_eq!(state.record.head, other.record.head);
            prop_assert_eq!(&state.record.totals, &other.record.totals);
        }
    }
}
