//! Pure: openings, closings and rollovers.

use super::super::allocation::{Allocation, AllocationStatus};
use super::super::state::{Boundary, OrgState};
use super::{Book, BurnError, Draft, leg, org_leg};
use crate::amount::Credits;
use crate::command::{Account, AllocationKind};
use crate::id::AllocationId;
use crate::posting::{Cause, PostingKind, Target};
use crate::time::Timestamp;

impl OrgState {
    /// Books every opening and closing that is due: in the order of their instants, openings first, then by id.
    pub(in super::super) fn book_due(&mut self, book: &mut Book<'_>) -> Result<(), BurnError> {
        while let Some(Boundary { at, closing, id, account }) = self.first_due(book.now) {
            let Some(allocation) = self.remove(&account, id) else { return Err(BurnError::NotLoaded) };
            if closing {
                self.close(allocation, at, book)?;
            } else {
                self.open(allocation, at, book)?;
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        mut allocation: Allocation,
        at: Timestamp,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        allocation.status = AllocationStatus::Open;
        let (account, id, amount) = (allocation.account.clone(), allocation.id, allocation.remaining);
        let entries = vec![leg(&account, id, amount)];
        let pays = account == Account::Organization && allocation.scope.is_everything();
        self.insert(allocation);
        self.post(
            book,
            Draft { kind: PostingKind::Open, effective_at: at, amount, entries, cause: Cause::Boundary },
        );
        if pays {
            self.repay(&account, id, amount, at, book)?;
        }
        let waiting = self.rolling_over_into(&account, id);
        for from in waiting {
            let Some(mut old) = self.remove(&account, from) else { continue };
            let amount = std::mem::take(&mut old.remaining);
            old.moved = old.moved.minus(amount)?;
            old.status = AllocationStatus::Closed;
            self.insert(old);
            self.roll_over(&account, (from, id), amount, at, book)?;
        }
        Ok(())
    }

    /// An allocation that opened pays off what is owed.
    fn repay(
        &mut self,
        account: &Account,
        id: AllocationId,
        amount: Credits,
        at: Timestamp,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let repaid = self.overdraft()?.min(amount);
        if !repaid.is_positive() {
            return Ok(());
        }
        let number = self.record.number + 1;
        self.change(account, id, |allocation| {
            allocation.remaining = allocation.remaining.minus(repaid)?;
            allocation.repaid = allocation.repaid.plus(repaid)?;
            allocation.repaid_in = number;
            Ok(())
        })?;
        self.record.totals.repaid = self.record.totals.repaid.plus(repaid)?;
        let entries = vec![leg(account, id, repaid.negated()), org_leg(Target::Overdraft, repaid)];
        let cause = Cause::Boundary;
        self.post(book, Draft { kind: PostingKind::Repay, effective_at: at, amount: repaid, entries, cause });
        Ok(())
    }

    /// What waits to roll over into this allocation, by id.
    fn rolling_over_into(&self, account: &Account, id: AllocationId) -> Vec<AllocationId> {
        let Some(opened) = self.find(account, id).filter(|allocation| allocation.period.is_some()) else {
            return Vec::new();
        };
        let own = self.own(account);
        let mut waiting: Vec<_> = own
            .filter(|a| a.status == AllocationStatus::RollingOver && opened.follows(a))
            .map(|allocation| allocation.id)
            .collect();
        waiting.sort_unstable();
        waiting
    }

    /// Books what was taken out of one allocation into another.
    fn roll_over(
        &mut self,
        account: &Account,
        (from, into): (AllocationId, AllocationId),
        amount: Credits,
        at: Timestamp,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        self.change(account, into, |allocation| {
            allocation.remaining = allocation.remaining.plus(amount)?;
            allocation.moved = allocation.moved.plus(amount)?;
            Ok(())
        })?;
        let entries = vec![leg(account, from, amount.negated()), leg(account, into, amount)];
        let cause = Cause::Boundary;
        self.post(book, Draft { kind: PostingKind::Rollover, effective_at: at, amount, entries, cause });
        Ok(())
    }

    fn close(
        &mut self,
        mut allocation: Allocation,
        at: Timestamp,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let (account, id) = (allocation.account.clone(), allocation.id);
        let kept = self.max_rollover(&allocation).min(allocation.remaining);
        let next = self.own(&account);
        let next = next
            .filter(|a| kept.is_positive() && a.status == AllocationStatus::Open && a.follows(&allocation))
            .min_by_key(|a| (a.period.as_ref().map(|period| period.start), a.id))
            .map(|allocation| allocation.id);
        let expired = allocation.remaining.minus(kept)?;
        allocation.expired = allocation.expired.plus(expired)?;
        let used = allocation.used()?;
        let due = if allocation.kind == AllocationKind::Payg { used } else { Credits::ZERO };
        allocation.status = AllocationStatus::Closed;
        allocation.remaining = Credits::ZERO;
        match next {
            Some(_) => allocation.moved = allocation.moved.minus(kept)?,
            None if kept.is_positive() => {
                allocation.status = AllocationStatus::RollingOver;
                allocation.remaining = kept;
            }
            None => {}
        }
        self.insert(allocation);
        if let Some(next) = next {
            self.roll_over(&account, (id, next), kept, at, book)?;
        }
        let totals = &mut self.record.totals;
        totals.expired = totals.expired.plus(expired)?;
        totals.due = totals.due.plus(due)?;
        let mut entries = vec![leg(&account, id, expired.negated())];
        if due.is_positive() {
            entries.push(org_leg(Target::Due, due.negated()));
        }
        let (kind, cause) = (PostingKind::Close, Cause::Boundary);
        self.post(book, Draft { kind, effective_at: at, amount: expired, entries, cause });
        Ok(())
    }

    /// How much of an allocation may roll over when it closes: what the plan in force says.
    fn max_rollover(&self, allocation: &Allocation) -> Credits {
        let item = || {
            let plan = &self.record.plan.as_ref()?.plan;
            let item = plan.item(&allocation.period.as_ref()?.item)?;
            plan.covers(item, &allocation.account).then_some(item.max_rollover)
        };
        item().filter(|_| allocation.kind == AllocationKind::Subscription).unwrap_or_default()
    }
}
