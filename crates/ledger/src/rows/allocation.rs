use chrono::{DateTime, Utc};
use fluxori_core::command::{Account, PlanPeriod};
use fluxori_core::fold::Allocation;
use fluxori_core::id::{AllocationId, CommandId, OrgId};
use fluxori_core::time::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use super::{allocation_kind, allocation_status, credits, scope, to_column, unreadable, user_id};
use crate::content::{RowKey, RowText};
use crate::error::LedgerError;

/// The columns of an allocation.
pub(crate) struct AllocationRow {
    pub(crate) org_id: String,
    pub(crate) allocation_id: Uuid,
    pub(crate) user_id: Option<String>,
    pub(crate) kind: String,
    pub(crate) purchased: bool,
    pub(crate) priority: i32,
    pub(crate) scope: Value,
    pub(crate) effective_at: DateTime<Utc>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) plan_revision: Option<Uuid>,
    pub(crate) plan_item: Option<String>,
    pub(crate) period_start: Option<DateTime<Utc>>,
    pub(crate) period_end: Option<DateTime<Utc>>,
    pub(crate) status: String,
    pub(crate) granted: Decimal,
    pub(crate) adjusted: Decimal,
    pub(crate) moved: Decimal,
    pub(crate) consumed: Decimal,
    pub(crate) repaid: Decimal,
    pub(crate) repaid_in: i64,
    pub(crate) expired: Decimal,
    pub(crate) remaining: Decimal,
}

impl AllocationRow {
    /// The row of an allocation.
    pub(crate) fn of(org: &OrgId, allocation: &Allocation) -> Result<Self, LedgerError> {
        let scope = serde_json::to_value(&allocation.scope).map_err(|error| unreadable("a scope", error))?;
        let period = allocation.period.as_ref();
        Ok(Self {
            org_id: org.to_string(),
            allocation_id: allocation.id.0,
            user_id: allocation.account.user().map(ToString::to_string),
            kind: allocation.kind.as_str().to_owned(),
            purchased: allocation.purchased,
            priority: allocation.priority,
            scope,
            effective_at: to_column(allocation.effective_at),
            expires_at: allocation.expires_at.map(to_column),
            plan_revision: period.map(|period| period.plan.0),
            plan_item: period.map(|period| period.item.to_string()),
            period_start: period.map(|period| to_column(period.start)),
            period_end: period.map(|period| to_column(period.end)),
            status: allocation.status.as_str().to_owned(),
            granted: allocation.granted.decimal(),
            adjusted: allocation.adjusted.decimal(),
            moved: allocation.moved.decimal(),
            consumed: allocation.consumed.decimal(),
            repaid: allocation.repaid.decimal(),
            repaid_in: allocation.repaid_in,
            expired: allocation.expired.decimal(),
            remaining: allocation.remaining.decimal(),
        })
    }

    pub(crate) fn read(self) -> Result<Allocation, LedgerError> {
        let period = match (self.plan_revision, self.plan_item, self.period_start, self.period_end) {
            (Some(plan), Some(item), Some(start), Some(end)) => Some(PlanPeriod {
                plan: CommandId(plan),
                item: item.parse().map_err(|error| unreadable("an item id", error))?,
                start: start.into(),
                end: end.into(),
            }),
            _ => None,
        };
        Ok(Allocation {
            id: AllocationId(self.allocation_id),
            account: user_id(self.user_id)?.map_or(Account::Organization, Account::User),
            kind: allocation_kind(&self.kind)?,
            purchased: self.purchased,
            priority: self.priority,
            scope: scope(self.scope)?,
            effective_at: self.effective_at.into(),
            expires_at: self.expires_at.map(Timestamp::from),
            period,
            status: allocation_status(&self.status)?,
            granted: credits(self.granted)?,
            adjusted: credits(self.adjusted)?,
            moved: credits(self.moved)?,
            consumed: credits(self.consumed)?,
            repaid: credits(self.repaid)?,
            repaid_in: self.repaid_in,
            expired: credits(self.expired)?,
            remaining: credits(self.remaining)?,
        })
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        let mut text = RowText::default();
        text.put_some("user_id", self.user_id.as_deref())
            .put("kind", &self.kind)
            .put("purchased", self.purchased)
            .put("priority", self.priority)
            .put_json("scope", Some(&self.scope))
            .put_time("effective_at", Some(self.effective_at))
            .put_time("expires_at", self.expires_at)
            .put_some("plan_revision", self.plan_revision)
            .put_some("plan_item", self.plan_item.as_deref())
            .put_time("period_start", self.period_start)
            .put_time("period_end", self.period_end)
            .put("status", &self.status)
            .put("granted", self.granted.normalize())
            .put("adjusted", self.adjusted.normalize())
            .put("moved", self.moved.normalize())
            .put("consumed", self.consumed.normalize())
            .put("repaid", self.repaid.normalize())
            .put("repaid_in", self.repaid_in)
            .put("expired", self.expired.normalize())
            .put("remaining", self.remaining.normalize());
        (RowKey::new(&self.org_id, None, format!("allocation {}", self.allocation_id)), text)
    }
}
