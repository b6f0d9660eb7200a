//! Commands of an org. What a plan and quantities say is written as the types of the core have it.

use std::collections::BTreeSet;
use std::time::Duration;

use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, Adjust, AllocationKind, Change, Correct, Dismiss, Extend, Grant, OverdraftPolicy, Plan,
    PlanPeriod, Policy, Release, Reprice, Scope, SetPlan, Transfer,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::{
    AllocationId, CommandId, EventId, Feature, ItemId, Model, Module, RevisionId, UserId,
};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantities, Violation};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Policy")]
pub(super) struct PolicyRecord {
    overdraft: Option<OverdraftPolicy>,
    grace_us: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Grant")]
pub(super) struct GrantRecord {
    user_id: Option<UserId>,
    kind: AllocationKind,
    amount: Credits,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
    priority: i32,
    modules: BTreeSet<Module>,
    features: BTreeSet<Feature>,
    models: BTreeSet<Model>,
    purchased: bool,
    period: Option<PeriodRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "PlanPeriod")]
struct PeriodRecord {
    plan: CommandId,
    item: ItemId,
    start: Timestamp,
    end: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Adjust")]
pub(super) struct AdjustRecord {
    allocation_id: AllocationId,
    amount: Credits,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Transfer")]
pub(super) struct TransferRecord {
    allocation_id: AllocationId,
    user_id: Option<UserId>,
    amount: Credits,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Extend")]
pub(super) struct ExtendRecord {
    allocation_id: AllocationId,
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Account")]
pub(super) struct AccountRecord {
    user_id: Option<UserId>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "SetPlan")]
pub(super) struct SetPlanRecord {
    effective_at: Timestamp,
    plan: Option<Plan>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Correct")]
pub(super) struct CorrectRecord {
    event_id: EventId,
    revision: i32,
    quantities: Option<Quantities>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Reprice")]
pub(super) struct RepriceRecord {
    rates: RevisionId,
    events: Vec<RepricedRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Repriced")]
struct RepricedRecord {
    event_id: EventId,
    revision: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Release")]
pub(super) struct ReleaseRecord {
    event_id: EventId,
    #[serde(with = "apache_avro::serde::fixed")]
    billing_digest: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Dismiss")]
pub(super) struct DismissRecord {
    offset: i64,
}

impl From<&Policy> for PolicyRecord {
    fn from(policy: &Policy) -> Self {
        let grace_us = i64::try_from(policy.grace.as_micros()).unwrap_or(i64::MAX);
        Self { overdraft: policy.overdraft, grace_us }
    }
}

impl TryFrom<PolicyRecord> for Policy {
    type Error = &'static str;

