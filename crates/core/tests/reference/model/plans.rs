//! Plans: recurring allocations.

use std::collections::BTreeSet;
use std::time::Duration;

use fluxori_core::command::{Account, AllocationKind, Grant, Plan, PlanItem, PlanPeriod, SetPlan, Share};
use fluxori_core::id::{AllocationId, CommandId, ItemId};
use fluxori_core::posting::PostingKind;
use fluxori_core::time::Timestamp;

use super::amount::{self, Amount, ONE};
use super::org::{Allocation, Leg, Movement, Org, Period, PlanInForce, Status};
use super::{MOST_CREDITS, Rejected, reject};

const MINUTE: u64 = 60;
const DAY_MICROS: i64 = 86_400 * 1_000_000;

impl Org {
    pub(crate) fn set_plan(&mut self, id: CommandId, set: &SetPlan, now: Timestamp) -> Result<(), Rejected> {
        let at = set.effective_at;
        reject(at > now.after(Duration::from_secs(5 * MINUTE)), "ahead of the log's time")?;
        if let Some(plan) = &set.plan {
            check(plan, at)?;
        }
        let opened_since = self.allocations.iter().any(|allocation| {
            allocation.period.is_some() && allocation.status == Status::Open && allocation.effective_at > at
        });
        reject(opened_since, "allocations of a plan have opened since")?;
        reject(self.plan_changed_at.is_some_and(|last| last > at), "before the plan was last set")?;
        self.plan_changed_at = Some(at);
        let before = self.plan.take();
        self.plan = set.plan.clone().map(|plan| in_force(id, plan));
        self.setting(at);
        self.cancel_what_was_published_ahead(at);
        let before = before.map(|before| before.plan);
        self.end_what_is_there_no_more(before.as_ref(), at);
        let Some(plan) = set.plan.clone() else { return Ok(()) };
        for item in &plan.items {
            for account in accounts(&plan, item) {
                self.put_on_item(id, before.as_ref(), &plan, item, account, at);
            }
        }
        Ok(())
    }

    fn cancel_what_was_published_ahead(&mut self, at: Timestamp) {
        let ahead = self.allocations.iter().filter(|allocation| {
            let begins_later = allocation.period.as_ref().is_some_and(|period| period.start > at);
            allocation.status == Status::Scheduled && begins_later
        });
        let mut ids: Vec<AllocationId> = ahead.map(|allocation| allocation.id).collect();
        ids.sort();
        for id in ids {
            // It has not been counted yet.
            self.expire(id, at, |_| Vec::new());
        }
    }

    fn expire(&mut self, id: AllocationId, at: Timestamp, entries: impl FnOnce(Leg) -> Vec<Leg>) {
        let expires = self.allocation(id).remaining();
        self.note(id, Movement::Expired, expires);
        self.allocation_mut(id).status = Status::Closed;
        self.post(PostingKind::Close, at, expires, entries(self.entry(id, -expires)));
    }

    /// Takes the share to come of what the plan gives no more, and ends what waits to roll over in it.
    fn end_what_is_there_no_more(&mut self, before: Option<&Plan>, at: Timestamp) {
        let mut ended: Vec<(AllocationId, Option<Amount>)> = Vec::new();
        for allocation in &self.allocations {
            let Some(period) = &allocation.period else { continue };
            let gives = |plan: &Plan| {
                let item = find(plan, &period.item)?;
                accounts(plan, item).contains(&allocation.account).then(|| item.clone())
            };
            let now = self.plan.as_ref().and_then(|now| gives(&now.plan));
            if allocation.status == Status::RollingOver && now.is_none() {
                ended.push((allocation.id, None));
            }
            let in_course = period.start <= at && at < period.end;
            let same =
                now.is_some_and(|item| (item.period_start, item.period_end) == (period.start, period.end));
            if allocation.is_live() && in_course && !same {
                let was = before.and_then(|plan| gives(plan).map(|item| whole(plan, &item))).unwrap_or(0);
                ended.push((allocation.id, Some(share(was, at, (period.start, period.end)))));
            }
        }
        ended.sort();
        for (id, taken) in ended {
            match taken {
                Some(taken) => self.adjust_by_plan(id, -taken, at),
                None => self.expire(id, at, |entry| vec![entry]),
            }
        }
    }

    fn put_on_item(
        &mut self,
        id: CommandId,
        before: Option<&Plan>,
        plan: &Plan,
        item: &PlanItem,
        account: Account,
        at: Timestamp,
    ) {
        let period = (item.period_start, item.period_end);
        let amount = share(whole(plan, item), at, period);
        let before_amount = before.and_then(|before| {
            let item = find(before, &item.id)?;
            accounts(before, item).contains(&account).then(|| share(whole(before, item), at, period))
        });
        let of_the_period = self.allocations.iter().filter(|allocation| {
            let same = |period: &Period| (period.start, period.end) == (item.period_start, item.period_end);
            allocation.is_live()
                && allocation.is_of(&item.id, &account)
                && allocation.period.as_ref().is_some_and(same)
        });
        if let Some(id) = of_the_period.map(|allocation| allocation.id).min() {
            self.adjust_by_plan(id, amount - before_amount.unwrap_or(0), at);
        } else if amount > 0 {
            let id = id.allocation_of(&item.id, &account);
            self.allocations.push(Allocation {
                id,
                account,
                kind: item.kind,
                purchased: item.purchased,
                priority: item.priority,
                scope: item.scope.clone(),
                effective_at: at,
                expires_at: Some(item.period_end),
                period: Some(Period {
                    item: item.id.clone(),
                    start: item.period_start,
                    end: item.period_end,
                }),
                status: Status::Scheduled,
                movements: vec![(Movement::Granted, amount)],
            });
            self.post(PostingKind::Grant, at, amount, Vec::new());
        }
    }

