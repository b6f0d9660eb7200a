//! Pure: plans and their periods.

use std::collections::BTreeMap;

use super::super::admit::Rejection;
use super::super::allocation::{Allocation, AllocationStatus};
use super::super::state::{OrgState, PlanState};
use super::commands::{MAX_ALLOCATIONS, setting};
use super::{Book, BurnError, Draft, leg, reject};
use crate::amount::{AmountError, Credits};
use crate::command::{Account, Command, Grant, Plan, PlanItem, PlanPeriod, SetPlan};
use crate::id::AllocationId;
use crate::posting::{Cause, PostingKind};
use crate::time::Timestamp;
use crate::usage::MAX_CLOCK_SKEW;

impl OrgState {
    /// Puts a plan in force, or none; see "Plans" in `docs/ledger.md`. After an error the state is half changed.
    pub(super) fn set_plan(
        &mut self,
        command: &Command,
        set_plan: &SetPlan,
        cause: Cause,
        book: &mut Book<'_>,
    ) -> Result<Result<(), Rejection>, BurnError> {
        let SetPlan { effective_at: at, plan } = set_plan;
        if *at > book.now.after(MAX_CLOCK_SKEW) {
            return Ok(reject("a plan cannot be set for a time more than 5 minutes ahead"));
        }
        let begun = |a: &&Allocation| {
            a.period.is_some() && a.status == AllocationStatus::Open && a.effective_at > *at
        };
        if let Some(later) = self.allocations().filter(begun).map(|a| a.effective_at).max() {
            return Ok(reject(format!(
                "allocations of a plan have opened since: set it as of {later} or later"
            )));
        }
        if let Some(changed_at) = self.record.plan_changed_at.filter(|changed_at| at < changed_at) {
            return Ok(reject(format!("the plan was set as of {changed_at}: set it as of then or later")));
        }
        let new =
            plan.as_ref().map_or(0, |plan| plan.items.iter().map(|item| plan.accounts(item).count()).sum());
        if self.allocation_count().saturating_add(new) > MAX_ALLOCATIONS {
            return Ok(reject(format!("with it the org has more than {MAX_ALLOCATIONS} allocations")));
        }
        let before = self.record.plan.take();
        self.set_plan_state(None);
        self.record.plan_changed_at = Some(*at);
        self.post(book, setting(*at, cause.clone()));
        self.cancel_periods_after(*at, &cause, book)?;
        self.end_items(before.as_ref().map(|state| &state.plan), set_plan, &cause, book)?;
        let Some(plan) = plan else { return Ok(Ok(())) };
        let mut granted_until = BTreeMap::new();
        for item in &plan.items {
            for account in plan.accounts(item) {
                granted_until.insert((item.id.clone(), account.clone()), item.period_end);
                let amount = share(plan.amount(item)?, *at, (item.period_start, item.period_end))?;
                match self.in_course(item, &account, *at) {
                    Some(id) => {
                        let was = before.as_ref().and_then(|state| amount_of(&state.plan, item, &account));
                        let was = was.transpose()?.unwrap_or_default();
                        let was = share(was, *at, (item.period_start, item.period_end))?;
                        self.take_or_add(&account, id, amount.minus(was)?, *at, cause.clone(), book)?;
                    }
                    None if amount.is_positive() => {
                        let id = command.command_id.allocation_of(&item.id, &account);
                        let grant = prorated(plan, command, item, account, (amount, *at))?;
                        self.record.totals.granted = self.record.totals.granted.plus(amount)?;
                        self.insert(Allocation::scheduled(id, &grant));
                        self.post_grant(&grant, cause.clone(), book);
                    }
                    None => {}
                }
            }
        }
        self.set_plan_state(Some(PlanState {
            revision: command.command_id,
            plan: plan.clone(),
            granted_until,
        }));
        Ok(Ok(()))
    }

    /// Closes what was published ahead and has not begun.
    fn cancel_periods_after(
        &mut self,
        at: Timestamp,
        cause: &Cause,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let ahead = |a: &Allocation| {
            a.status == AllocationStatus::Scheduled && a.period.as_ref().is_some_and(|p| p.start > at)
        };
        for (account, id) in self.with_period(ahead) {
            self.expire(&account, id, at, cause, book)?;
        }
        Ok(())
    }

    /// Takes the share to come of items that are there no more, and expires what waited to roll over in them.
    fn end_items(
        &mut self,
        before: Option<&Plan>,
        set_plan: &SetPlan,
        cause: &Cause,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let at = set_plan.effective_at;
        let item_of = |period: &PlanPeriod, account: &Account| {
            let plan = set_plan.plan.as_ref()?;
            plan.item(&period.item).filter(|item| plan.covers(item, account))
        };
        let ended = |a: &Allocation| {
            a.period.as_ref().is_some_and(|period| {
                let item = item_of(period, &a.account);
                if a.status == AllocationStatus::RollingOver {
                    return item.is_none();
                }
                let same =
                    |item: &PlanItem| (item.period_start, item.period_end) == (period.start, period.end);
                (period.start..period.end).contains(&at) && !item.is_some_and(same)
            })
        };
        for (account, id) in self.with_period(ended) {
            let Some(allocation) = self.find(&account, id) else { continue };
            let Some(period) = allocation.period.clone() else { continue };
            if allocation.status == AllocationStatus::RollingOver {
                self.expire(&account, id, at, cause, book)?;
                continue;
            }
            let was = before.and_then(|plan| {
                let item = plan.item(&period.item).filter(|item| plan.covers(item, &account));
                Some((plan, item?))
            });
            let was = was.map(|(plan, item)| plan.amount(item)).transpose()?.unwrap_or_default();
            let taken = share(was, at, (period.start, period.end))?.negated();
            self.take_or_add(&account, id, taken, at, cause.clone(), book)?;
        }
        Ok(())
    }

