//! API keys: `Authorization: Bearer KEY`, known by the SHA-256 of the key.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use chrono::{DateTime, Utc};

use crate::clock;
use crate::config::{ApiKeyConfig, Sha256Digest};
use crate::http::Problem;

/// The keys that a service accepts.
#[derive(Clone, Debug)]
pub struct ApiKeys(Arc<[Key]>);

#[derive(Debug)]
struct Key {
    digest: Sha256Digest,
    expires_at: Option<DateTime<Utc>>,
    caller: Caller,
}

impl ApiKeys {
    /// The configured keys. With none, nobody is let in.
    #[must_use]
    pub fn new(keys: &[ApiKeyConfig]) -> Self {
        let key = |key: &ApiKeyConfig| Key {
            digest: key.sha256,
            expires_at: key.expires_at,
            caller: Caller {
                name: key.name.as_str().into(),
                orgs: Arc::new(Scope::of(&key.orgs)),
                modules: Arc::new(key.modules.as_deref().map_or(Scope::All, Scope::of)),
                sources: Arc::new(key.sources.as_deref().map_or(Scope::All, Scope::of)),
            },
        };
        Self(keys.iter().map(key).collect())
    }

    /// Requires a key on every route of `router`; its handlers may then take a [`Caller`].
    pub fn protect(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), require_key))
    }

    /// Who sends a request with these headers.
    ///
    /// # Errors
    /// The 401 problem to answer with: no key, one that is not known, or one that holds no longer at `now`.
    pub fn authenticate(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<&Caller, Problem> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = value
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim())
            .filter(|key| !key.is_empty());
        let key = self.find(bearer.ok_or_else(no_key)?).ok_or_else(unknown_key)?;
        match key.expires_at {
            Some(expires_at) if expires_at <= now => Err(expired_key(&key.caller.name, expires_at)),
            _ => Ok(&key.caller),
        }
    }

    /// The entry of `key`. Takes the same time wherever, and whether, it is found.
    fn find(&self, key: &str) -> Option<&Key> {
        let digest = Sha256Digest::of(key.as_bytes());
        let mut found = None;
        for known in self.0.iter() {
            if same(known.digest.bytes(), digest.bytes()) {
                found = Some(known);
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
    pub orgs: Arc<Scope>,
    /// The modules that it may post events of.
    pub modules: Arc<Scope>,
    /// The sources that it may post events of.
    pub sources: Arc<Scope>,
}

/// What a key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Only these, by id.
    Only(BTreeSet<String>),
}

impl Scope {
    /// The configured list, in which `*` stands for all.
    #[must_use]
    pub fn of(names: &[String]) -> Self {
        if names.iter().any(|name| name == "*") {
            Self::All
        } else {
            Self::Only(names.iter().cloned().collect())
        }
    }

    /// True if `name` is in it.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// The one name, if it is one only.
    #[must_use]
    pub fn only_one(&self) -> Option<&str> {
        match self {
            Self::Only(names) if names.len() == 1 => names.first().map(String::as_str),
            _ => None,
        }
    }
}

impl Caller {
    /// True if the caller may see and change this org.
    #[must_use]
    pub fn may(&self, org: &str) -> bool {
        self.orgs.holds(org)
    }

    /// Refuses with a 403 problem if the caller may not see and change this org.
    ///
    /// # Errors
    /// The problem to answer with.
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
        parts.extensions.get().cloned().ok_or_else(no_key)
    }
}

async fn require_key(
    State(keys): State<ApiKeys>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = keys.authenticate(request.headers(), clock::now())?.clone();
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn no_key() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "no-key", "An API key is required").detail(
        "send the header Authorization: Bearer KEY with a key whose SHA-256 is configured under api_keys",
    )
}

fn unknown_key() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unknown-key", "The API key is not known here")
        .detail("no key with this SHA-256 is configured under api_keys")
}

fn expired_key(name: &str, expires_at: DateTime<Utc>) -> Problem {
    let at = expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    Problem::new(StatusCode::UNAUTHORIZED, "expired-key", "The API key has expired")
        .detail(format!("the key {name:?} held until {at}; ask for a new one"))
}

/// Compares all bytes, whatever they are.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    fn keys() -> ApiKeys {
        let key = |name: &str, key: &str, org: &str| {
            ApiKeyConfig::new(name, Sha256Digest::of(key.as_bytes()), &[org])
        };
        let expired = ApiKeyConfig { expires_at: Some(DateTime::UNIX_EPOCH), ..key("old", "0ld", "*") };
        ApiKeys::new(&[key("ops", "s3cret", "*"), key("acme", "other", "acme"), expired])
    }

    async fn ask(authorization: Option<&str>) -> (StatusCode, Option<String>, Value) {
        let handler = async |caller: Caller| caller.require("globex").map(|()| caller.name.to_string());
        let router = keys().protect(Router::new().route("/", get(handler)));
        let mut request = axum::http::Request::get("/");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let challenge = response.headers().get("www-authenticate").map(|v| v.to_str().unwrap().to_owned());
        let status = response.status();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, challenge, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn only_a_configured_key_gets_in_and_who_does_not_is_told_why() {
        let (status, challenge, _) = ask(Some("Bearer s3cret")).await;
        assert_eq!((status, challenge), (StatusCode::OK, None));
        for (wrong, slug) in [
            (None, "no-key"),
            (Some("Basic s3cret"), "no-key"),
            (Some("s3cret"), "no-key"),
            (Some("Bearer "), "no-key"),
            (Some("Bearer s3cre"), "unknown-key"),
            (Some("Bearer 0ld"), "expired-key"),
        ] {
            let (status, challenge, problem) = ask(wrong).await;
            assert_eq!((status, challenge), (StatusCode::UNAUTHORIZED, Some("Bearer".into())), "{wrong:?}");
            assert_eq!(problem["type"], format!("urn:fluxori:problem:{slug}"), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_key_for_another_org_is_refused() {
        assert_eq!(ask(Some("bearer other")).await.0, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_key_holds_until_the_instant_at_which_it_expires() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer 0ld".parse().unwrap())]);
        let before = DateTime::UNIX_EPOCH - chrono::TimeDelta::microseconds(1);
        assert_eq!(&*keys().authenticate(&headers, before).unwrap().name, "old");
        assert!(keys().authenticate(&headers, DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn without_configured_keys_nobody_gets_in() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer x".parse().unwrap())]);
        assert!(ApiKeys::new(&[]).authenticate(&headers, DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_scope_of_one_name_names_it() {
        let scope =
            |names: &[&str]| Scope::of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(scope(&["pim"]).only_one(), Some("pim"));
        assert_eq!((scope(&["pim", "rag"]).only_one(), scope(&["*"]).only_one()), (None, None));
        assert!(scope(&["pim", "*"]).holds("any") && !scope(&["pim"]).holds("rag"));
    }
}
