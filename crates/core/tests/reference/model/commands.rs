//! What the commands of an org do.

use std::time::Duration;

use fluxori_core::command::{
    Adjust, AllocationKind, Command, CommandBody, Extend, Grant, Policy, Release, Transfer,
};
use fluxori_core::id::AllocationId;
use fluxori_core::posting::PostingKind;
use fluxori_core::time::Timestamp;

use super::amount::{self, Amount, ONE};
use super::org::{Allocation, Movement, Org, Period, Status};
use super::prices::RateCard;
use super::usage::Verdict;
use super::{MOST_CREDITS, Rejected, reject};

impl Org {
    /// Carries out a command of an org that is open, or that it opens.
    pub(crate) fn carry_out(
        &mut self,
        command: &Command,
        now: Timestamp,
        card: &RateCard,
    ) -> Result<(), Rejected> {
        let issued_at = command.issued_at;
        let own_id = AllocationId(command.command_id.0);
        match &command.body {
            CommandBody::OpenOrg(_, policy) => self.open_org(*policy, issued_at),
            CommandBody::SetPolicy(_, policy) => {
                check_policy(policy)?;
                self.policy = *policy;
                self.setting(issued_at);
                Ok(())
            }
            CommandBody::Grant(_, grant) => self.grant(own_id, grant),
            CommandBody::Adjust(_, adjust) => self.adjust(adjust, issued_at),
            CommandBody::Transfer(_, transfer) => self.transfer(own_id, transfer, now, issued_at),
            CommandBody::Extend(_, extend) => self.extend(extend, issued_at),
            // What is dismissed stays where it is, marked.
            CommandBody::Suspend(..) | CommandBody::Resume(..) | CommandBody::Dismiss(..) => {
                self.setting(issued_at);
                Ok(())
            }
            CommandBody::SetPlan(_, set) => self.set_plan(command.command_id, set, now),
            CommandBody::Correct(_, correct) => self.correct(correct, issued_at),
            CommandBody::Reprice(_, reprice) => self.reprice(reprice, issued_at, card),
            CommandBody::Release(_, release) => self.release(release, issued_at, card),
            CommandBody::Genesis(_)
            | CommandBody::IssueKey(_)
            | CommandBody::RevokeKey(_)
            | CommandBody::RatesPart(_)
            | CommandBody::RatesSeal(_)
            | CommandBody::SetRules(_) => unreachable!("no command of an org"),
        }
    }

    fn open_org(&mut self, policy: Policy, issued_at: Timestamp) -> Result<(), Rejected> {
        check_policy(&policy)?;
        reject(self.open && self.policy != policy, "the org is open under another policy")?;
        self.open = true;
        self.policy = policy;
        self.setting(issued_at);
        Ok(())
    }

    fn grant(&mut self, id: AllocationId, grant: &Grant) -> Result<(), Rejected> {
        check_amount(amount::of(grant.amount))?;
        reject(amount::of(grant.amount) < 0, "less than nothing")?;
        let ends_before = grant.expires_at.is_some_and(|expires_at| expires_at <= grant.effective_at);
        reject(ends_before, "ends before it begins")?;
        let never = grant.expires_at.is_none();
        reject(never && grant.kind != AllocationKind::Prepaid, "prepaid alone may never expire")?;
        if let Some(period) = &grant.period {
            self.check_period(grant, period)?;
            let ends = &mut self.plan.as_mut().unwrap().ends;
            ends.insert((period.item.clone(), grant.account.clone()), period.end);
        }
        self.open = true;
        self.allocations.push(Allocation {
            id,
            account: grant.account.clone(),
            kind: grant.kind,
            purchased: grant.purchased,
            priority: grant.priority,
            scope: grant.scope.clone(),
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
            period: grant.period.as_ref().map(|period| Period {
                item: period.item.clone(),
                start: period.start,
                end: period.end,
            }),
            status: Status::Scheduled,
            movements: vec![(Movement::Granted, amount::of(grant.amount))],
        });
        self.post(PostingKind::Grant, grant.effective_at, amount::of(grant.amount), Vec::new());
        Ok(())
    }