    /// The live allocation of an item's period in course.
    fn in_course(&self, item: &PlanItem, account: &Account, at: Timestamp) -> Option<AllocationId> {
        let period = (item.period_start, item.period_end);
        let in_course = |a: &&Allocation| {
            let is_it = |p: &PlanPeriod| p.item == item.id && (p.start, p.end) == period;
            a.status.is_live() && (period.0..period.1).contains(&at) && a.period.as_ref().is_some_and(is_it)
        };
        self.own(account).filter(in_course).map(|allocation| allocation.id).min()
    }

    /// Adjusts an allocation, never below nothing left.
    fn take_or_add(
        &mut self,
        account: &Account,
        id: AllocationId,
        amount: Credits,
        at: Timestamp,
        cause: Cause,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let left = self.find(account, id).map_or(Credits::ZERO, |allocation| allocation.remaining);
        self.book_adjustment(account, id, amount.max(left.negated()), at, cause, book)
    }

    /// Ends an allocation before its time: what is left expires.
    fn expire(
        &mut self,
        account: &Account,
        id: AllocationId,
        effective_at: Timestamp,
        cause: &Cause,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        let Some(mut allocation) = self.remove(account, id) else { return Ok(()) };
        let counted = allocation.status != AllocationStatus::Scheduled;
        let amount = std::mem::take(&mut allocation.remaining);
        allocation.expired = allocation.expired.plus(amount)?;
        allocation.status = AllocationStatus::Closed;
        self.insert(allocation);
        self.record.totals.expired = self.record.totals.expired.plus(amount)?;
        let entries = if counted { vec![leg(account, id, amount.negated())] } else { Vec::new() };
        let (kind, cause) = (PostingKind::Close, cause.clone());
        self.post(book, Draft { kind, effective_at, amount, entries, cause });
        Ok(())
    }

    /// The allocations of plans that fit, by id.
    fn with_period(&self, fits: impl Fn(&Allocation) -> bool) -> Vec<(Account, AllocationId)> {
        let mut found: Vec<_> = self
            .allocations()
            .filter(|allocation| allocation.period.is_some() && fits(allocation))
            .map(|allocation| (allocation.account.clone(), allocation.id))
            .collect();
        found.sort_unstable_by_key(|(_, id)| *id);
        found
    }

    /// Whether a grant that says it is a period of the plan is the next one of it.
    pub(super) fn check_period(&self, grant: &Grant) -> Result<Result<(), Rejection>, AmountError> {
        let Some(period) = &grant.period else { return Ok(Ok(())) };
        let Some(state) = self.record.plan.as_ref().filter(|state| state.revision == period.plan) else {
            return Ok(reject("the plan that the period is of is not in force"));
        };
        let item = state.plan.item(&period.item).filter(|item| state.plan.covers(item, &grant.account));
        let Some(item) = item else {
            return Ok(reject(format!("the plan has no item {} for that account", period.item)));
        };
        let expected =
            state.plan.grant(state.revision, item, grant.account.clone(), (period.start, period.end))?;
        if *grant != expected {
            return Ok(reject(format!("the terms are not those of item {} of the plan", period.item)));
        }
        match state.granted_until.get(&(period.item.clone(), grant.account.clone())) {
            Some(until) if *until == period.start => Ok(Ok(())),
            Some(until) => Ok(reject(format!("the next period begins at {until}"))),
            None => Ok(reject("the plan has no period of that account to follow")),
        }
    }

    /// Notes that a plan's period was granted.
    pub(super) fn follow_period(&mut self, grant: &Grant) {
        let Some(period) = &grant.period else { return };
        if let Some(mut state) = self.record.plan.take() {
            state.granted_until.insert((period.item.clone(), grant.account.clone()), period.end);
            self.set_plan_state(Some(state));
        }
    }
}

/// What the rest of a period from `at` on is worth.
fn share(
    amount: Credits,
    at: Timestamp,
    (start, end): (Timestamp, Timestamp),
) -> Result<Credits, AmountError> {
    let span = |from: Timestamp| u64::try_from(end.micros().saturating_sub(from.micros())).unwrap_or(0);
    amount.prorated(span(at), span(start))
}

/// Credits of an account for a whole period of the item of the same id in another plan, if it is in it.
fn amount_of(plan: &Plan, item: &PlanItem, account: &Account) -> Option<Result<Credits, AmountError>> {
    plan.item(&item.id).filter(|item| plan.covers(item, account)).map(|item| plan.amount(item))
}

/// The grant of the rest of a period.
fn prorated(
    plan: &Plan,
    command: &Command,
    item: &PlanItem,
    account: Account,
    (amount, effective_at): (Credits, Timestamp),
) -> Result<Grant, AmountError> {
    let period = (item.period_start, item.period_end);
    let whole = plan.grant(command.command_id, item, account, period)?;
    Ok(Grant { amount, effective_at, ..whole })
}
