//! Pure: the state of one org.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::allocation::{Allocation, AllocationStatus};
use crate::amount::{AmountError, Credits};
use crate::command::{Account, OverdraftPolicy, Plan, Policy};
use crate::digest::Digest;
use crate::id::{AllocationId, CommandId, ItemId, OrgId};
use crate::time::Timestamp;

/// What an org's postings add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrgTotals {
    /// Credits of all grants.
    pub granted: Credits,
    /// Credits adjusted by hand or by a change of plan.
    pub adjusted: Credits,
    /// Credits charged for usage, as corrected. Always = consumed + overdraft incurred + absorbed.
    pub charged: Credits,
    /// Part of the charges that allocations paid.
    pub consumed: Credits,
    /// Part of the charges that became overdraft.
    pub overdraft_incurred: Credits,
    /// Part of the charges that was recorded and not owed.
    pub absorbed: Credits,
    /// Overdraft that later allocations paid off.
    pub repaid: Credits,
    /// Credits that expired unspent.
    pub expired: Credits,
    /// Credits that credit limits lent until their end, and that are due.
    pub due: Credits,
}

/// The plan of an org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanState {
    /// The command that put it in force.
    pub revision: CommandId,
    /// The plan.
    pub plan: Plan,
    /// Where the last period ends that was granted, by item and account: the next one begins there.
    pub granted_until: BTreeMap<(ItemId, Account), Timestamp>,
}

/// What is stored of an open org, its allocations apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgRecord {
    /// Whose.
    pub org: OrgId,
    /// Number of the last posting.
    pub number: i64,
    /// Running digest up to it.
    pub head: Digest,
    /// What the org has chosen.
    pub policy: Policy,
    /// What the postings add up to.
    pub totals: OrgTotals,
    /// Accounts that are suspended.
    pub suspended: BTreeSet<Account>,
    /// The plan, if the org is on one.
    pub plan: Option<PlanState>,
    /// As of when the plan was last set or taken off.
    pub plan_changed_at: Option<Timestamp>,
}

/// Sorted. Boxed, so that an org with the most allocations moves 8 bytes of each to make place for one.
type Boxes<T> = Vec<Box<T>>;

/// The state of one open org: everything that its next posting depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgState {
    /// All but the allocations.
    pub record: OrgRecord,
    /// Allocations that are not closed, by account, in the order of burn-down.
    allocations: Boxes<Allocation>,
    /// Openings and closings to come, the next one last.
    boundaries: Boxes<Boundary>,
    /// Allocations that changed since [`OrgState::take_changed`].
    changed: BTreeMap<AllocationId, Account>,
    /// Whether the plan changed since [`OrgState::take_plan_change`].
    plan_changed: bool,
    /// Closed allocations that a correction may need, or that closed since then.
    closed: BTreeMap<AllocationId, Allocation>,
    /// Whether the partition's fold lists it among those that changed.
    pub(super) touched: bool,
}

/// An opening or closing to come. Of one instant openings come first, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boundary {
    pub(super) at: Timestamp,
    pub(super) closing: bool,
    pub(super) id: AllocationId,
    pub(super) account: Account,
}

impl Boundary {
    fn of(allocation: &Allocation, policy: &Policy) -> Option<Self> {
        let closing = allocation.status != AllocationStatus::Scheduled;
        let at = allocation.due_at(policy)?;
        Some(Self { at, closing, id: allocation.id, account: allocation.account.clone() })
    }
}

impl OrgState {
    /// An org that has just been opened.
    #[must_use]
    pub fn new(org: OrgId, policy: Policy) -> Self {
        let record = OrgRecord {
            org,
            number: 0,
            head: Digest::default(),
            policy,
            totals: OrgTotals::default(),
            suspended: BTreeSet::new(),
            plan: None,
            plan_changed_at: None,
        };
        Self::restore(record, Vec::new())
    }

    /// An org as stored: its record and its allocations that are not closed.
    #[must_use]
    pub fn restore(record: OrgRecord, allocations: Vec<Allocation>) -> Self {
        let mut state = Self {
            record,
            allocations: Vec::new(),
            boundaries: Vec::new(),
            changed: BTreeMap::new(),
            plan_changed: false,
            closed: BTreeMap::new(),
            touched: false,
        };
        state.put_all(allocations.into_iter().map(Box::new).collect());
        state
    }

    /// Takes in closed allocations, as stored, which a correction may give credits back to.
    pub fn remember_closed(&mut self, allocations: impl IntoIterator<Item = Allocation>) {
        for allocation in allocations {
            self.closed.entry(allocation.id).or_insert(allocation);
        }
    }

    /// Forgets the closed allocations whose changes were taken.
    pub fn forget_closed(&mut self) {
        let changed = &self.changed;
        self.closed.retain(|id, _| changed.contains_key(id));
    }

    /// Whose.
    #[must_use]
    pub const fn org(&self) -> &OrgId {
        &self.record.org
    }

