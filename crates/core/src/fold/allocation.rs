//! Pure: one allocation and its life.

use std::cmp::Reverse;

use crate::amount::{AmountError, Credits};
use crate::command::{Account, AllocationKind, Grant, PlanPeriod, Policy, Scope};
use crate::id::AllocationId;
use crate::time::Timestamp;

/// Where an allocation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllocationStatus {
    /// Granted, not yet spendable.
    Scheduled,
    /// Spendable.
    Open,
    /// Ended; what is left waits for the next period to open and rolls over into it.
    RollingOver,
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
            Self::RollingOver => "rolling_over",
            Self::Closed => "closed",
        }
    }

    /// Whether it can still be spent, now or later.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Scheduled | Self::Open)
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
    /// Which period of the org's plan it is, if it is one.
    pub period: Option<PlanPeriod>,
    /// Where it is in its life.
    pub status: AllocationStatus,
    /// Credits granted.
    pub granted: Credits,
    /// Credits added by hand or by a change of plan, less those taken.
    pub adjusted: Credits,
    /// Credits that transfers and rollovers brought in, less those they took out.
    pub moved: Credits,
    /// Credits spent on usage.
    pub consumed: Credits,
    /// Credits that paid off overdraft.
    pub repaid: Credits,
    /// Number of the posting that paid it off; 0 if there was none.
    pub repaid_in: i64,
    /// Credits that expired.
    pub expired: Credits,
    /// Credits left. Always granted + adjusted + moved = remaining + consumed + repaid + expired.
    pub remaining: Credits,
}

impl Allocation {
    /// What a grant makes.
    #[must_use]
    pub fn scheduled(id: AllocationId, grant: &Grant) -> Self {
        Self {
            id,
            account: grant.account.clone(),
            kind: grant.kind,
            purchased: grant.purchased,
            priority: grant.priority,
            scope: grant.scope.clone(),
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
            period: grant.period.clone(),
            status: AllocationStatus::Scheduled,
            granted: grant.amount,
            adjusted: Credits::ZERO,
            moved: Credits::ZERO,
            consumed: Credits::ZERO,
            repaid: Credits::ZERO,
            repaid_in: 0,
            expired: Credits::ZERO,
            remaining: grant.amount,
        }
    }

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
            && self.period == grant.period
    }

    /// When its next boundary is due: its opening, or its closing after the grace.
    #[must_use]
    pub fn due_at(&self, policy: &Policy) -> Option<Timestamp> {
        match self.status {
            AllocationStatus::Scheduled => Some(self.effective_at),
            AllocationStatus::Open => self.expires_at.map(|expires_at| expires_at.after(policy.grace)),
            AllocationStatus::RollingOver | AllocationStatus::Closed => None,
        }
    }

    /// What was used of it: for a credit limit, what is due at its end.
    ///
    /// # Errors
    /// Out of range.
    pub fn used(&self) -> Result<Credits, AmountError> {
        self.consumed.plus(self.repaid)
    }

    /// Whether it is a period of the same item and account as `other`, and a later one.
    pub(super) fn follows(&self, other: &Self) -> bool {
        match (&self.period, &other.period) {
            (Some(ours), Some(theirs)) => {
                self.account == other.account && ours.item == theirs.item && ours.start >= theirs.end
            }
            _ => false,
        }
    }

    /// The place in the burn-down of its account: priority, expiry (none last), kind, free before purchased, begin, id.
    pub(super) fn burn_order(&self) -> impl Ord + use<> {
        (
            self.priority,
            Reverse(self.expires_at.map(Reverse)),
            self.kind,
            self.purchased,
            self.effective_at,
            self.id,
        )
    }
}
