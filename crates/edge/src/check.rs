//! `POST /v1/check`: may this call go ahead?

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fluxori_core::amount::Credits;
use fluxori_core::command::{Account, Scope};
use fluxori_core::fold::Allocation;
use fluxori_core::id::{Feature, Model, Module, OrgId, Provider, UserId};
use fluxori_core::rates::without_date;
use fluxori_core::time::Timestamp;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::clock;
use fluxori_runtime::http::JsonBody;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::amount::AmountField;
use crate::fields::Fields;
use crate::lag::Lag;
use crate::openapi::WriteProblems;
use crate::refusal::Refusal;
use crate::state::Edge;

/// The call that somebody wants to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckRequest {
    /// Who pays.
    #[schema(example = "acme")]
    org_id: String,
    /// Whose own allocations count too.
    user_id: Option<String>,
    /// The module that makes the call.
    #[schema(example = "rag-retrieval")]
    module: String,
    /// The feature of the module. Allocations for some features count only if theirs is named.
    feature: Option<String>,
    /// The model. Allocations for some models count only if theirs is named.
    #[schema(example = "gpt-5")]
    model: Option<String>,
    /// Who serves the model.
    provider: Option<String>,
    /// What the call may cost. Left out: more than nothing must be left.
    estimated_credits: Option<AmountField>,
}

/// Whether the call may go ahead, and how old the answer is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckAnswer {
    allowed: bool,
    reason: Reason,
    /// Credits that this call may spend now, less the org's overdraft.
    #[schema(example = "96.75")]
    available: String,
    /// The estimate; null if there was none.
    required: Option<String>,
    /// The log's time up to which this is true.
    #[schema(value_type = Option<String>, format = DateTime)]
    as_of: Option<Timestamp>,
    lag: Lag,
}

/// Why a call may go ahead or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// There are enough.
    CreditsAvailable,
    /// There are not enough in allocations that fit the call.
    InsufficientCredits,
    /// The org was never granted anything.
    OrgNotOpen,
    /// The org, or the user, is suspended.
    Suspended,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CreditsAvailable => "credits_available",
            Self::InsufficientCredits => "insufficient_credits",
            Self::OrgNotOpen => "org_not_open",
            Self::Suspended => "suspended",
        }
    }
}

/// May this call go ahead?
#[utoipa::path(post, path = "/v1/check", tag = "credits", request_body = CheckRequest,
    responses((status = 200, description = "Yes or no, and why", body = CheckAnswer), WriteProblems))]
pub(crate) async fn post_check(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    JsonBody(request): JsonBody<CheckRequest>,
) -> Result<Json<CheckAnswer>, Refusal> {
    let question = request.read(&caller)?;
    let place = edge.place(&question.org)?;
    let high = edge.watermarks.high(place.partition);
    let (high, snapshot) = tokio::join!(high, edge.ledger.snapshot(&question.org, place.partition));
    let snapshot = snapshot?;
    let now = clock::now().into();
    let available = snapshot.available(now, |allocation| question.may_spend(allocation))?;
    let suspended = snapshot.org.as_ref().map(|org| question.is_suspended(&org.record.suspended));
    let reason = decide(suspended, available, question.estimate);
    metrics::counter!("edge_checks_total", "reason" => reason.as_str()).increment(1);
    Ok(Json(CheckAnswer {
        allowed: reason == Reason::CreditsAvailable,
        reason,
        available: available.to_string(),
        required: question.estimate.map(|estimate| estimate.to_string()),
        as_of: snapshot.log_time,
        lag: Lag::new(high, snapshot.next_offset, snapshot.committed_at, now),
    }))
}

/// A request whose fields are valid.
#[derive(Debug)]
struct Question {
    org: OrgId,
    user: Option<UserId>,
    module: Module,
    feature: Option<Feature>,
    model: Option<Model>,
    estimate: Option<Credits>,
}

impl CheckRequest {
    fn read(self, caller: &Caller) -> Result<Question, Refusal> {
        let mut fields = Fields::default();
        let org = fields.read("org_id", OrgId::new(&self.org_id));
        if let Some(org) = &org {
            caller.require(org.as_str())?;
        }
        let user = fields.read_optional("user_id", self.user_id.as_deref().map(UserId::new));
        let module = fields.read("module", Module::new(&self.module));
        let feature = fields.read_optional("feature", self.feature.as_deref().map(Feature::new));
        let model = fields.read_optional("model", self.model.as_deref().map(Model::new));
        // No scope names a provider yet.
        fields.read_optional("provider", self.provider.as_deref().map(Provider::new));
        let estimate = self.estimated_credits.as_ref().map(AmountField::credits);
        let estimate = fields.read_optional("estimated_credits", estimate);
        if estimate.is_some_and(Credits::is_negative) {
            fields.refuse("estimated_credits", "must not be below zero");
        }
        match (org, module) {
            (Some(org), Some(module)) if fields.are_valid() => {
                Ok(Question { org, user, module, feature, model, estimate })
            }
            _ => Err(fields.into()),
        }
    }
}

