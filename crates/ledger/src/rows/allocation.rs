use chrono::{DateTime, Utc};
use fluxori_core::command::Account;
use fluxori_core::fold::Allocation;
use fluxori_core::id::{AllocationId, OrgId};
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
    pub(crate) status: String,
    pub(crate) granted: Decimal,
    pub(crate) adjusted: Decimal,
    pub(crate) consumed: Decimal,
    pub(crate) repaid: Decimal,
    pub(crate) expired: Decimal,
    pub(crate) remaining: Decimal,
}

impl AllocationRow {
    /// The row of an allocation.
    pub(crate) fn of(org: &OrgId, allocation: &Allocation) -> Result<Self, LedgerError> {
        let scope = serde_json::to_value(&allocation.scope).map_err(|error| unreadable("a scope", error))?;
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
            status: allocation.status.as_str().to_owned(),
            granted: allocation.granted.decimal(),
            adjusted: allocation.adjusted.decimal(),
            consumed: allocation.consumed.decimal(),
            repaid: allocation.repaid.decimal(),
            expired: allocation.expired.decimal(),
            remaining: allocation.remaining.decimal(),
        })
    }

    pub(crate) fn read(self) -> Result<Allocation, LedgerError> {
        Ok(Allocation {
            id: AllocationId(self.allocation_id),
            account: user_id(self.user_id)?.map_or(Account::Organization, Account::User),
            kind: allocation_kind(&self.kind)?,
            purchased: self.purchased,
            priority: self.priority,
            scope: scope(self.scope)?,
            effective_at: self.effective_at.into(),
            expires_at: self.expires_at.map(Timestamp::from),
            status: allocation_status(&self.status)?,
            granted: credits(self.granted)?,
            adjusted: credits(self.adjusted)?,
            consumed: credits(self.consumed)?,
            repaid: credits(self.repaid)?,
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
            .put("status", &self.status)
            .put("granted", self.granted.normalize())
            .put("adjusted", self.adjusted.normalize())
            .put("consumed", self.consumed.normalize())
            .put("repaid", self.repaid.normalize())
            .put("expired", self.expired.normalize())
            .put("remaining", self.remaining.normalize());
        (RowKey::new(&self.org_id, None, format!("allocation {}", self.allocation_id)), text)
    }
}
