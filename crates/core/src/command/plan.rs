//! Pure: plans, named sets of recurring allocations.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Account, AllocationKind, Grant, MAX_COMMAND_CREDITS, PlanPeriod, Scope};
use crate::amount::{AmountError, Credits};
use crate::id::{CommandId, ItemId, Label, UserId};
use crate::period::Recurrence;
use crate::time::Timestamp;

/// Most items of a plan.
pub const MAX_ITEMS: usize = 32;
/// Most users with allocations of their own in a plan.
pub const MAX_PLAN_USERS: usize = 10_000;

/// Puts an org on a plan, changes its plan, or takes it off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPlan {
    /// From when on; inside the period in course of every item, and not more than 5 minutes ahead of the log's time.
    pub effective_at: Timestamp,
    /// The plan; none takes the org off its plan.
    pub plan: Option<Plan>,
}

/// A named set of recurring allocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub name: Label,
    /// Whether it is a trial: then what nothing covers is absorbed, unless the org's policy says otherwise.
    #[serde(default)]
    pub trial: bool,
    /// How many seats were bought.
    #[serde(default)]
    pub seats: u32,
    /// The users who have allocations of their own.
    #[serde(default)]
    pub users: BTreeSet<UserId>,
    /// The recurring allocations, each with an id of its own.
    pub items: Vec<PlanItem>,
}

/// A recurring allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanItem {
    /// Its id in the plan; the same id in a later plan continues it.
    pub id: ItemId,
    /// `quota`, `subscription` or `payg`.
    pub kind: AllocationKind,
    /// Credits of one whole period, for each share.
    pub amount: Credits,
    /// How many shares there are, and whose.
    pub share: Share,
    /// Lower burns first.
    #[serde(default)]
    pub priority: i32,
    /// What it may be spent on.
    #[serde(default)]
    pub scope: Scope,
    /// Paid for, rather than free.
    #[serde(default)]
    pub purchased: bool,
    /// Most credits of one account that roll over into its next period; only of `subscription`.
    #[serde(default)]
    pub max_rollover: Credits,
    /// How its periods follow each other. The ledger does not calculate with it: whoever publishes periods does.
    pub recurrence: Recurrence,
    /// Where the period in course begins.
    pub period_start: Timestamp,
    /// Where it ends.
    pub period_end: Timestamp,
}

/// How many shares of an item there are, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// One, of the organization.
    Organization,
    /// One for each seat, pooled: all of the organization.
    Seat,
    /// One for each user of the plan, each of that user alone.
    User,
}

impl Plan {
    /// The item of this id.
    #[must_use]
    pub fn item(&self, id: &ItemId) -> Option<&PlanItem> {
        self.items.iter().find(|item| item.id == *id)
    }

    /// Whose allocations an item makes: the organization's, or one of each user.
    pub fn accounts(&self, item: &PlanItem) -> impl Iterator<Item = Account> {
        let users = (item.share == Share::User).then_some(&self.users);
        let organization = (item.share != Share::User).then_some(Account::Organization);
        users.into_iter().flatten().cloned().map(Account::User).chain(organization)
    }

    /// Whether an account gets allocations of an item.
    #[must_use]
    pub fn covers(&self, item: &PlanItem, account: &Account) -> bool {
        match (item.share, account) {
            (Share::User, Account::User(user)) => self.users.contains(user),
            (Share::Organization | Share::Seat, Account::Organization) => true,
            _ => false,
        }
    }

    /// Credits of one account for one whole period of an item.
    ///
    /// # Errors
    /// Out of range.
    pub fn amount(&self, item: &PlanItem) -> Result<Credits, AmountError> {
        match item.share {
            Share::Organization | Share::User => Ok(item.amount),
            Share::Seat => item.amount.prorated(u64::from(self.seats), 1),
        }
    }

    /// The grant of a whole period from `start` to `end`: what the scheduler publishes, under the deterministic id
    /// [`CommandId::of_period`].
    ///
    /// # Errors
    /// Out of range.
    pub fn grant(
        &self,
        revision: CommandId,
        item: &PlanItem,
        account: Account,
        (start, end): (Timestamp, Timestamp),
    ) -> Result<Grant, AmountError> {
        Ok(Grant {
            account,
            kind: item.kind,
            amount: self.amount(item)?,
            effective_at: start,
            expires_at: Some(end),
            priority: item.priority,
            scope: item.scope.clone(),
            purchased: item.purchased,
            period: Some(PlanPeriod { plan: revision, item: item.id.clone(), start, end }),
        })
    }

    /// Why a plan cannot be set at `effective_at`, if so.
    ///
    /// # Errors
    /// In words, for people.
    pub fn check(&self, effective_at: Timestamp) -> Result<(), String> {
        if self.items.is_empty() || self.items.len() > MAX_ITEMS {
            return Err(format!("a plan has 1 to {MAX_ITEMS} items"));
        }
        if self.users.len() > MAX_PLAN_USERS {
            return Err(format!("a plan has at most {MAX_PLAN_USERS} users with allocations of their own"));
        }
        let mut ids = BTreeSet::new();
        for item in &self.items {
            let wrong = |problem: &str| Err(format!("item {}: {problem}", item.id));
            if !ids.insert(&item.id) {
                return wrong("its id is there twice");
            }
            if item.kind == AllocationKind::Prepaid {
                return wrong("prepaid credits do not recur: grant them instead");
            }
            let most = Credits::from(MAX_COMMAND_CREDITS);
            if !item.amount.is_positive() || self.amount(item).map_or(true, |amount| amount > most) {
                return wrong("the credits of a period must be above 0 and at most 4,294,967,295");
            }
            if item.max_rollover.is_negative() || item.max_rollover > most {
                return wrong("max_rollover must be from 0 to 4,294,967,295");
            }
            if item.max_rollover.is_positive() && item.kind != AllocationKind::Subscription {
                return wrong("only a subscription rolls over");
            }
            if !(item.period_start..item.period_end).contains(&effective_at) {
                return wrong("the plan must take effect within the item's period in course");
            }
            if item.period_end.micros().saturating_sub(item.period_start.micros()) > MAX_PERIOD_MICROS {
                return wrong("a period has at most 3,660 days");
            }
            item.recurrence.check().or_else(|problem| wrong(&problem))?;
        }
        Ok(())
    }
}

/// The longest period: ten years, in microseconds.
const MAX_PERIOD_MICROS: i64 = 3_660 * 86_400 * 1_000_000;
