//! Pure: the state of one org.

use std::cmp::Reverse;

use crate::amount::{AmountError, Credits};
use crate::command::{Account, AllocationKind, Grant, Policy, Scope};
use crate::digest::Digest;
use crate::id::{AllocationId, OrgId};
use crate::time::Timestamp;

/// Where an allocation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllocationStatus {
    /// Granted, not yet spendable.
    Scheduled,
    /// Spendable.
    Open,
    /// Ended.
    Closed,
}

impl AllocationStatus {
    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Credits granted to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Identity: that of the command that granted it.
    pub id: AllocationId,
    /// Who may spend it.
    pub account: Account,
    /// Which kind it is.
    pub kind: AllocationKind,
    /// Paid for, rather than free.
    pub purchased: bool,
    /// Lower burns first.
    pub priority: i32,
    /// What it may be spent on.
    pub scope: Scope,
    /// First instant at which it may be spent.
    pub effective_at: Timestamp,
    /// First instant at which it may no longer be spent.
    pub expires_at: Option<Timestamp>,
    /// Where it is in its life.
    pub status: AllocationStatus,
    /// Credits granted.
    pub granted: Credits,
    /// Credits added by hand, less those taken.
    pub adjusted: Credits,
    /// Credits spent on usage.
    pub consumed: Credits,
    /// Credits that paid off overdraft.
    pub repaid: Credits,
    /// Credits that expired.
    pub expired: Credits,
    /// Credits left. Always granted + adjusted = remaining + consumed + repaid + expired.
    pub remaining: Credits,
}

impl Allocation {
    /// Whether it could pay for usage at `occurred_at`, if its scope fits.
    #[must_use]
    pub fn is_active_at(&self, occurred_at: Timestamp) -> bool {
        self.effective_at <= occurred_at && self.expires_at.is_none_or(|expires_at| occurred_at < expires_at)
    }

    /// Whether this grant made it, or one like it: with `at_any_time` only the length of its span counts, as when the
    /// beginning was not asked for.
    #[must_use]
    pub fn is_of(&self, grant: &Grant, at_any_time: bool) -> bool {
        let span =
            |from: Timestamp, to: Option<Timestamp>| to.map(|to| to.micros().saturating_sub(from.micros()));
        let same_length =
            span(self.effective_at, self.expires_at) == span(grant.effective_at, grant.expires_at);
        let same_time = (at_any_time || self.effective_at == grant.effective_at)
            && (self.expires_at == grant.expires_at || (at_any_time && same_length));
        same_time
            && self.account == grant.account
            && self.kind == grant.kind
            && self.granted == grant.amount
            && self.priority == grant.priority
            && self.scope == grant.scope
            && self.purchased == grant.purchased
    }

    /// When its next boundary is due: its opening, or its closing after the grace.
    #[must_use]
    pub fn due_at(&self, policy: &Policy) -> Option<Timestamp> {
        match self.status {
            AllocationStatus::Scheduled => Some(self.effective_at),
            AllocationStatus::Open => self.expires_at.map(|expires_at| expires_at.after(policy.grace)),
            AllocationStatus::Closed => None,
        }
    }

    /// The place in the burn-down: the user's own first, then priority, expiry (none last), kind, free before
    /// purchased, begin, id.
    pub(super) fn burn_order(&self) -> impl Ord + '_ {
        (
            &self.account,
            self.priority,
            Reverse(self.expires_at.map(Reverse)),
            self.kind,
            self.purchased,
            self.effective_at,
            self.id,
        )
    }
}

/// What an org's postings add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrgTotals {
    /// Credits of all grants.
    pub granted: Credits,
    /// Credits adjusted by hand.
    pub adjusted: Credits,
    /// Credits charged for usage. Always = consumed + overdraft incurred + absorbed.
    pub charged: Credits,
    /// Part of the charges that allocations paid.
    pub consumed: Credits,
    /// Part of the charges that became overdraft.
    pub overdraft_incurred: Credits,
    /// Part of the charges that was recorded and not owed.
    pub absorbed: Credits,
    /// Overdraft that later allocations paid off.
    pub repaid: Credits,
    /// Credits that expired unspent.
    pub expired: Credits,
}

/// The state of one open org: everything that its next posting depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgState {
    /// Whose.
    pub org: OrgId,
    /// Number of the last posting.
    pub number: i64,
    /// Running digest up to it.
    pub head: Digest,
    /// What the org has chosen.
    pub policy: Policy,
    /// What the postings add up to.
    pub totals: OrgTotals,
    /// Scheduled and open allocations, in the order of burn-down.
    allocations: Vec<Allocation>,
    /// Allocations that changed since [`OrgState::take_changed`], in the order of their first change.
    changed: Vec<AllocationId>,
    /// Allocations that closed since then.
    closed: Vec<Allocation>,
}

