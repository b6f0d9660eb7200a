//! Pure: the second step, which makes postings out of what was admitted.

use super::admit::{AdmittedCommand, Rejection};
use super::state::{Allocation, AllocationStatus, OrgState};
use crate::amount::{AmountError, Credits};
use crate::command::{Account, Adjust, CommandBody, Grant, OverdraftPolicy};
use crate::digest::Digest;
use crate::id::AllocationId;
use crate::posting::{Cause, Entry, Posting, PostingKind, PricedUsage, Target};
use crate::time::Timestamp;

/// A posting before it is numbered.
struct Draft {
    kind: PostingKind,
    effective_at: Timestamp,
    amount: Credits,
    entries: Vec<Entry>,
    cause: Cause,
}

impl OrgState {
    fn post(&mut self, recorded_at: Timestamp, draft: Draft) -> Posting {
        self.number += 1;
        let mut posting = Posting {
            org: self.org.clone(),
            number: self.number,
            kind: draft.kind,
            effective_at: draft.effective_at,
            recorded_at,
            amount: draft.amount,
            entries: draft.entries,
            cause: draft.cause,
            digest: Digest::default(),
        };
        posting.digest = posting.chained_digest(self.head);
        self.head = posting.digest;
        posting
    }

    /// Books every opening and closing that is due at `now`: in the order of their instants, openings first, then by
    /// id.
    pub(super) fn book_due(
        &mut self,
        now: Timestamp,
        postings: &mut Vec<Posting>,
    ) -> Result<(), AmountError> {
        loop {
            let policy = self.policy;
            let due = self
                .allocations()
                .iter()
                .filter_map(|a| {
                    a.due_at(&policy).map(|at| (at, a.status != AllocationStatus::Scheduled, a.id))
                })
                .min();
            let Some((at, closing, id)) = due.filter(|(at, ..)| *at <= now) else { return Ok(()) };
            if closing {
                self.close(id, at, now, postings)?;
            } else {
                self.open(id, at, now, postings)?;
            }
        }
    }

    fn open(
        &mut self,
        id: AllocationId,
        at: Timestamp,
        now: Timestamp,
        postings: &mut Vec<Posting>,
    ) -> Result<(), AmountError> {
        let owed = self.overdraft()?;
        let Some(allocation) = self.allocation_mut(id) else { return Ok(()) };
        allocation.status = AllocationStatus::Open;
        let account = allocation.account.clone();
        let amount = allocation.remaining;
        let pays = account == Account::Organization && allocation.scope.is_everything();
        self.touch(id);
        let entry = |amount, target| Entry { account: account.clone(), target, amount };
        let entries = vec![entry(amount, Target::Allocation(id))];
        postings.push(self.post(
            now,
            Draft { kind: PostingKind::Open, effective_at: at, amount, entries, cause: Cause::Boundary },
        ));
        let repaid = owed.min(amount);
        if !pays || !repaid.is_positive() {
            return Ok(());
        }
        if let Some(allocation) = self.allocation_mut(id) {
            allocation.remaining = allocation.remaining.minus(repaid)?;
            allocation.repaid = allocation.repaid.plus(repaid)?;
        }
        self.totals.repaid = self.totals.repaid.plus(repaid)?;
        let entries = vec![entry(repaid.negated(), Target::Allocation(id)), entry(repaid, Target::Overdraft)];
        postings.push(self.post(
            now,
            Draft {
                kind: PostingKind::Repay,
                effective_at: at,
                amount: repaid,
                entries,
                cause: Cause::Boundary,
            },
        ));
        Ok(())
    }

    fn close(
        &mut self,
        id: AllocationId,
        at: Timestamp,
        now: Timestamp,
        postings: &mut Vec<Posting>,
    ) -> Result<(), AmountError> {
        let Some(allocation) = self.allocation_mut(id) else { return Ok(()) };
        let account = allocation.account.clone();
        let amount = std::mem::take(&mut allocation.remaining);
        allocation.expired = allocation.expired.plus(amount)?;
        self.totals.expired = self.totals.expired.plus(amount)?;
        self.remove(id);
        let entries = vec![Entry { account, target: Target::Allocation(id), amount: amount.negated() }];
        postings.push(self.post(
            now,
            Draft { kind: PostingKind::Close, effective_at: at, amount, entries, cause: Cause::Boundary },
        ));
        Ok(())
    }

    /// Debits usage: burns allocations in order, the rest by the org's overdraft policy.
    pub(super) fn debit(
        &mut self,
        usage: PricedUsage,
        now: Timestamp,
        postings: &mut Vec<Posting>,
    ) -> Result<(), AmountError> {
        let event = &usage.event;
        let occurred_at = event.occurred_at;
        let amount = usage.charge.credits;
        // Every other total is at most what was charged: if this fits, all of it does, and nothing is half done.
        let charged = self.totals.charged.plus(amount)?;
        let mut models = vec![&event.request_model];
        models.extend(&event.response_model);
        models.extend(usage.charge.tier.as_ref().map(|tier| &tier.price.model));
        let mut due = amount;
        let mut entries = Vec::new();
        let mut touched = Vec::new();
        for allocation in self.allocations_mut() {
            if !due.is_positive() {
                break;
            }
            let own = allocation.account.user().is_none_or(|user| event.user_id.as_ref() == Some(user));
            let fits = own
                && allocation.status == AllocationStatus::Open
                && allocation.remaining.is_positive()
                && allocation.is_active_at(occurred_at)
                && allocation.scope.fits(&event.module, event.feature.as_ref(), &models);
            if !fits {
                continue;
            }
            let taken = due.min(allocation.remaining);
            allocation.remaining = allocation.remaining.minus(taken)?;
            allocation.consumed = allocation.consumed.plus(taken)?;
            due = due.minus(taken)?;
            let account = allocation.account.clone();
            entries.push(Entry {
                account,
                target: Target::Allocation(allocation.id),
                amount: taken.negated(),
            });
            touched.push(allocation.id);
        }
        touched.into_iter().for_each(|id| self.touch(id));
        let totals = &mut self.totals;
        totals.charged = charged;
        totals.consumed = totals.consumed.plus(amount.minus(due)?)?;
        if due.is_positive() {
            let target = match self.policy.overdraft {
                OverdraftPolicy::Carry => {
                    totals.overdraft_incurred = totals.overdraft_incurred.plus(due)?;
                    Target::Overdraft
                }
                OverdraftPolicy::Absorb => {
                    totals.absorbed = totals.absorbed.plus(due)?;
                    Target::Absorbed
                }
            };
            entries.push(Entry { account: Account::Organization, target, amount: due.negated() });
        }
        let cause = Cause::Usage(Box::new(usage));
        let draft = Draft { kind: PostingKind::Debit, effective_at: occurred_at, amount, entries, cause };
        postings.push(self.post(now, draft));
        Ok(())
    }

