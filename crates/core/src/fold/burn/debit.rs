//! Pure: debits.

use serde::Serialize;

use super::super::admit::{AdmittedCorrection, AdmittedUsage};
use super::super::allocation::{Allocation, AllocationStatus};
use super::super::past::ChargedUsage;
use super::super::state::OrgState;
use super::{Book, BurnError, Draft, org_leg};
use crate::amount::{AmountError, Credits};
use crate::command::{Account, OverdraftPolicy};
use crate::id::{Feature, Model, Module, UserId};
use crate::posting::{Cause, Entry, PostingKind, PricedUsage, Target};
use crate::time::Timestamp;

/// What decides from which allocations usage burns.
pub(super) struct Usage<'usage> {
    occurred_at: Timestamp,
    user: Option<&'usage UserId>,
    module: &'usage Module,
    feature: Option<&'usage Feature>,
    models: [Option<&'usage Model>; 3],
}

impl<'usage> Usage<'usage> {
    fn of(usage: &'usage PricedUsage) -> Self {
        let event = &usage.event;
        Self {
            occurred_at: event.occurred_at,
            user: event.user_id.as_ref(),
            module: &event.module,
            feature: event.feature.as_ref(),
            models: [
                Some(&event.request_model),
                event.response_model.as_ref(),
                usage.charge.tier.as_ref().map(|tier| &tier.model),
            ],
        }
    }

    /// Why it does not burn an allocation; none where it may.
    fn skips(&self, allocation: &Allocation) -> Option<Skipped> {
        let models = self.models.iter().copied().flatten();
        if allocation.status != AllocationStatus::Open {
            Some(Skipped::NotOpen)
        } else if !allocation.remaining.is_positive() {
            Some(Skipped::Empty)
        } else if !allocation.is_active_at(self.occurred_at) {
            Some(Skipped::NotActive)
        } else if !allocation.scope.fits(self.module, self.feature, models) {
            Some(Skipped::Scope)
        } else {
            None
        }
    }

    pub(super) fn of_charged(usage: &'usage ChargedUsage) -> Self {
        Self {
            occurred_at: usage.occurred_at,
            user: usage.user_id.as_ref(),
            module: &usage.module,
            feature: usage.feature.as_ref(),
            models: [
                Some(&usage.request_model),
                Some(&usage.model),
                usage.charge.tier.as_ref().map(|tier| &tier.model),
            ],
        }
    }
}

/// Why an allocation did not pay for usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// It had not opened yet, or was closed already.
    NotOpen,
    /// Nothing was left in it.
    Empty,
    /// It was not valid when the usage occurred.
    NotActive,
    /// Its scope is other modules, features or models.
    Scope,
    /// Those before it paid for all.
    NothingLeftToPay,
}

/// An allocation that was considered for a debit, in the order of burn-down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// As it was before.
    pub allocation: Allocation,
    /// What was taken from it.
    pub taken: Credits,
    /// Why nothing was.
    pub skipped: Option<Skipped>,
}

/// A debit with all that was considered for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedDebit {
    /// The allocations of the user and then the org's, in the order of burn-down.
    pub considered: Vec<Considered>,
    /// The legs of the posting.
    pub entries: Vec<Entry>,
}

impl OrgState {
    /// Debits usage from the org as it is in this state, and says what was considered for it.
    ///
    /// # Errors
    /// A total would leave the range of amounts.
    pub fn trace_debit(mut self, usage: PricedUsage, now: Timestamp) -> Result<TracedDebit, AmountError> {
        let wanted = Usage::of(&usage);
        let user = wanted.user.map(|user| Account::User(user.clone()));
        let accounts = user.iter().chain([&Account::Organization]);
        let considered: Vec<(Allocation, Option<Skipped>)> = accounts
            .flat_map(|account| self.own(account))
            .map(|allocation| (allocation.clone(), wanted.skips(allocation)))
            .collect();
        let mut postings = Vec::new();
        let book = &mut Book { now, postings: &mut postings };
        self.debit(Box::new(usage), book).map_err(|_| AmountError::OutOfRange)?;
        let entries = postings.pop().map(|posting| posting.entries).unwrap_or_default();
        let taken = |id| {
            let leg = entries.iter().find(|entry| entry.target == Target::Allocation(id));
            leg.map(|entry| entry.amount.negated())
        };
        let considered = considered.into_iter().map(|(allocation, skipped)| {
            let taken = taken(allocation.id);
            let skipped = skipped.or_else(|| taken.is_none().then_some(Skipped::NothingLeftToPay));
            Considered { allocation, taken: taken.unwrap_or_default(), skipped }
        });
        Ok(TracedDebit { considered: considered.collect(), entries })
    }

