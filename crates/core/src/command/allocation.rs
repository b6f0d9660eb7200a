//! Pure: what commands say about allocations.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::amount::Credits;
use crate::id::{AllocationId, CommandId, Feature, ItemId, Model, Module, UserId};
use crate::time::Timestamp;

/// Who pays out of an allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// One user inside the org; sorts first because a user's own credits burn first.
    User(UserId),
    /// The organization.
    Organization,
}

impl Account {
    /// The user, if this is a user's account.
    #[must_use]
    pub const fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Organization => None,
        }
    }
}

impl From<Option<UserId>> for Account {
    fn from(user: Option<UserId>) -> Self {
        user.map_or(Self::Organization, Self::User)
    }
}

/// The kind of an allocation; the order is that of burn-down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocationKind {
    /// One per period, use it or lose it.
    Quota,
    /// One per period of a plan; what is left may roll over into the next.
    Subscription,
    /// Granted once; the only kind that may never expire.
    Prepaid,
    /// One per period: a credit limit; what was used is due at its end.
    Payg,
}

impl AllocationKind {
    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Subscription => "subscription",
            Self::Prepaid => "prepaid",
            Self::Payg => "payg",
        }
    }
}

/// What an allocation may be spent on; an empty set means everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Only these modules.
    pub modules: BTreeSet<Module>,
    /// Only these features.
    pub features: BTreeSet<Feature>,
    /// Only these models.
    pub models: BTreeSet<Model>,
}

impl Scope {
    /// Whether everything fits.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.modules.is_empty() && self.features.is_empty() && self.models.is_empty()
    }

    /// Whether usage of this module, feature and model fits; `models` are all names that the model goes by.
    #[must_use]
    pub fn fits<'model>(
        &self,
        module: &Module,
        feature: Option<&Feature>,
        mut models: impl Iterator<Item = &'model Model>,
    ) -> bool {
        (self.modules.is_empty() || self.modules.contains(module))
            && (self.features.is_empty() || feature.is_some_and(|feature| self.features.contains(feature)))
            && (self.models.is_empty() || models.any(|model| self.models.contains(model)))
    }
}

/// An allocation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who may spend it.
    pub account: Account,
    /// Which kind it is.
    pub kind: AllocationKind,
    /// How many credits; above zero. Of `payg`: the credit limit.
    pub amount: Credits,
    /// First instant at which it may be spent.
    pub effective_at: Timestamp,
    /// First instant at which it may no longer be spent; only `prepaid` may have none and never expire.
    pub expires_at: Option<Timestamp>,
    /// Lower burns first.
    pub priority: i32,
    /// What it may be spent on.
    pub scope: Scope,
    /// Paid for, rather than free.
    pub purchased: bool,
    /// Which period of the org's plan it is, if it is one.
    pub period: Option<PlanPeriod>,
}

/// A period of one item of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPeriod {
    /// The `set_plan` command that put the plan in force: its revision.
    pub plan: CommandId,
    /// Which item of it.
    pub item: ItemId,
    /// Where the period begins.
    pub start: Timestamp,
    /// Where it ends, and the next one begins.
    pub end: Timestamp,
}

/// A change of a live allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    /// Which allocation.
    pub allocation_id: AllocationId,
    /// Credits added, or taken if negative; never more than what is left.
    pub amount: Credits,
}

/// Moves credits from a live allocation to another account of the org. They keep kind, span, priority, scope and whether
/// they were paid for, in an allocation of their own that bears the id of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Out of which allocation; not of `payg`, whose credits are a limit and nobody's own.
    pub allocation_id: AllocationId,
    /// To whom.
    pub to: Account,
    /// How many credits; above zero, never more than what is left.
    pub amount: Credits,
}

/// Lets a live allocation expire later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    /// Which allocation.
    pub allocation_id: AllocationId,
    /// The new expiry, later than the one before; none (never) for `prepaid` only.
    pub expires_at: Option<Timestamp>,
}
