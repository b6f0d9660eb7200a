//! Pure: carrying out the commands of an org.

use super::super::admit::{AdmittedCommand, Rejection};
use super::super::allocation::{Allocation, AllocationStatus};
use super::super::partition::Splits;
use super::super::state::OrgState;
use super::{Book, BurnError, Draft, leg, reject};
use crate::amount::Credits;
use crate::command::{Account, Adjust, AllocationKind, CommandBody, Extend, Grant, Policy, Transfer};
use crate::id::AllocationId;
use crate::posting::{Cause, PostingKind};
use crate::time::Timestamp;
use std::sync::Arc;

/// Most scheduled and open allocations of one org.
pub(super) const MAX_ALLOCATIONS: usize = 100_000;

/// What a command did: nothing if it was rejected.
type CarriedOut = Result<Result<(), Rejection>, BurnError>;

impl OrgState {
    /// Carries out a command of an org that is open. `splits` has those of the charges that it corrects.
    ///
    /// # Errors
    /// Something was not loaded.
    pub(in super::super) fn carry_out(
        &mut self,
        admitted: &AdmittedCommand,
        splits: &mut Splits,
        book: &mut Book<'_>,
    ) -> CarriedOut {
        let saved = match &admitted.command.body {
            CommandBody::SetPlan(..)
            | CommandBody::Transfer(..)
            | CommandBody::Correct(..)
            | CommandBody::Reprice(..) => {
                let named = admitted.corrections.iter().map(|c| (c.org.clone(), c.event_id));
                let splits: Vec<_> =
                    named.map(|event| (splits.get(&event).cloned().unwrap_or_default(), event)).collect();
                Some((self.clone(), book.postings.len(), splits))
            }
            // These change nothing before they know that all of it fits.
            _ => None,
        };
        match self.try_to_carry_out(admitted, splits, book) {
            Err(BurnError::OutOfRange) => {
                if let Some((state, postings, legs)) = saved {
                    *self = state;
                    splits.extend(legs.into_iter().map(|(split, event)| (event, split)));
                    book.postings.truncate(postings);
                }
                Ok(reject("with it the org's totals would leave the range of amounts (10^16 credits)"))
            }
            carried_out => carried_out,
        }
    }

    fn try_to_carry_out(
        &mut self,
        admitted: &AdmittedCommand,
        splits: &mut Splits,
        book: &mut Book<'_>,
    ) -> CarriedOut {
        let command = &admitted.command;
        let cause = || Cause::Command(Arc::clone(command), admitted.payload_digest);
        let id = AllocationId(command.command_id.0);
        let at = command.issued_at;
        match &command.body {
            CommandBody::Grant(_, grant) => return self.grant(id, grant, cause(), book),
            CommandBody::Adjust(_, adjust) => return self.adjust(adjust, at, cause(), book),
            CommandBody::Transfer(_, transfer) => return self.transfer(id, transfer, at, cause(), book),
            CommandBody::Extend(_, extend) => {
                if let Err(rejection) = self.extend(extend) {
                    return Ok(Err(rejection));
                }
            }
            CommandBody::Suspend(_, account) => {
                self.record.suspended.insert(account.clone());
            }
            CommandBody::Resume(_, account) => {
                self.record.suspended.remove(account);
            }
            CommandBody::OpenOrg(_, policy) if !admitted.opens => {
                if *policy != self.record.policy {
                    return Ok(reject("the org is open already; set its policy instead"));
                }
            }
            CommandBody::OpenOrg(_, policy) | CommandBody::SetPolicy(_, policy) => self.take_policy(*policy),
            CommandBody::SetPlan(_, set_plan) => return self.set_plan(command, set_plan, cause(), book),
            CommandBody::Correct(..) if admitted.corrections.is_empty() => {
                self.wait_for_event(at, cause(), book);
                return Ok(Ok(()));
            }
            CommandBody::Correct(..) | CommandBody::Reprice(..) => {
                for correction in &admitted.corrections {
                    let event = (correction.org.clone(), correction.event_id);
                    self.correct(correction, splits.entry(event).or_default(), book)?;
                }
                return Ok(Ok(()));
            }
            CommandBody::Release(..) | CommandBody::Dismiss(..) => {}
            CommandBody::Genesis(_)
            | CommandBody::IssueKey(_)
            | CommandBody::RevokeKey(_)
            | CommandBody::RatesPart(_)
            | CommandBody::RatesSeal(_)
            | CommandBody::SetRules(_) => return Ok(reject("belongs to no org")),
        }
        self.post(book, setting(at, cause()));
        Ok(Ok(()))
    }

    fn take_policy(&mut self, policy: Policy) {
        if policy.grace == self.record.policy.grace {
            self.record.policy = policy;
        } else {
            self.set_policy(policy);
        }
    }

    fn grant(&mut self, id: AllocationId, grant: &Grant, cause: Cause, book: &mut Book<'_>) -> CarriedOut {
        if self.allocation_count() >= MAX_ALLOCATIONS {
            return Ok(reject(format!("the org has {MAX_ALLOCATIONS} scheduled and open allocations")));
        }
        if let Err(rejection) = self.check_period(grant)? {
            return Ok(Err(rejection));
        }
        self.record.totals.granted = self.record.totals.granted.plus(grant.amount)?;
        self.follow_period(grant);
        self.insert(Allocation::scheduled(id, grant));
        self.post_grant(grant, cause, book);
        Ok(Ok(()))
    }

