//! Between the types of `fluxori_core` and those of columns.

pub(crate) mod allocation;
pub(crate) mod global;
pub(crate) mod organization;
pub(crate) mod outcome;
pub(crate) mod posting;

use chrono::{DateTime, Utc};
use fluxori_core::amount::Credits;
use fluxori_core::command::{AllocationKind, OverdraftPolicy, Scope};
use fluxori_core::digest::Digest;
use fluxori_core::fold::AllocationStatus;
use fluxori_core::id::{OrgId, UserId};
use fluxori_core::time::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::error::LedgerError;

pub(crate) fn unreadable(what: &str, value: impl std::fmt::Display) -> LedgerError {
    LedgerError::Unreadable { what: format!("{what} `{value}`") }
}

/// Postgres holds microseconds and so do we; what lies outside its years is cut to them.
pub(crate) fn to_column(time: Timestamp) -> DateTime<Utc> {
    time.to_datetime().unwrap_or(if time.micros() < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// One column of some rows, as a statement takes it.
pub(crate) fn column<'rows, R, T>(rows: &'rows [R], of: impl FnMut(&'rows R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Postgres' text cannot hold NUL, which free text from elsewhere may.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, LedgerError> {
    Digest::from_slice(bytes).map_err(|error| unreadable("a digest", error))
}

pub(crate) fn credits(value: Decimal) -> Result<Credits, LedgerError> {
    Credits::new(value).map_err(|error| unreadable("an amount", error))
}

pub(crate) fn org_id(text: &str) -> Result<OrgId, LedgerError> {
    OrgId::new(text).map_err(|error| unreadable("an org id", error))
}

pub(crate) fn user_id(text: Option<String>) -> Result<Option<UserId>, LedgerError> {
    text.map(|text| UserId::new(&text).map_err(|error| unreadable("a user id", error))).transpose()
}

pub(crate) fn allocation_kind(text: &str) -> Result<AllocationKind, LedgerError> {
    [AllocationKind::Quota, AllocationKind::Subscription, AllocationKind::Prepaid, AllocationKind::Payg]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| unreadable("a kind of allocation", text))
}

pub(crate) fn allocation_status(text: &str) -> Result<AllocationStatus, LedgerError> {
    [
        AllocationStatus::Scheduled,
        AllocationStatus::Open,
        AllocationStatus::RollingOver,
        AllocationStatus::Closed,
    ]
    .into_iter()
    .find(|status| status.as_str() == text)
    .ok_or_else(|| unreadable("a status of an allocation", text))
}

pub(crate) fn overdraft_policy(text: &str) -> Result<OverdraftPolicy, LedgerError> {
    [OverdraftPolicy::Carry, OverdraftPolicy::Absorb]
        .into_iter()
        .find(|policy| policy.as_str() == text)
        .ok_or_else(|| unreadable("an overdraft policy", text))
}

pub(crate) fn scope(value: Value) -> Result<Scope, LedgerError> {
    serde_json::from_value(value).map_err(|error| unreadable("a scope", error))
}