    fn adjust(&mut self, adjust: &Adjust, issued_at: Timestamp) -> Result<(), Rejected> {
        let by = amount::of(adjust.amount);
        check_amount(by)?;
        let allocation = self.live(adjust.allocation_id).ok_or(NOT_LIVE)?;
        reject(allocation.remaining() + by < 0, "fewer are left")?;
        self.adjust_allocation(adjust.allocation_id, by, issued_at);
        Ok(())
    }

    fn transfer(
        &mut self,
        id: AllocationId,
        transfer: &Transfer,
        now: Timestamp,
        issued_at: Timestamp,
    ) -> Result<(), Rejected> {
        let amount = amount::of(transfer.amount);
        check_amount(amount)?;
        reject(amount < 0, "less than nothing")?;
        let from = self.live(transfer.allocation_id).ok_or(NOT_LIVE)?.clone();
        reject(from.kind == AllocationKind::Payg, "a credit limit is nobody's own")?;
        reject(from.expires_at.is_some_and(|expires_at| expires_at <= now), "expired")?;
        reject(from.account == transfer.to, "to the same account")?;
        reject(from.remaining() < amount, "fewer are left")?;
        let to = transfer.to.clone();
        self.note(from.id, Movement::Moved, -amount);
        let movements = vec![(Movement::Moved, amount)];
        let entries_count = from.status == Status::Open;
        self.allocations.push(Allocation { id, account: to, period: None, movements, ..from.clone() });
        let entries = vec![self.entry(from.id, -amount), self.entry(id, amount)];
        let entries = if entries_count { entries } else { Vec::new() };
        self.post(PostingKind::Transfer, issued_at, amount, entries);
        Ok(())
    }

    fn extend(&mut self, extend: &Extend, issued_at: Timestamp) -> Result<(), Rejected> {
        let allocation = self.live(extend.allocation_id).ok_or(NOT_LIVE)?;
        let Some(before) = allocation.expires_at else { return Err(Rejected("it never expires")) };
        match extend.expires_at {
            Some(after) => reject(after <= before, "not later")?,
            None => reject(allocation.kind != AllocationKind::Prepaid, "prepaid alone may never expire")?,
        }
        self.allocation_mut(extend.allocation_id).expires_at = extend.expires_at;
        self.setting(issued_at);
        Ok(())
    }

    fn release(&mut self, release: &Release, issued_at: Timestamp, card: &RateCard) -> Result<(), Rejected> {
        let named = |event: &fluxori_core::usage::UsageEvent| {
            event.event_id == release.event_id && event.billing_digest() == release.billing_digest
        };
        let held =
            self.quarantine.iter().position(|held| !held.released && held.event.as_ref().is_some_and(named));
        let index = held.ok_or(Rejected("not in the quarantine"))?;
        let event = self.quarantine[index].event.clone().unwrap();
        match self.judge(&event, None, card) {
            Verdict::Debit(price, amount) => {
                self.setting(issued_at);
                self.debit(&event, price, amount);
            }
            Verdict::Supersede(debit) => {
                self.setting(issued_at);
                self.supersede(debit, &event).unwrap();
            }
            Verdict::Duplicate | Verdict::Quarantine(_) => return Err(Rejected("it cannot be applied")),
        }
        self.quarantine[index].released = true;
        Ok(())
    }
}

const NOT_LIVE: Rejected = Rejected("no scheduled or open allocation");

fn check_policy(policy: &Policy) -> Result<(), Rejected> {
    reject(policy.grace > Duration::from_hours(35 * 24), "the grace is longer than 35 days")
}

fn check_amount(amount: Amount) -> Result<(), Rejected> {
    reject(amount == 0, "nothing")?;
    reject(amount.abs() > MOST_CREDITS * ONE, "too much at once")
}