    /// Whether the org's totals stay in their range with this usage. No other total grows beyond that of charges, so that
    /// what fits is booked without a failure in the middle.
    pub(in super::super) fn fits(&self, usage: &AdmittedUsage) -> bool {
        let charged = self.record.totals.charged;
        let corrected = |correction: &AdmittedCorrection, charged: Credits| {
            let difference = correction.after.charge.credits.minus(correction.before.charge.credits)?;
            charged.plus(difference)
        };
        let charged = match usage {
            AdmittedUsage::First(usage, correction) => {
                let charged = charged.plus(usage.charge.credits);
                correction.iter().fold(charged, |charged, correction| {
                    charged.and_then(|charged| corrected(correction, charged))
                })
            }
            AdmittedUsage::Superseding(correction, _) => corrected(correction, charged),
        };
        charged.is_ok()
    }

    /// Debits usage: burns allocations in order, the rest by the org's overdraft policy.
    pub(in super::super) fn debit(
        &mut self,
        usage: Box<PricedUsage>,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let (amount, effective_at) = (usage.charge.credits, usage.event.occurred_at);
        let charged = self.record.totals.charged.plus(amount)?;
        let mut entries = Vec::new();
        self.burn(&Usage::of(&usage), amount, &mut entries)?;
        self.record.totals.charged = charged;
        let cause = Cause::Usage(usage);
        self.post(book, Draft { kind: PostingKind::Debit, effective_at, amount, entries, cause });
        Ok(())
    }

    /// Takes `due` out of the allocations that may pay for it, the rest by the org's overdraft policy.
    pub(super) fn burn(
        &mut self,
        usage: &Usage<'_>,
        mut due: Credits,
        legs: &mut Vec<Entry>,
    ) -> Result<(), AmountError> {
        let wanted = due;
        if let Some(user) = usage.user
            && self.has_users()
        {
            due = self.burn_account(&Account::User(user.clone()), usage, due, legs)?;
        }
        due = self.burn_account(&Account::Organization, usage, due, legs)?;
        let policy = self.overdraft_policy();
        let totals = &mut self.record.totals;
        totals.consumed = totals.consumed.plus(wanted.minus(due)?)?;
        if due.is_positive() {
            let target = match policy {
                OverdraftPolicy::Carry => {
                    totals.overdraft_incurred = totals.overdraft_incurred.plus(due)?;
                    Target::Overdraft
                }
                OverdraftPolicy::Absorb => {
                    totals.absorbed = totals.absorbed.plus(due)?;
                    Target::Absorbed
                }
            };
            legs.push(org_leg(target, due.negated()));
        }
        Ok(())
    }

    fn burn_account(
        &mut self,
        account: &Account,
        usage: &Usage<'_>,
        mut due: Credits,
        legs: &mut Vec<Entry>,
    ) -> Result<Credits, AmountError> {
        let first = legs.len();
        for allocation in self.own_mut(account) {
            if !due.is_positive() {
                break;
            }
            if usage.skips(allocation).is_some() {
                continue;
            }
            let taken = due.min(allocation.remaining);
            allocation.remaining = allocation.remaining.minus(taken)?;
            allocation.consumed = allocation.consumed.plus(taken)?;
            due = due.minus(taken)?;
            legs.push(super::leg(account, allocation.id, taken.negated()));
        }
        for entry in legs.iter().skip(first) {
            if let Target::Allocation(id) = entry.target {
                self.touch(id, account);
            }
        }
        Ok(due)
    }
}