    /// Carries out a command of an org that is open.
    pub(super) fn carry_out(
        &mut self,
        admitted: &AdmittedCommand,
        now: Timestamp,
        postings: &mut Vec<Posting>,
    ) -> Result<Result<(), Rejection>, AmountError> {
        let command = &admitted.command;
        let cause = || Cause::Command(Box::new(command.clone()), admitted.payload_digest);
        let setting = |effective_at| Draft {
            kind: PostingKind::Setting,
            effective_at,
            amount: Credits::ZERO,
            entries: Vec::new(),
            cause: cause(),
        };
        match &command.body {
            CommandBody::Grant(_, grant) => {
                let id = AllocationId(command.command_id.0);
                let Ok(granted) = self.totals.granted.plus(grant.amount) else {
                    return Ok(Err(out_of_range()));
                };
                self.totals.granted = granted;
                self.insert(scheduled(id, grant));
                let draft = Draft {
                    kind: PostingKind::Grant,
                    effective_at: grant.effective_at,
                    amount: grant.amount,
                    entries: Vec::new(),
                    cause: cause(),
                };
                postings.push(self.post(now, draft));
            }
            CommandBody::Adjust(_, adjust) => {
                return self.adjust(adjust, command.issued_at, cause(), now, postings);
            }
            CommandBody::OpenOrg(_, policy) if !admitted.opens => {
                let same = *policy == self.policy;
                return Ok(if same {
                    postings.push(self.post(now, setting(command.issued_at)));
                    Ok(())
                } else {
                    Err(Rejection("the org is open already; set its policy instead".to_owned()))
                });
            }
            CommandBody::OpenOrg(_, policy) | CommandBody::SetPolicy(_, policy) => {
                self.policy = *policy;
                postings.push(self.post(now, setting(command.issued_at)));
            }
            CommandBody::Genesis(_)
            | CommandBody::IssueKey(_)
            | CommandBody::RatesPart(_)
            | CommandBody::RatesSeal(_)
            | CommandBody::SetRules(_) => return Ok(Err(Rejection("belongs to no org".to_owned()))),
        }
        Ok(Ok(()))
    }

    fn adjust(
        &mut self,
        adjust: &Adjust,
        effective_at: Timestamp,
        cause: Cause,
        now: Timestamp,
        postings: &mut Vec<Posting>,
    ) -> Result<Result<(), Rejection>, AmountError> {
        let id = adjust.allocation_id;
        let adjusted_in_all = self.totals.adjusted;
        let Some(allocation) = self.allocation_mut(id) else {
            return Ok(Err(Rejection(format!("the org has no live allocation {id}"))));
        };
        let sums =
            [allocation.remaining, allocation.adjusted, adjusted_in_all].map(|sum| sum.plus(adjust.amount));
        let [Ok(remaining), Ok(adjusted), Ok(adjusted_in_all)] = sums else { return Ok(Err(out_of_range())) };
        if remaining.is_negative() {
            let left = allocation.remaining;
            return Ok(Err(Rejection(format!(
                "allocation {id} has {left} credits left, fewer than are to be taken"
            ))));
        }
        allocation.remaining = remaining;
        allocation.adjusted = adjusted;
        let account = allocation.account.clone();
        let counts = allocation.status == AllocationStatus::Open;
        self.touch(id);
        self.totals.adjusted = adjusted_in_all;
        let entry = Entry { account, target: Target::Allocation(id), amount: adjust.amount };
        // What is added before the opening is part of what the opening brings in.
        let entries = if counts { vec![entry] } else { Vec::new() };
        let draft = Draft { kind: PostingKind::Adjust, effective_at, amount: adjust.amount, entries, cause };
        postings.push(self.post(now, draft));
        Ok(Ok(()))
    }
}

fn out_of_range() -> Rejection {
    Rejection("with it the org's totals would leave the range of amounts (10^16 credits)".to_owned())
}

fn scheduled(id: AllocationId, grant: &Grant) -> Allocation {
    Allocation {
        id,
        account: grant.account.clone(),
        kind: grant.kind,
        purchased: grant.purchased,
        priority: grant.priority,
        scope: grant.scope.clone(),
        effective_at: grant.effective_at,
        expires_at: grant.expires_at,
        status: AllocationStatus::Scheduled,
        granted: grant.amount,
        adjusted: Credits::ZERO,
        consumed: Credits::ZERO,
        repaid: Credits::ZERO,
        expired: Credits::ZERO,
        remaining: grant.amount,
    }
}
