use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fluxori_core::command::{Account, Policy};
use fluxori_core::fold::{OrgRecord, OrgTotals, PlanState};
use fluxori_core::id::{CommandId, ItemId, UserId};
use fluxori_core::time::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{credits, digest, org_id, overdraft_policy, unreadable};
use crate::content::{RowKey, RowText, plan_key};
use crate::error::LedgerError;

/// The columns of an org, and of its plan, if it is on one.
pub(crate) struct OrganizationRow {
    pub(crate) org_id: String,
    pub(crate) log_partition: i32,
    pub(crate) posting_number: i64,
    pub(crate) head: Vec<u8>,
    pub(crate) overdraft_policy: Option<String>,
    pub(crate) grace_us: i64,
    pub(crate) suspended: bool,
    pub(crate) suspended_users: Value,
    pub(crate) balance: Decimal,
    pub(crate) overdraft: Decimal,
    pub(crate) granted: Decimal,
    pub(crate) adjusted: Decimal,
    pub(crate) charged: Decimal,
    pub(crate) consumed: Decimal,
    pub(crate) overdraft_incurred: Decimal,
    pub(crate) absorbed: Decimal,
    pub(crate) repaid: Decimal,
    pub(crate) expired: Decimal,
    pub(crate) due: Decimal,
    pub(crate) next_boundary_at: Option<DateTime<Utc>>,
    pub(crate) plan_changed_at: Option<DateTime<Utc>>,
    pub(crate) plan_revision: Option<Uuid>,
    pub(crate) plan: Option<Value>,
    pub(crate) granted_until: Option<Value>,
    pub(crate) newest_event_id: Option<Uuid>,
}

impl OrganizationRow {
    /// The state of the org, its allocations apart.
    pub(crate) fn record(self) -> Result<OrgRecord, LedgerError> {
        let grace = u64::try_from(self.grace_us).map_err(|_| unreadable("a grace", self.grace_us))?;
        let overdraft = self.overdraft_policy.as_deref().map(overdraft_policy).transpose()?;
        let plan = match (self.plan_revision, self.plan, self.granted_until) {
            (Some(revision), Some(plan), Some(granted_until)) => {
                Some(PlanRow { org_id: String::new(), revision, plan, granted_until }.read()?)
            }
            _ => None,
        };
        let users: Vec<UserId> = serde_json::from_value(self.suspended_users)
            .map_err(|error| unreadable("suspended users", error))?;
        let organization = self.suspended.then_some(Account::Organization);
        Ok(OrgRecord {
            org: org_id(&self.org_id)?,
            number: self.posting_number,
            head: digest(&self.head)?,
            policy: Policy { overdraft, grace: Duration::from_micros(grace) },
            totals: OrgTotals {
                granted: credits(self.granted)?,
                adjusted: credits(self.adjusted)?,
                charged: credits(self.charged)?,
                consumed: credits(self.consumed)?,
                overdraft_incurred: credits(self.overdraft_incurred)?,
                absorbed: credits(self.absorbed)?,
                repaid: credits(self.repaid)?,
                expired: credits(self.expired)?,
                due: credits(self.due)?,
            },
            suspended: users.into_iter().map(Account::User).chain(organization).collect(),
            plan,
            plan_changed_at: self.plan_changed_at.map(Timestamp::from),
        })
    }
}

/// The users among suspended accounts.
pub(crate) fn suspended_users(suspended: &BTreeSet<Account>) -> Value {
    suspended.iter().filter_map(Account::user).map(UserId::as_str).collect()
}

/// The columns of a plan.
pub(crate) struct PlanRow {
    pub(crate) org_id: String,
    pub(crate) revision: Uuid,
    pub(crate) plan: Value,
    pub(crate) granted_until: Value,
}

/// Where the last period of an item ends that an account was granted.
#[derive(Serialize, Deserialize)]
struct GrantedUntil {
    item: ItemId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    until: Timestamp,
}

impl PlanRow {
    pub(crate) fn of(org: &fluxori_core::id::OrgId, state: &PlanState) -> Result<Self, LedgerError> {
        let granted_until: Vec<GrantedUntil> = state
            .granted_until
            .iter()
            .map(|((item, account), until)| GrantedUntil {
                item: item.clone(),
                user: account.user().cloned(),
                until: *until,
            })
            .collect();
        let json = |value: serde_json::Result<Value>| value.map_err(|error| unreadable("a plan", error));
        Ok(Self {
            org_id: org.to_string(),
            revision: state.revision.0,
            plan: json(serde_json::to_value(&state.plan))?,
            granted_until: json(serde_json::to_value(&granted_until))?,
        })
    }

    pub(crate) fn read(self) -> Result<PlanState, LedgerError> {
        let wrong = |error| unreadable("a plan", error);
        let granted_until: Vec<GrantedUntil> = serde_json::from_value(self.granted_until).map_err(wrong)?;
        Ok(PlanState {
            revision: CommandId(self.revision),
            plan: serde_json::from_value(self.plan).map_err(wrong)?,
            granted_until: granted_until
                .into_iter()
                .map(|granted| ((granted.item, Account::from(granted.user)), granted.until))
                .collect(),
        })
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        let mut text = RowText::default();
        text.put("revision", self.revision)
            .put_json("plan", Some(&self.plan))
            .put_json("granted_until", Some(&self.granted_until));
        (plan_key(&self.org_id), text)
    }
}
