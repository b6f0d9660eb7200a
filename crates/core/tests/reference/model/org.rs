//! Everything that ever happened to one org, and what follows from it.

use std::collections::BTreeMap;

use fluxori_core::command::{Account, AllocationKind, Correct, OverdraftPolicy, Plan, Policy, Scope};
use fluxori_core::id::{AllocationId, CommandId, ItemId, OrgId};
use fluxori_core::posting::PostingKind;
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantities, UsageEvent};

use super::amount::Amount;
use super::prices::ModelPrice;

/// Where credits lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Allocation(AllocationId),
    Overdraft,
    Absorbed,
    Due,
}

/// An entry of a posting, or what a debit took from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) account: Account,
    pub(crate) place: Place,
    pub(crate) amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) org: OrgId,
    pub(crate) number: i64,
    pub(crate) kind: PostingKind,
    pub(crate) effective_at: Timestamp,
    pub(crate) amount: Amount,
    pub(crate) entries: Vec<Leg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Scheduled,
    Open,
    RollingOver,
    Closed,
}

/// A period of an item of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) item: ItemId,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// Why the credits of an allocation became more or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Movement {
    Granted,
    Adjusted,
    Moved,
    Consumed,
    Repaid,
    Expired,
}

#[derive(Debug, Clone)]
pub(crate) struct Allocation {
    pub(crate) id: AllocationId,
    pub(crate) account: Account,
    pub(crate) kind: AllocationKind,
    pub(crate) purchased: bool,
    pub(crate) priority: i32,
    pub(crate) scope: Scope,
    pub(crate) effective_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) period: Option<Period>,
    pub(crate) status: Status,
    pub(crate) movements: Vec<(Movement, Amount)>,
}

impl Allocation {
    pub(crate) fn sum(&self, of: Movement) -> Amount {
        self.movements.iter().filter(|(movement, _)| *movement == of).map(|(_, amount)| amount).sum()
    }

    pub(crate) fn remaining(&self) -> Amount {
        let came = self.sum(Movement::Granted) + self.sum(Movement::Adjusted) + self.sum(Movement::Moved);
        came - self.sum(Movement::Consumed) - self.sum(Movement::Repaid) - self.sum(Movement::Expired)
    }

    /// What of a credit limit was used.
    pub(crate) fn used(&self) -> Amount {
        self.sum(Movement::Consumed) + self.sum(Movement::Repaid)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.status, Status::Scheduled | Status::Open)
    }

    pub(crate) fn is_of(&self, item: &ItemId, account: &Account) -> bool {
        self.account == *account && self.period.as_ref().is_some_and(|period| period.item == *item)
    }
}

/// An entry of what credit limits lent: the organization owes it, whoever used it.
pub(crate) fn due(amount: Amount) -> Leg {
    Leg { account: Account::Organization, place: Place::Due, amount }
}

/// A usage event that was charged.
#[derive(Debug, Clone)]
pub(crate) struct Debit {
    pub(crate) event: UsageEvent,
    pub(crate) superseded_by: Option<UsageEvent>,
    /// What was used, as it is right; none: the charge is void.
    pub(crate) used: Option<Quantities>,
    pub(crate) price: Option<ModelPrice>,
    pub(crate) charged: Amount,
    pub(crate) revision: i32,
    pub(crate) split: Vec<Leg>,
}

/// A record in the quarantine.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) offset: i64,
    pub(crate) event: Option<UsageEvent>,
    pub(crate) reason: QuarantineReason,
    pub(crate) released: bool,
}

/// A correction that came before its event.
#[derive(Debug, Clone)]
pub(crate) struct EarlyCorrection {
    pub(crate) correct: Correct,
    pub(crate) issued_at: Timestamp,
    pub(crate) done: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct PlanInForce {
    pub(crate) revision: CommandId,
    pub(crate) plan: Plan,
    /// Where the last period of each item and account ends.
    pub(crate) ends: BTreeMap<(ItemId, Account), Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct Org {
    pub(crate) id: OrgId,
    pub(crate) open: bool,
    pub(crate) policy: Policy,
    pub(crate) plan: Option<PlanInForce>,
    pub(crate) plan_changed_at: Option<Timestamp>,
    pub(crate) allocations: Vec<Allocation>,
    /// What each allocation has paid of the overdraft, in order; the amount becomes less when credits come back.
    pub(crate) repayments: Vec<(AllocationId, Amount)>,
    pub(crate) debits: Vec<Debit>,
    pub(crate) early_corrections: Vec<EarlyCorrection>,
    /// Every command that was carried out or rejected, and its payload.
    pub(crate) commands: Vec<(CommandId, Vec<u8>)>,
    pub(crate) quarantine: Vec<Held>,
    pub(crate) postings: Vec<Posted>,
}

impl Org {
    pub(crate) fn new(id: OrgId) -> Self {
        Self {
            id,
            open: false,
            policy: Policy::default(),
            plan: None,
            plan_changed_at: None,
            allocations: Vec::new(),
            repayments: Vec::new(),
            debits: Vec::new(),
            early_corrections: Vec::new(),
            commands: Vec::new(),
            quarantine: Vec::new(),
            postings: Vec::new(),
        }
    }

    pub(crate) fn post(
        &mut self,
        kind: PostingKind,
        effective_at: Timestamp,
        amount: Amount,
        entries: Vec<Leg>,
    ) {
        let number = i64::try_from(self.postings.len()).unwrap() + 1;
        self.postings.push(Posted { org: self.id.clone(), number, kind, effective_at, amount, entries });
    }

    pub(crate) fn setting(&mut self, effective_at: Timestamp) {
        self.post(PostingKind::Setting, effective_at, 0, Vec::new());
    }

    pub(crate) fn allocation(&self, id: AllocationId) -> &Allocation {
        self.allocations.iter().find(|allocation| allocation.id == id).unwrap()
    }

    pub(crate) fn allocation_mut(&mut self, id: AllocationId) -> &mut Allocation {
        self.allocations.iter_mut().find(|allocation| allocation.id == id).unwrap()
    }

    pub(crate) fn live(&self, id: AllocationId) -> Option<&Allocation> {
        self.allocations.iter().find(|allocation| allocation.id == id && allocation.is_live())
    }

    pub(crate) fn note(&mut self, id: AllocationId, movement: Movement, amount: Amount) {
        self.allocation_mut(id).movements.push((movement, amount));
    }

    /// An entry of an allocation, on its account.
    pub(crate) fn entry(&self, id: AllocationId, amount: Amount) -> Leg {
        Leg { account: self.allocation(id).account.clone(), place: Place::Allocation(id), amount }
    }

    /// What the org owes: all that became overdraft less all that was paid off.
    pub(crate) fn owed(&self) -> Amount {
        let legs = self.debits.iter().flat_map(|debit| &debit.split);
        let incurred: Amount = legs.filter(|leg| leg.place == Place::Overdraft).map(|leg| leg.amount).sum();
        incurred - self.repayments.iter().map(|(_, amount)| amount).sum::<Amount>()
    }

    /// Where usage goes that nothing covers.
    pub(crate) fn uncovered(&self) -> Place {
        let trial = self.plan.as_ref().is_some_and(|in_force| in_force.plan.trial);
        match self.policy.overdraft {
            Some(OverdraftPolicy::Carry) => Place::Overdraft,
            Some(OverdraftPolicy::Absorb) => Place::Absorbed,
            None if trial => Place::Absorbed,
            None => Place::Overdraft,
        }
    }
}
