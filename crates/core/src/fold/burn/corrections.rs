//! Pure: corrections of what was charged.

use super::super::admit::{AdmittedCorrection, CorrectedBy};
use super::super::allocation::{Allocation, AllocationStatus};
use super::super::state::OrgState;
use super::debit::Usage;
use super::{Book, BurnError, Draft, leg, org_leg};
use crate::amount::Credits;
use crate::command::{Account, AllocationKind};
use crate::id::AllocationId;
use crate::posting::{Cause, Entry, PostingKind, Target};
use crate::time::Timestamp;

impl OrgState {
    /// Books the difference that a correction makes. `split` is what the charge took before, in order, and afterwards.
    ///
    /// After an error the state is half changed.
    pub(in super::super) fn correct(
        &mut self,
        correction: &AdmittedCorrection,
        split: &mut Vec<Entry>,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let AdmittedCorrection { before, after, by, .. } = correction;
        let difference = after.charge.credits.minus(before.charge.credits)?;
        let mut entries = Vec::new();
        if difference.is_negative() {
            self.give_back(difference.negated(), split, &mut entries)?;
        } else {
            self.burn(&Usage::of_charged(after), difference, &mut entries)?;
            split.extend(entries.iter().cloned());
        }
        self.record.totals.charged = self.record.totals.charged.plus(difference)?;
        let effective_at = match by {
            CorrectedBy::Command(command, _) => command.issued_at,
            CorrectedBy::Usage(event, _) => event.occurred_at,
        };
        let cause = Cause::Correction(Box::new(correction.clone()), split.clone());
        let kind = PostingKind::Correct;
        self.post(book, Draft { kind, effective_at, amount: difference, entries, cause });
        Ok(())
    }

    /// Gives credits back, what was taken last first.
    fn give_back(
        &mut self,
        mut amount: Credits,
        split: &mut Vec<Entry>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), BurnError> {
        while amount.is_positive() {
            let Some(last) = split.last_mut() else { return Err(BurnError::OutOfRange) };
            let given = amount.min(last.amount.negated());
            last.amount = last.amount.plus(given)?;
            let (account, target, rest) = (last.account.clone(), last.target, last.amount);
            if rest.is_zero() {
                split.pop();
            }
            amount = amount.minus(given)?;
            let totals = &mut self.record.totals;
            match target {
                Target::Allocation(id) => {
                    totals.consumed = totals.consumed.minus(given)?;
                    self.return_to(&account, id, given, entries, |allocation| &mut allocation.consumed)?;
                }
                Target::Overdraft => self.forgive(given, entries)?,
                Target::Absorbed => {
                    totals.absorbed = totals.absorbed.minus(given)?;
                    entries.push(org_leg(Target::Absorbed, given));
                }
                Target::Due => return Err(BurnError::OutOfRange),
            }
        }
        Ok(())
    }

    /// Lowers what is owed; what was repaid of it already goes back to the allocations that repaid, the last first.
    fn forgive(&mut self, given: Credits, entries: &mut Vec<Entry>) -> Result<(), BurnError> {
        let direct = given.min(self.overdraft()?);
        let mut repaid = given.minus(direct)?;
        let totals = &mut self.record.totals;
        totals.overdraft_incurred = totals.overdraft_incurred.minus(given)?;
        totals.repaid = totals.repaid.minus(repaid)?;
        if direct.is_positive() {
            entries.push(org_leg(Target::Overdraft, direct));
        }
        if !repaid.is_positive() {
            return Ok(());
        }
        for (account, id) in self.repaying() {
            let paid = self.find(&account, id).map_or(Credits::ZERO, |allocation| allocation.repaid);
            let back = repaid.min(paid);
            if back.is_positive() {
                self.return_to(&account, id, back, entries, |allocation| &mut allocation.repaid)?;
                repaid = repaid.minus(back)?;
            }
        }
        // All that was repaid is in some allocation: what is left was not loaded.
        if repaid.is_zero() { Ok(()) } else { Err(BurnError::NotLoaded) }
    }

    /// Puts back what an allocation had paid: into what is left if it is live, else it expires at once, and what was due
    /// of a credit limit is due no more.
    fn return_to(
        &mut self,
        account: &Account,
        id: AllocationId,
        amount: Credits,
        entries: &mut Vec<Entry>,
        part: impl FnOnce(&mut Allocation) -> &mut Credits,
    ) -> Result<(), BurnError> {
        let returned = self.change(account, id, |allocation| {
            let paid = part(allocation);
            *paid = paid.minus(amount)?;
            if allocation.status.is_live() {
                allocation.remaining = allocation.remaining.plus(amount)?;
            } else {
                allocation.expired = allocation.expired.plus(amount)?;
            }
            let closed_limit =
                allocation.status == AllocationStatus::Closed && allocation.kind == AllocationKind::Payg;
            Ok((allocation.status.is_live(), closed_limit))
        })?;
        let Some((live, closed_limit)) = returned else { return Err(BurnError::NotLoaded) };
        entries.push(leg(account, id, amount));
        if live {
            return Ok(());
        }
        entries.push(leg(account, id, amount.negated()));
        let totals = &mut self.record.totals;
        totals.expired = totals.expired.plus(amount)?;
        if closed_limit {
            totals.due = totals.due.minus(amount)?;
            entries.push(org_leg(Target::Due, amount));
        }
        Ok(())
    }

    /// Books a correction that waits for its event.
    pub(super) fn wait_for_event(&mut self, effective_at: Timestamp, cause: Cause, book: &mut Book<'_>) {
        let draft = Draft {
            kind: PostingKind::Correct,
            effective_at,
            amount: Credits::ZERO,
            entries: Vec::new(),
            cause,
        };
        self.post(book, draft);
    }
}
