//! Pure: debits.

use super::super::admit::{AdmittedCorrection, AdmittedUsage};
use super::super::allocation::AllocationStatus;
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

impl OrgState {
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
            let fits = allocation.status == AllocationStatus::Open
                && allocation.remaining.is_positive()
                && allocation.is_active_at(usage.occurred_at)
                && allocation.scope.fits(usage.module, usage.feature, usage.models.iter().copied().flatten());
            if !fits {
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