    /// Allocations that are not closed: by account, in the order of burn-down.
    pub fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.allocations.iter().map(Box::as_ref)
    }

    /// How many allocations are not closed.
    #[must_use]
    pub const fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// What happens to usage that no allocation covers.
    #[must_use]
    pub fn overdraft_policy(&self) -> OverdraftPolicy {
        let trial = self.record.plan.as_ref().is_some_and(|plan| plan.plan.trial);
        let default = if trial { OverdraftPolicy::Absorb } else { OverdraftPolicy::Carry };
        self.record.policy.overdraft.unwrap_or(default)
    }

    /// What is owed.
    ///
    /// # Errors
    /// Out of range.
    pub fn overdraft(&self) -> Result<Credits, AmountError> {
        self.record.totals.overdraft_incurred.minus(self.record.totals.repaid)
    }

    /// What is left in open allocations and waits to roll over, less what is owed: the sum of all entries over
    /// allocations and overdraft.
    ///
    /// # Errors
    /// Out of range.
    pub fn balance(&self) -> Result<Credits, AmountError> {
        let opened = self.allocations().filter(|allocation| allocation.status != AllocationStatus::Scheduled);
        let left = sum(opened.map(|allocation| allocation.remaining))?;
        left.minus(self.overdraft()?)
    }

    /// When the next opening or closing is due.
    #[must_use]
    pub fn next_boundary(&self) -> Option<Timestamp> {
        self.boundaries.last().map(|boundary| boundary.at)
    }

    /// The allocations that changed since the last call, closed ones included, each once.
    pub fn take_changed(&mut self) -> Vec<Allocation> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|(id, account)| self.find(account, *id).cloned()).collect()
    }

    /// Whether the plan changed since the last call.
    pub const fn take_plan_change(&mut self) -> bool {
        std::mem::replace(&mut self.plan_changed, false)
    }

    /// Puts another plan in place, or none.
    pub(super) fn set_plan_state(&mut self, plan: Option<PlanState>) {
        self.record.plan = plan;
        self.plan_changed = true;
    }

    /// The first boundary that is due at `now`.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<Boundary> {
        self.boundaries.last().filter(|boundary| boundary.at <= now).map(|boundary| (**boundary).clone())
    }

    /// An allocation, live or remembered.
    pub(super) fn find(&self, account: &Account, id: AllocationId) -> Option<&Allocation> {
        let live = self.own(account).find(|allocation| allocation.id == id);
        live.or_else(|| self.closed.get(&id))
    }

    /// An allocation that is not closed, by its id alone.
    #[must_use]
    pub fn by_id(&self, id: AllocationId) -> Option<&Allocation> {
        self.allocations().find(|allocation| allocation.id == id)
    }

    /// The allocations of an account that are not closed, in the order of burn-down.
    pub(super) fn own(&self, account: &Account) -> impl Iterator<Item = &Allocation> {
        self.allocations.get(self.places(account)).unwrap_or_default().iter().map(Box::as_ref)
    }

    /// Whether any user has allocations of their own.
    pub(super) fn has_users(&self) -> bool {
        self.allocations.first().is_some_and(|allocation| allocation.account != Account::Organization)
    }

    /// The allocations of an account, to burn from, in order.
    pub(super) fn own_mut(&mut self, account: &Account) -> &mut [Box<Allocation>] {
        let places = self.places(account);
        self.allocations.get_mut(places).unwrap_or_default()
    }

    /// Where the allocations of an account lie.
    fn places(&self, account: &Account) -> Range<usize> {
        let begin = self.allocations.partition_point(|allocation| allocation.account < *account);
        let rest = self.allocations.get(begin..).unwrap_or_default();
        begin..begin + rest.partition_point(|allocation| allocation.account == *account)
    }

    /// Changes an allocation, live or remembered, in what has no bearing on its place, status or boundaries.
    pub(super) fn change<T>(
        &mut self,
        account: &Account,
        id: AllocationId,
        change: impl FnOnce(&mut Allocation) -> Result<T, AmountError>,
    ) -> Result<Option<T>, AmountError> {
        let index = self.place(account, id);
        let live = index.and_then(|index| self.allocations.get_mut(index)).map(Box::as_mut);
        let Some(allocation) = live.or_else(|| self.closed.get_mut(&id)) else { return Ok(None) };
        let result = change(allocation)?;
        self.touch(id, account);
        Ok(Some(result))
    }

    pub(super) fn touch(&mut self, id: AllocationId, account: &Account) {
        self.changed.entry(id).or_insert_with(|| account.clone());
    }

    /// Puts a new or changed allocation in its place.
    pub(super) fn insert(&mut self, allocation: Allocation) {
        self.touch(allocation.id, &allocation.account);
        self.put(allocation);
    }

    fn put(&mut self, allocation: Allocation) {
        if allocation.status == AllocationStatus::Closed {
            self.closed.insert(allocation.id, allocation);
            return;
        }
        if let Some(boundary) = Boundary::of(&allocation, &self.record.policy) {
            let index = self.boundaries.partition_point(|other| **other > boundary);
            insert(&mut self.boundaries, index, Box::new(boundary));
        }
        let places = self.places(&allocation.account);
        let own = self.allocations.get(places.clone()).unwrap_or_default();
        let index = places.start + own.partition_point(|other| other.burn_order() < allocation.burn_order());
        insert(&mut self.allocations, index, Box::new(allocation));
    }

    /// Takes an allocation out, to change it and insert it again.
    pub(super) fn remove(&mut self, account: &Account, id: AllocationId) -> Option<Allocation> {
        let index = self.place(account, id)?;
        let allocation = self.allocations.remove(index);
        if let Some(boundary) = Boundary::of(&allocation, &self.record.policy)
            && let Ok(index) = self.boundaries.binary_search_by(|other| boundary.cmp(other))
        {
            self.boundaries.remove(index);
        }
        Some(*allocation)
    }

    /// Where an allocation lies that is not closed.
    fn place(&self, account: &Account, id: AllocationId) -> Option<usize> {
        let index = self.own(account).position(|allocation| allocation.id == id)?;
        Some(self.places(account).start + index)
    }

    /// Replaces the policy; the grace moves closings to come.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.record.policy = policy;
        let allocations = std::mem::take(&mut self.allocations);
        self.put_all(allocations);
    }

    /// Puts all allocations in their places at once.
    fn put_all(&mut self, allocations: Boxes<Allocation>) {
        let (closed, mut open): (Vec<_>, Vec<_>) =
            allocations.into_iter().partition(|allocation| allocation.status == AllocationStatus::Closed);
        self.closed.extend(closed.into_iter().map(|allocation| (allocation.id, *allocation)));
        open.sort_by(|a, b| a.account.cmp(&b.account).then_with(|| a.burn_order().cmp(&b.burn_order())));
        let policy = &self.record.policy;
        self.boundaries = open.iter().filter_map(|a| Boundary::of(a, policy)).map(Box::new).collect();
        self.boundaries.sort_unstable_by(|a, b| b.cmp(a));
        self.allocations = open;
    }

    /// The allocations that paid off overdraft and could take it back: the last to pay first. Closed ones must be
    /// remembered.
    pub(super) fn repaying(&self) -> Vec<(Account, AllocationId)> {
        let all = self.allocations().chain(self.closed.values());
        let mut repaying: Vec<_> = all.filter(|a| a.repaid.is_positive()).collect();
        repaying.sort_by_key(|allocation| std::cmp::Reverse(allocation.repaid_in));
        repaying.into_iter().map(|a| (a.account.clone(), a.id)).collect()
    }

    /// What must always hold; the first thing that does not, in words. Used by tests and `ledger verify`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_sums().map_err(|error| error.to_string())?
    }

    fn check_sums(&self) -> Result<Result<(), String>, AmountError> {
        let fail = |what: String| Ok(Err(format!("org {}: {what}", self.record.org)));
        for a in self.allocations().chain(self.closed.values()) {
            let brought = sum([a.granted, a.adjusted, a.moved])?;
            let went = sum([a.remaining, a.consumed, a.repaid, a.expired])?;
            if brought != went {
                return fail(format!("allocation {} brought {brought} but {went} is accounted for", a.id));
            }
            if [a.remaining, a.consumed, a.repaid, a.expired].iter().any(|part| part.is_negative()) {
                return fail(format!("allocation {} is below zero", a.id));
            }
        }
        let totals = &self.record.totals;
        if totals.charged != sum([totals.consumed, totals.overdraft_incurred, totals.absorbed])? {
            return fail("charges are not consumed + overdraft + absorbed".to_owned());
        }
        let scheduled = self.allocations().filter(|a| a.status == AllocationStatus::Scheduled);
        let waiting = sum(scheduled.map(|allocation| allocation.remaining))?;
        let brought = sum([totals.granted, totals.adjusted])?;
        let (balance, overdraft) = (self.balance()?, self.overdraft()?);
        let went = sum([balance, overdraft, waiting, totals.consumed, totals.repaid, totals.expired])?;
        if overdraft.is_negative() {
            return fail(format!("the overdraft is {overdraft}, below zero"));
        }
        if brought != went {
            return fail(format!("{brought} came in but {went} is accounted for"));
        }
        Ok(Ok(()))
    }
}

/// Inserts with little room to spare: most orgs have one allocation or two, and there are many orgs in memory.
fn insert<T>(into: &mut Vec<T>, index: usize, value: T) {
    if into.len() == into.capacity() {
        into.reserve_exact(into.len() / 2 + 1);
    }
    into.insert(index, value);
}

fn sum(amounts: impl IntoIterator<Item = Credits>) -> Result<Credits, AmountError> {
    amounts.into_iter().try_fold(Credits::ZERO, Credits::plus)
}
