//! Pure: the grant that a request asks for.

use std::collections::BTreeSet;
use std::str::FromStr;

use fluxori_core::command::{Account, AllocationKind, Grant, Scope};
use fluxori_core::fold::Allocation;
use fluxori_core::id::{IdError, OrgId, UserId};
use fluxori_core::time::Timestamp;
use fluxori_runtime::auth::Caller;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::amount::AmountField;
use crate::fields::Fields;
use crate::refusal::Refusal;

/// Most bytes of a reason or a reference.
const MAX_TEXT_BYTES: usize = 1024;

/// Credits to grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllocationRequest {
    /// The org; its first grant opens it.
    #[schema(example = "acme")]
    org_id: String,
    /// The user who may spend it; left out: everybody in the org.
    user_id: Option<String>,
    /// `prepaid`, `subscription`, `quota`, or `payg`: a credit limit.
    #[schema(example = "prepaid")]
    kind: String,
    /// How many credits, above zero.
    amount: AmountField,
    /// First instant at which it may be spent; left out: now.
    #[schema(format = DateTime)]
    effective_at: Option<String>,
    /// First instant at which it may no longer be spent; left out: it never expires, as only prepaid may.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Lower burns first.
    #[serde(default)]
    #[schema(default = 0)]
    priority: i32,
    /// Only for these modules; none: for all.
    #[serde(default)]
    modules: Vec<String>,
    /// Only for these features; none: for all.
    #[serde(default)]
    features: Vec<String>,
    /// Only for these models; none: for all.
    #[serde(default)]
    models: Vec<String>,
    /// Paid for, rather than free.
    #[serde(default)]
    purchased: bool,
    /// Why; at most 1,024 bytes.
    #[schema(example = "welcome package")]
    reason: String,
    /// What it refers to elsewhere, such as an invoice; at most 1,024 bytes.
    reference: Option<String>,
}

/// A request whose fields are valid.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) org: OrgId,
    pub(crate) grant: Grant,
    pub(crate) reason: String,
    pub(crate) reference: Option<String>,
    /// Whether the time of its beginning was asked for, rather than now.
    begins_as_asked: bool,
}

impl Wanted {
    /// Whether an allocation is what a request like this one made.
    pub(crate) fn is_granted_by(&self, made: &Allocation) -> bool {
        made.is_of(&self.grant, !self.begins_as_asked)
    }
}

impl AllocationRequest {
    /// Checks what can be checked without the ledger.
    ///
    /// # Errors
    /// 403 if the caller may not grant to the org, 422 with every field that is wrong.
    pub(crate) fn read(self, caller: &Caller, now: Timestamp) -> Result<Wanted, Refusal> {
        let mut fields = Fields::default();
        let org = fields.read("org_id", OrgId::new(&self.org_id));
        if let Some(org) = &org {
            caller.require(org.as_str())?;
        }
        let user = fields.read_optional("user_id", self.user_id.as_deref().map(UserId::new));
        let kind = fields.read("kind", kind(&self.kind));
        let amount = fields.read("amount", self.amount.credits());
        if amount.is_some_and(|amount| !amount.is_positive()) {
            fields.refuse("amount", "must be above zero");
        }
        let asked: Option<Timestamp> =
            fields.read_optional("effective_at", self.effective_at.as_deref().map(str::parse));
        let expires_at: Option<Timestamp> =
            fields.read_optional("expires_at", self.expires_at.as_deref().map(str::parse));
        let effective_at = asked.unwrap_or_else(|| whole_second(now));
        if expires_at.is_some_and(|expires_at| expires_at <= effective_at) {
            fields.refuse("expires_at", "must be after effective_at");
        }
        let scope = Scope {
            modules: names(&mut fields, "modules", &self.modules),
            features: names(&mut fields, "features", &self.features),
            models: names(&mut fields, "models", &self.models),
        };
        check_text(&mut fields, "reason", Some(&self.reason));
        check_text(&mut fields, "reference", self.reference.as_deref());
        match (org, kind, amount) {
            (Some(org), Some(kind), Some(amount)) if fields.are_valid() => Ok(Wanted {
                org,
                grant: Grant {
                    account: user.map_or(Account::Organization, Account::User),
                    kind,
                    amount,
                    effective_at,
                    expires_at,
                    priority: self.priority,
                    scope,
                    purchased: self.purchased,
                    period: None,
                },
                reason: self.reason,
                reference: self.reference,
                begins_as_asked: asked.is_some(),
            }),
            _ => Err(fields.into()),
        }
    }
}