impl Question {
    fn may_spend(&self, allocation: &Allocation) -> bool {
        self.owns(&allocation.account) && self.fits(&allocation.scope)
    }

    fn is_suspended(&self, suspended: &BTreeSet<Account>) -> bool {
        let user = self.user.clone().map(Account::User);
        suspended.contains(&Account::Organization) || user.is_some_and(|user| suspended.contains(&user))
    }

    fn owns(&self, account: &Account) -> bool {
        account.user().is_none_or(|owner| self.user.as_ref() == Some(owner))
    }

    /// What is not named fits no list. A model goes by its name without a date, too, as it does when it is charged.
    fn fits(&self, scope: &Scope) -> bool {
        let plain = self.model.as_ref().and_then(|model| without_date(model.as_str())?.parse().ok());
        scope.fits(&self.module, self.feature.as_ref(), self.model.iter().chain(&plain))
    }
}

/// `suspended` is none where the org is not open.
fn decide(suspended: Option<bool>, available: Credits, estimate: Option<Credits>) -> Reason {
    let enough = estimate.map_or(available.is_positive(), |estimate| available >= estimate);
    match (suspended, enough) {
        (None, _) => Reason::OrgNotOpen,
        (Some(true), _) => Reason::Suspended,
        (Some(false), true) => Reason::CreditsAvailable,
        (Some(false), false) => Reason::InsufficientCredits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credits(text: &str) -> Credits {
        text.parse().unwrap()
    }

    fn question(user: Option<&str>, model: Option<&str>) -> Question {
        Question {
            org: OrgId::new("acme").unwrap(),
            user: user.map(|user| UserId::new(user).unwrap()),
            module: Module::new("pim").unwrap(),
            feature: None,
            model: model.map(|model| Model::new(model).unwrap()),
            estimate: None,
        }
    }

    #[test]
    fn without_an_estimate_something_must_be_left_and_with_one_enough() {
        let reason = |available: &str, estimate: Option<&str>| {
            decide(Some(false), credits(available), estimate.map(credits))
        };
        assert_eq!(reason("0.000000000001", None), Reason::CreditsAvailable);
        assert_eq!(reason("0", None), Reason::InsufficientCredits);
        assert_eq!(reason("1", Some("1")), Reason::CreditsAvailable);
        assert_eq!(reason("0.999999999999", Some("1")), Reason::InsufficientCredits);
        // A call that costs nothing needs nothing, but nobody may owe.
        assert_eq!(reason("0", Some("0")), Reason::CreditsAvailable);
        assert_eq!(reason("-0.25", Some("0")), Reason::InsufficientCredits);
        assert_eq!(decide(None, credits("5"), None), Reason::OrgNotOpen);
    }

    #[test]
    fn a_suspended_account_is_refused_whatever_it_has() {
        assert_eq!(decide(Some(true), credits("5"), None), Reason::Suspended);
        let ada = BTreeSet::from([Account::User(UserId::new("ada").unwrap())]);
        assert!(question(Some("ada"), None).is_suspended(&ada));
        assert!(!question(Some("bob"), None).is_suspended(&ada) && !question(None, None).is_suspended(&ada));
        let all = BTreeSet::from([Account::Organization]);
        assert!(question(Some("bob"), None).is_suspended(&all) && question(None, None).is_suspended(&all));
    }

    #[test]
    fn only_allocations_of_the_callers_account_and_scope_count() {
        let ada = Account::User(UserId::new("ada").unwrap());
        assert!(question(Some("ada"), None).owns(&ada));
        assert!(question(None, None).owns(&Account::Organization));
        assert!(!question(None, None).owns(&ada) && !question(Some("bob"), None).owns(&ada));
        let scope = |modules: &[&str], models: &[&str]| Scope {
            modules: modules.iter().map(|module| Module::new(module).unwrap()).collect(),
            features: BTreeSet::new(),
            models: models.iter().map(|model| Model::new(model).unwrap()).collect(),
        };
        let with_model = question(None, Some("gpt-5"));
        assert!(with_model.fits(&scope(&[], &[])) && with_model.fits(&scope(&["pim"], &["gpt-5"])));
        assert!(!with_model.fits(&scope(&["rag"], &[])) && !with_model.fits(&scope(&[], &["o3"])));
        assert!(!question(None, None).fits(&scope(&[], &["gpt-5"])));
        assert!(question(None, Some("gpt-5-2025-08-07")).fits(&scope(&[], &["gpt-5"])));
    }
}