    /// An adjustment that leaves no less than nothing.
    fn adjust_by_plan(&mut self, id: AllocationId, amount: Amount, at: Timestamp) {
        let amount = amount.max(-self.allocation(id).remaining());
        self.adjust_allocation(id, amount, at);
    }

    pub(crate) fn adjust_allocation(&mut self, id: AllocationId, amount: Amount, at: Timestamp) {
        self.note(id, Movement::Adjusted, amount);
        let counts = self.allocation(id).status == Status::Open;
        let entries: Vec<Leg> = if counts { vec![self.entry(id, amount)] } else { Vec::new() };
        self.post(PostingKind::Adjust, at, amount, entries);
    }

    /// Whether a grant of a period is the one that comes next.
    pub(crate) fn check_period(&self, grant: &Grant, period: &PlanPeriod) -> Result<(), Rejected> {
        let Some(now) = self.plan.as_ref().filter(|now| now.revision == period.plan) else {
            return Err(Rejected("the plan's revision is not in force"));
        };
        let Some(item) = find(&now.plan, &period.item) else { return Err(Rejected("no such item")) };
        let terms = accounts(&now.plan, item).contains(&grant.account)
            && grant.kind == item.kind
            && amount::of(grant.amount) == whole(&now.plan, item)
            && grant.priority == item.priority
            && grant.scope == item.scope
            && grant.purchased == item.purchased
            && grant.effective_at == period.start
            && grant.expires_at == Some(period.end);
        reject(!terms, "the terms are not the plan's")?;
        let end = now.ends.get(&(item.id.clone(), grant.account.clone()));
        reject(end != Some(&period.start), "the period does not follow the last one")
    }
}

fn in_force(revision: CommandId, plan: Plan) -> PlanInForce {
    let mut ends = std::collections::BTreeMap::new();
    for item in &plan.items {
        for account in accounts(&plan, item) {
            ends.insert((item.id.clone(), account), item.period_end);
        }
    }
    PlanInForce { revision, plan, ends }
}

pub(crate) fn find<'plan>(plan: &'plan Plan, id: &ItemId) -> Option<&'plan PlanItem> {
    plan.items.iter().find(|item| item.id == *id)
}

/// Whose allocations an item makes, in order.
pub(crate) fn accounts(plan: &Plan, item: &PlanItem) -> Vec<Account> {
    match item.share {
        Share::Organization | Share::Seat => vec![Account::Organization],
        Share::User => plan.users.iter().cloned().map(Account::User).collect(),
    }
}

/// The credits of one account for a whole period.
pub(crate) fn whole(plan: &Plan, item: &PlanItem) -> Amount {
    let amount = amount::of(item.amount);
    if item.share == Share::Seat { amount * i128::from(plan.seats) } else { amount }
}

/// The part of an amount that falls into what is left of a period.
fn share(amount: Amount, at: Timestamp, (start, end): (Timestamp, Timestamp)) -> Amount {
    let micros = |from: Timestamp, to: Timestamp| i128::from(to.micros()) - i128::from(from.micros());
    amount::share(amount, micros(at, end), micros(start, end))
}

/// Whether a plan can be, and be set at an instant.
fn check(plan: &Plan, at: Timestamp) -> Result<(), Rejected> {
    reject(plan.items.is_empty() || plan.items.len() > 32, "1 to 32 items")?;
    reject(plan.users.len() > 10_000, "at most 10,000 users")?;
    let ids: BTreeSet<&ItemId> = plan.items.iter().map(|item| &item.id).collect();
    reject(ids.len() < plan.items.len(), "an item twice")?;
    for item in &plan.items {
        let rollover = amount::of(item.max_rollover);
        let most = MOST_CREDITS * ONE;
        reject(item.kind == AllocationKind::Prepaid, "prepaid does not recur")?;
        reject(amount::of(item.amount) <= 0 || whole(plan, item) > most, "amount")?;
        reject(!(0..=most).contains(&rollover), "max_rollover")?;
        reject(rollover > 0 && item.kind != AllocationKind::Subscription, "only a subscription rolls over")?;
        reject(at < item.period_start || item.period_end <= at, "not within the period in course")?;
        let length = item.period_end.micros() - item.period_start.micros();
        reject(length > 3_660 * DAY_MICROS, "a period is too long")?;
        reject(item.recurrence.check().is_err(), "recurrence")?;
    }
    Ok(())
}
