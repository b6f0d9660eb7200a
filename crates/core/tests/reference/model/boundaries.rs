//! What time brings: openings, closings, and what rolls over between them.

use fluxori_core::command::{Account, AllocationKind};
use fluxori_core::id::AllocationId;
use fluxori_core::posting::PostingKind;
use fluxori_core::time::Timestamp;

use super::amount::{self, Amount};
use super::org::{Allocation, Leg, Movement, Org, Place, Status, due};
use super::plans::{accounts, find};

impl Org {
    /// Books what is due at `now`, one boundary after the other: the earliest, openings before closings, then by id.
    pub(crate) fn book_due(&mut self, now: Timestamp) {
        loop {
            let due = self.allocations.iter().filter_map(|allocation| match allocation.status {
                Status::Scheduled => Some((allocation.effective_at, false, allocation.id)),
                Status::Open => {
                    allocation.expires_at.map(|at| (at.after(self.policy.grace), true, allocation.id))
                }
                Status::RollingOver | Status::Closed => None,
            });
            match due.filter(|(at, ..)| *at <= now).min() {
                Some((at, false, id)) => self.open_allocation(id, at),
                Some((at, true, id)) => self.close_allocation(id, at),
                None => return,
            }
        }
    }

    fn open_allocation(&mut self, id: AllocationId, at: Timestamp) {
        self.allocation_mut(id).status = Status::Open;
        let brought = self.allocation(id).remaining();
        self.post(PostingKind::Open, at, brought, vec![self.entry(id, brought)]);
        self.pay_off_overdraft(id, at);
        let opened = self.allocation(id);
        let waits = |other: &&Allocation| other.status == Status::RollingOver && follows(opened, other);
        let mut waiting: Vec<AllocationId> =
            self.allocations.iter().filter(waits).map(|other| other.id).collect();
        waiting.sort();
        for from in waiting {
            self.roll_over(from, id, self.allocation(from).remaining(), at);
            self.allocation_mut(from).status = Status::Closed;
        }
    }

    /// The unscoped allocations of the organization pay off what is owed when they open.
    fn pay_off_overdraft(&mut self, id: AllocationId, at: Timestamp) {
        let allocation = self.allocation(id);
        let scope = &allocation.scope;
        let scoped = !scope.modules.is_empty() || !scope.features.is_empty() || !scope.models.is_empty();
        let pays = self.owed().min(allocation.remaining());
        if allocation.account != Account::Organization || scoped || pays <= 0 {
            return;
        }
        self.note(id, Movement::Repaid, pays);
        self.repayments.push((id, pays));
        let overdraft = Leg { account: Account::Organization, place: Place::Overdraft, amount: pays };
        self.post(PostingKind::Repay, at, pays, vec![self.entry(id, -pays), overdraft]);
    }

    fn roll_over(&mut self, from: AllocationId, to: AllocationId, amount: Amount, at: Timestamp) {
        self.note(from, Movement::Moved, -amount);
        self.note(to, Movement::Moved, amount);
        let entries = vec![self.entry(from, -amount), self.entry(to, amount)];
        self.post(PostingKind::Rollover, at, amount, entries);
    }

    fn close_allocation(&mut self, id: AllocationId, at: Timestamp) {
        let keeps = self.keeps(id);
        let next = if keeps > 0 { self.next_open(id) } else { None };
        if let Some(next) = next {
            self.roll_over(id, next, keeps, at);
        }
        let waits = keeps > 0 && next.is_none();
        let expires = self.allocation(id).remaining() - if waits { keeps } else { 0 };
        self.note(id, Movement::Expired, expires);
        self.allocation_mut(id).status = if waits { Status::RollingOver } else { Status::Closed };
        let mut entries = vec![self.entry(id, -expires)];
        let used = self.allocation(id).used();
        if self.allocation(id).kind == AllocationKind::Payg && used > 0 {
            entries.push(due(-used));
        }
        self.post(PostingKind::Close, at, expires, entries);
    }

    /// How much of a closing allocation the next period gets.
    fn keeps(&self, id: AllocationId) -> Amount {
        let allocation = self.allocation(id);
        let (Some(period), Some(in_force)) = (&allocation.period, &self.plan) else { return 0 };
        if allocation.kind != AllocationKind::Subscription {
            return 0;
        }
        match find(&in_force.plan, &period.item) {
            Some(item) if accounts(&in_force.plan, item).contains(&allocation.account) => {
                amount::of(item.max_rollover).min(allocation.remaining())
            }
            _ => 0,
        }
    }

    /// The open allocation of the same item and account with the earliest later period.
    fn next_open(&self, id: AllocationId) -> Option<AllocationId> {
        let closing = self.allocation(id);
        let later =
            self.allocations.iter().filter(|other| other.status == Status::Open && follows(other, closing));
        later
            .min_by_key(|other| (other.period.as_ref().map(|period| period.start), other.id))
            .map(|other| other.id)
    }
}

/// Whether an allocation is of a later period of the same item and account as another.
fn follows(allocation: &Allocation, other: &Allocation) -> bool {
    let (Some(ours), Some(theirs)) = (&allocation.period, &other.period) else { return false };
    allocation.account == other.account && ours.item == theirs.item && ours.start >= theirs.end
}