/// The second that has begun. Brokers stamp records by their own clocks, in milliseconds: a grant that begins a moment
/// after its own record would stay closed until the partition's next one.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros() - now.micros().rem_euclid(1_000_000))
}

fn kind(text: &str) -> Result<AllocationKind, &'static str> {
    let kinds =
        [AllocationKind::Prepaid, AllocationKind::Subscription, AllocationKind::Quota, AllocationKind::Payg];
    kinds.into_iter().find(|kind| kind.as_str() == text).ok_or("must be prepaid, subscription, quota or payg")
}

fn names<T: FromStr<Err = IdError> + Ord>(
    fields: &mut Fields,
    field: &'static str,
    texts: &[String],
) -> BTreeSet<T> {
    texts.iter().filter_map(|text| fields.read(field, text.parse())).collect()
}

fn check_text(fields: &mut Fields, field: &'static str, text: Option<&str>) {
    match text {
        Some(text) if text.trim().is_empty() => fields.refuse(field, "must not be empty"),
        Some(text) if text.len() > MAX_TEXT_BYTES => {
            fields.refuse(field, format!("has {} bytes, more than {MAX_TEXT_BYTES}", text.len()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use fluxori_core::fold::AllocationStatus;
    use fluxori_core::id::AllocationId;
    use fluxori_runtime::auth::Scope;
    use serde_json::{Value, json};
    use std::sync::Arc;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

    fn read(changes: Value) -> Result<Wanted, Refusal> {
        let mut body = json!({"org_id": "acme", "kind": "prepaid", "amount": "10", "reason": "test"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let request: AllocationRequest = serde_json::from_str(&body.to_string()).unwrap();
        let (all, acme) = (Arc::new(Scope::All), Arc::new(Scope::Only(["acme".to_owned()].into())));
        let caller = Caller { name: "ops".into(), orgs: acme, modules: Arc::clone(&all), sources: all };
        request.read(&caller, NOW)
    }

    #[test]
    fn a_short_request_grants_from_the_second_that_has_begun_to_the_whole_org() {
        let wanted = read(json!({"amount": 0.1})).unwrap();
        assert_eq!(wanted.grant.amount.to_string(), "0.1");
        assert_eq!(wanted.grant.effective_at, Timestamp::from_micros(1_700_000_000_000_000));
        assert_eq!(wanted.grant.account, Account::Organization);
        assert!(wanted.grant.scope.is_everything() && wanted.grant.expires_at.is_none());
    }

    #[test]
    fn every_wrong_field_is_named() {
        let changes = json!({
            "user_id": "", "kind": "postpaid", "amount": "0", "effective_at": "2026-01-02T00:00:00Z",
            "expires_at": "2026-01-02T00:00:00Z", "modules": ["pim", " "], "reason": " ",
            "reference": "x".repeat(1025),
        });
        let problem = serde_json::to_value(read(changes).unwrap_err().problem()).unwrap();
        assert_eq!(problem["status"], 422);
        let fields: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        let all = ["user_id", "kind", "amount", "expires_at", "modules", "reason", "reference"];
        assert_eq!(fields, all);
    }

    #[test]
    fn another_org_is_refused_before_its_fields_are_looked_at() {
        let refusal = read(json!({"org_id": "globex", "amount": "0"})).unwrap_err();
        assert_eq!(refusal.problem().status(), 403);
    }

    #[test]
    fn a_repeated_request_is_recognised_by_what_it_made() {
        let wanted = read(json!({})).unwrap();
        let mut made = Allocation::scheduled(AllocationId(uuid::Uuid::nil()), &wanted.grant);
        // It began when the first of the two requests came, and was spent meanwhile.
        made.effective_at = Timestamp::from_micros(1_600_000_000_000_000);
        made.status = AllocationStatus::Open;
        (made.consumed, made.remaining) = (made.remaining, made.consumed);
        assert!(wanted.is_granted_by(&made));
        assert!(!read(json!({"amount": "11"})).unwrap().is_granted_by(&made));
        assert!(!read(json!({"effective_at": "2026-01-02T00:00:00Z"})).unwrap().is_granted_by(&made));
    }
}