    pub(super) fn post_grant(&mut self, grant: &Grant, cause: Cause, book: &mut Book<'_>) {
        let draft = Draft {
            kind: PostingKind::Grant,
            effective_at: grant.effective_at,
            amount: grant.amount,
            entries: Vec::new(),
            cause,
        };
        self.post(book, draft);
    }

    fn adjust(
        &mut self,
        adjust: &Adjust,
        effective_at: Timestamp,
        cause: Cause,
        book: &mut Book<'_>,
    ) -> CarriedOut {
        let Adjust { allocation_id: id, amount } = *adjust;
        let allocation = match self.live(id) {
            Ok(allocation) => allocation,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if allocation.remaining.plus(amount)?.is_negative() {
            return Ok(reject(too_little(allocation)));
        }
        // What can fail, fails before anything is changed.
        allocation.adjusted.plus(amount)?;
        let account = allocation.account.clone();
        self.book_adjustment(&account, id, amount, effective_at, cause, book)?;
        Ok(Ok(()))
    }

    /// Changes a live allocation by an amount that fits.
    pub(super) fn book_adjustment(
        &mut self,
        account: &Account,
        id: AllocationId,
        amount: Credits,
        effective_at: Timestamp,
        cause: Cause,
        book: &mut Book<'_>,
    ) -> Result<(), BurnError> {
        self.record.totals.adjusted = self.record.totals.adjusted.plus(amount)?;
        let open = self.change(account, id, |allocation| {
            allocation.remaining = allocation.remaining.plus(amount)?;
            allocation.adjusted = allocation.adjusted.plus(amount)?;
            Ok(allocation.status == AllocationStatus::Open)
        })?;
        // What is added before the opening is part of what the opening brings in.
        let entries = if open == Some(true) { vec![leg(account, id, amount)] } else { Vec::new() };
        self.post(book, Draft { kind: PostingKind::Adjust, effective_at, amount, entries, cause });
        Ok(())
    }

    fn transfer(
        &mut self,
        new: AllocationId,
        transfer: &Transfer,
        effective_at: Timestamp,
        cause: Cause,
        book: &mut Book<'_>,
    ) -> CarriedOut {
        let Transfer { allocation_id: id, to, amount } = transfer;
        let source = match self.live(*id) {
            Ok(source) => source.clone(),
            Err(rejection) => return Ok(Err(rejection)),
        };
        if source.kind == AllocationKind::Payg {
            return Ok(reject("a credit limit is nobody's own and cannot be transferred: grant another"));
        }
        if source.account == *to {
            return Ok(reject("the credits are that account's already"));
        }
        if source.expires_at.is_some_and(|expires_at| expires_at <= book.now) {
            return Ok(reject(format!("allocation {id} has expired: extend it first")));
        }
        if *amount > source.remaining {
            return Ok(reject(too_little(&source)));
        }
        if self.allocation_count() >= MAX_ALLOCATIONS {
            return Ok(reject(format!("the org has {MAX_ALLOCATIONS} scheduled and open allocations")));
        }
        self.change(&source.account, *id, |allocation| {
            allocation.remaining = allocation.remaining.minus(*amount)?;
            allocation.moved = allocation.moved.minus(*amount)?;
            Ok(())
        })?;
        let entries = match source.status {
            AllocationStatus::Open => {
                vec![leg(&source.account, *id, amount.negated()), leg(to, new, *amount)]
            }
            _ => Vec::new(),
        };
        self.insert(Allocation {
            id: new,
            account: to.clone(),
            period: None,
            granted: Credits::ZERO,
            adjusted: Credits::ZERO,
            moved: *amount,
            consumed: Credits::ZERO,
            repaid: Credits::ZERO,
            repaid_in: 0,
            expired: Credits::ZERO,
            remaining: *amount,
            ..source
        });
        let kind = PostingKind::Transfer;
        self.post(book, Draft { kind, effective_at, amount: *amount, entries, cause });
        Ok(Ok(()))
    }

    fn extend(&mut self, extend: &Extend) -> Result<(), Rejection> {
        let Extend { allocation_id: id, expires_at } = *extend;
        let allocation = self.live(id)?;
        let Some(before) = allocation.expires_at else {
            return reject(format!("allocation {id} never expires"));
        };
        if expires_at.is_none() && allocation.kind != AllocationKind::Prepaid {
            return reject("only prepaid credits may never expire: name a time");
        }
        if expires_at.is_some_and(|expires_at| expires_at <= before) {
            return reject(format!("allocation {id} expires at {before}: name a later time"));
        }
        let account = allocation.account.clone();
        if let Some(mut allocation) = self.remove(&account, id) {
            allocation.expires_at = expires_at;
            self.insert(allocation);
        }
        Ok(())
    }

    /// A scheduled or open allocation.
    fn live(&self, id: AllocationId) -> Result<&Allocation, Rejection> {
        let live = self.by_id(id).filter(|allocation| allocation.status.is_live());
        live.ok_or_else(|| Rejection(format!("the org has no live allocation {id}")))
    }
}

pub(super) const fn setting(effective_at: Timestamp, cause: Cause) -> Draft {
    Draft { kind: PostingKind::Setting, effective_at, amount: Credits::ZERO, entries: Vec::new(), cause }
}

fn too_little(allocation: &Allocation) -> String {
    let (id, left) = (allocation.id, allocation.remaining);
    format!("allocation {id} has {left} credits left, fewer than are to be taken")
}