impl OrgState {
    /// An org that has just been opened.
    #[must_use]
    pub fn new(org: OrgId, policy: Policy) -> Self {
        Self::restore(org, 0, Digest::default(), policy, OrgTotals::default(), Vec::new())
    }

    /// An org as stored: its totals, head and live allocations.
    #[must_use]
    pub fn restore(
        org: OrgId,
        number: i64,
        head: Digest,
        policy: Policy,
        totals: OrgTotals,
        mut allocations: Vec<Allocation>,
    ) -> Self {
        allocations.retain(|allocation| allocation.status != AllocationStatus::Closed);
        allocations.sort_by(|a, b| a.burn_order().cmp(&b.burn_order()));
        Self { org, number, head, policy, totals, allocations, changed: Vec::new(), closed: Vec::new() }
    }

    /// Scheduled and open allocations, in the order of burn-down.
    #[must_use]
    pub fn allocations(&self) -> &[Allocation] {
        &self.allocations
    }

    /// What is owed.
    pub fn overdraft(&self) -> Result<Credits, AmountError> {
        self.totals.overdraft_incurred.minus(self.totals.repaid)
    }

    /// What is left in open allocations less what is owed: the sum of all entries.
    pub fn balance(&self) -> Result<Credits, AmountError> {
        let mut open =
            self.allocations.iter().filter(|allocation| allocation.status == AllocationStatus::Open);
        let left = open.try_fold(Credits::ZERO, |sum, allocation| sum.plus(allocation.remaining))?;
        left.minus(self.overdraft()?)
    }

    /// When the next opening or closing is due.
    #[must_use]
    pub fn next_boundary(&self) -> Option<Timestamp> {
        self.allocations.iter().filter_map(|allocation| allocation.due_at(&self.policy)).min()
    }

    /// The allocations that changed since the last call, closed ones included, each once.
    pub fn take_changed(&mut self) -> Vec<Allocation> {
        let mut changed = std::mem::take(&mut self.closed);
        for id in std::mem::take(&mut self.changed) {
            changed.extend(self.allocations.iter().find(|allocation| allocation.id == id).cloned());
        }
        changed
    }

    pub(super) fn touch(&mut self, id: AllocationId) {
        if !self.changed.contains(&id) {
            self.changed.push(id);
        }
    }

    pub(super) fn insert(&mut self, allocation: Allocation) {
        self.touch(allocation.id);
        let index = self.allocations.partition_point(|other| other.burn_order().lt(&allocation.burn_order()));
        self.allocations.insert(index, allocation);
    }

    pub(super) fn allocation_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        self.allocations.iter_mut().find(|allocation| allocation.id == id)
    }

    pub(super) fn allocations_mut(&mut self) -> &mut [Allocation] {
        &mut self.allocations
    }

    pub(super) fn remove(&mut self, id: AllocationId) {
        self.changed.retain(|changed| *changed != id);
        if let Some(index) = self.allocations.iter().position(|allocation| allocation.id == id) {
            let mut allocation = self.allocations.remove(index);
            allocation.status = AllocationStatus::Closed;
            self.closed.push(allocation);
        }
    }

    /// What must always hold; the first thing that does not, in words. Used by tests and `ledger verify`.
    pub fn check_invariants(&self) -> Result<(), String> {
        let fail = |what: &str| Err(format!("org {}: {what}", self.org));
        let sum = |parts: &[Credits]| {
            parts
                .iter()
                .try_fold(Credits::ZERO, |sum, part| sum.plus(*part))
                .map_err(|error| error.to_string())
        };
        for allocation in self.allocations.iter().chain(&self.closed) {
            let brought = sum(&[allocation.granted, allocation.adjusted])?;
            let went =
                sum(&[allocation.remaining, allocation.consumed, allocation.repaid, allocation.expired])?;
            if brought != went {
                return fail(&format!(
                    "allocation {} brought {brought} but {went} is accounted for",
                    allocation.id
                ));
            }
            if allocation.remaining.is_negative() {
                return fail(&format!("allocation {} is below zero", allocation.id));
            }
        }
        let totals = &self.totals;
        if totals.charged != sum(&[totals.consumed, totals.overdraft_incurred, totals.absorbed])? {
            return fail("charges are not consumed + overdraft + absorbed");
        }
        let scheduled = self.allocations.iter().filter(|a| a.status == AllocationStatus::Scheduled);
        let waiting = sum(&scheduled.map(|a| a.remaining).collect::<Vec<_>>())?;
        let brought = sum(&[totals.granted, totals.adjusted])?;
        let went = sum(&[
            self.balance().map_err(|error| error.to_string())?,
            self.overdraft().map_err(|error| error.to_string())?,
            waiting,
            totals.consumed,
            totals.repaid,
            totals.expired,
        ])?;
        if brought != went { fail(&format!("{brought} came in but {went} is accounted for")) } else { Ok(()) }
    }
}
