//! API keys: `Authorization: Bearer KEY`, known by the SHA-256 of the key.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::config::{ApiKeyConfig, Sha256Digest};
use crate::http::Problem;

/// The keys that a service accepts.
#[derive(Clone, Debug)]
pub struct ApiKeys(Arc<[(Sha256Digest, Caller)]>);

impl ApiKeys {
    /// The configured keys. With none, nobody is let in.
    #[must_use]
    pub fn new(keys: &[ApiKeyConfig]) -> Self {
        let caller = |key: &ApiKeyConfig| {
            let all = key.orgs.iter().any(|org| org == "*");
            let orgs = if all { Orgs::All } else { Orgs::Only(key.orgs.iter().cloned().collect()) };
            (key.sha256, Caller { name: key.name.as_str().into(), orgs: Arc::new(orgs) })
        };
        Self(keys.iter().map(caller).collect())
    }

    /// Requires a key on every route of `router`; its handlers may then take a [`Caller`].
    pub fn protect(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), require_key))
    }

    /// Who holds `key`. Takes the same time wherever, and whether, it is found.
    #[must_use]
    pub fn caller(&self, key: &str) -> Option<&Caller> {
        let digest = Sha256Digest::of(key.as_bytes());
        let mut found = None;
        for (known, caller) in self.0.iter() {
            if same(known.bytes(), digest.bytes()) {
                found = Some(caller);
            }
        }
        found
    }
}

/// Who calls: the holder of an API key. As a handler's argument it is 401 where no key was required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the key.
    pub name: Arc<str>,
    /// The orgs that the key is for.
    pub orgs: Arc<Orgs>,
}

/// The orgs that a key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orgs {
    /// All of them.
    All,
    /// Only these, by id.
    Only(BTreeSet<String>),
}

impl Caller {
    /// True if the caller may see and change this org.
    #[must_use]
    pub fn may(&self, org: &str) -> bool {
        match &*self.orgs {
            Orgs::All => true,
            Orgs::Only(orgs) => orgs.contains(org),
        }
    }

    /// Refuses with a 403 problem if the caller may not see and change this org.
    ///
    /// # Errors
    /// The problem to answer with.
    #[expect(clippy::result_large_err, reason = "the error is the answer; it is built once a request")]
    pub fn require(&self, org: &str) -> Result<(), Problem> {
        if self.may(org) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "org-not-allowed", "This API key is not for this org")
            .detail(format!("the key {:?} may not see or change org {org:?}", self.name)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(unauthorized)
    }
}

async fn require_key(
    State(keys): State<ApiKeys>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let caller = key.and_then(|(_, key)| keys.caller(key.trim())).cloned().ok_or_else(unauthorized)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "no-valid-key", "An API key is required").detail(
        "send the header Authorization: Bearer KEY with a key whose SHA-256 is configured under api_keys",
    )
}

/// Compares all bytes, whatever they are.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    fn keys() -> ApiKeys {
        let key = |name: &str, key: &str, orgs: &[&str]| ApiKeyConfig {
            name: name.into(),
            sha256: Sha256Digest::of(key.as_bytes()),
            orgs: orgs.iter().map(|org| (*org).to_owned()).collect(),
        };
        ApiKeys::new(&[key("ops", "s3cret", &["*"]), key("acme", "other", &["acme"])])
    }

    async fn status(authorization: Option<&str>) -> (StatusCode, Option<String>) {
        let handler = async |caller: Caller| caller.require("globex").map(|()| caller.name.to_string());
        let router = keys().protect(Router::new().route("/", get(handler)));
        let mut request = axum::http::Request::get("/");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let challenge = response.headers().get("www-authenticate").map(|v| v.to_str().unwrap().to_owned());
        (response.status(), challenge)
    }

    #[tokio::test]
    async fn only_a_configured_key_gets_in() {
        assert_eq!(status(Some("Bearer s3cret")).await, (StatusCode::OK, None));
        for wrong in [None, Some("Bearer s3cre"), Some("Basic s3cret"), Some("s3cret"), Some("Bearer ")] {
            assert_eq!(status(wrong).await, (StatusCode::UNAUTHORIZED, Some("Bearer".into())), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_key_for_another_org_is_refused() {
        assert_eq!(status(Some("bearer other")).await.0, StatusCode::FORBIDDEN);
        assert!(keys().caller("other").unwrap().may("acme"));
    }

    #[test]
    fn without_configured_keys_nobody_gets_in() {
        assert_eq!(ApiKeys::new(&[]).caller(""), None);
    }
}