    fn try_from(record: PolicyRecord) -> Result<Self, &'static str> {
        let grace = u64::try_from(record.grace_us).map_err(|_| "grace_us is negative")?;
        Ok(Self { overdraft: record.overdraft, grace: Duration::from_micros(grace) })
    }
}

impl From<&Grant> for GrantRecord {
    fn from(grant: &Grant) -> Self {
        let scope = grant.scope.clone();
        Self {
            user_id: grant.account.user().cloned(),
            kind: grant.kind,
            amount: grant.amount,
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
            priority: grant.priority,
            modules: scope.modules,
            features: scope.features,
            models: scope.models,
            purchased: grant.purchased,
            period: grant.period.as_ref().map(PeriodRecord::from),
        }
    }
}

impl From<GrantRecord> for Grant {
    fn from(record: GrantRecord) -> Self {
        let scope = Scope { modules: record.modules, features: record.features, models: record.models };
        Self {
            account: record.user_id.into(),
            kind: record.kind,
            amount: record.amount,
            effective_at: record.effective_at,
            expires_at: record.expires_at,
            priority: record.priority,
            scope,
            purchased: record.purchased,
            period: record.period.map(PlanPeriod::from),
        }
    }
}

impl From<&PlanPeriod> for PeriodRecord {
    fn from(period: &PlanPeriod) -> Self {
        Self { plan: period.plan, item: period.item.clone(), start: period.start, end: period.end }
    }
}

impl From<PeriodRecord> for PlanPeriod {
    fn from(record: PeriodRecord) -> Self {
        Self { plan: record.plan, item: record.item, start: record.start, end: record.end }
    }
}

impl From<&Adjust> for AdjustRecord {
    fn from(adjust: &Adjust) -> Self {
        Self { allocation_id: adjust.allocation_id, amount: adjust.amount }
    }
}

impl From<AdjustRecord> for Adjust {
    fn from(record: AdjustRecord) -> Self {
        Self { allocation_id: record.allocation_id, amount: record.amount }
    }
}

impl From<&Transfer> for TransferRecord {
    fn from(transfer: &Transfer) -> Self {
        let user_id = transfer.to.user().cloned();
        Self { allocation_id: transfer.allocation_id, user_id, amount: transfer.amount }
    }
}

impl From<TransferRecord> for Transfer {
    fn from(record: TransferRecord) -> Self {
        Self { allocation_id: record.allocation_id, to: record.user_id.into(), amount: record.amount }
    }
}

impl From<&Extend> for ExtendRecord {
    fn from(extend: &Extend) -> Self {
        Self { allocation_id: extend.allocation_id, expires_at: extend.expires_at }
    }
}

impl From<ExtendRecord> for Extend {
    fn from(record: ExtendRecord) -> Self {
        Self { allocation_id: record.allocation_id, expires_at: record.expires_at }
    }
}

impl From<&Account> for AccountRecord {
    fn from(account: &Account) -> Self {
        Self { user_id: account.user().cloned() }
    }
}

impl From<AccountRecord> for Account {
    fn from(record: AccountRecord) -> Self {
        record.user_id.into()
    }
}

impl From<&SetPlan> for SetPlanRecord {
    fn from(set: &SetPlan) -> Self {
        Self { effective_at: set.effective_at, plan: set.plan.clone() }
    }
}

impl From<SetPlanRecord> for SetPlan {
    fn from(record: SetPlanRecord) -> Self {
        Self { effective_at: record.effective_at, plan: record.plan }
    }
}

impl From<&Correct> for CorrectRecord {
    fn from(correct: &Correct) -> Self {
        let quantities = match &correct.change {
            Change::Void => None,
            Change::Replace(quantities) => Some((**quantities).clone()),
        };
        Self { event_id: correct.event_id, revision: correct.revision, quantities }
    }
}

impl TryFrom<CorrectRecord> for Correct {
    type Error = Violation;

    fn try_from(record: CorrectRecord) -> Result<Self, Violation> {
        let change = match record.quantities {
            None => Change::Void,
            Some(quantities) => {
                quantities.check()?;
                Change::Replace(Box::new(quantities))
            }
        };
        Ok(Self { event_id: record.event_id, revision: record.revision, change })
    }
}

impl From<&Reprice> for RepriceRecord {
    fn from(reprice: &Reprice) -> Self {
        let event = |(event_id, revision): &(EventId, i32)| RepricedRecord {
            event_id: *event_id,
            revision: *revision,
        };
        Self { rates: reprice.rates.clone(), events: reprice.events.iter().map(event).collect() }
    }
}

impl From<RepriceRecord> for Reprice {
    fn from(record: RepriceRecord) -> Self {
        let events = record.events.into_iter().map(|event| (event.event_id, event.revision));
        Self { rates: record.rates, events: events.collect() }
    }
}

impl From<&Release> for ReleaseRecord {
    fn from(release: &Release) -> Self {
        Self { event_id: release.event_id, billing_digest: release.billing_digest.0 }
    }
}

impl From<ReleaseRecord> for Release {
    fn from(record: ReleaseRecord) -> Self {
        Self { event_id: record.event_id, billing_digest: Digest(record.billing_digest) }
    }
}

impl From<&Dismiss> for DismissRecord {
    fn from(dismiss: &Dismiss) -> Self {
        Self { offset: dismiss.offset }
    }
}

impl From<DismissRecord> for Dismiss {
    fn from(record: DismissRecord) -> Self {
        Self { offset: record.offset }
    }
}
