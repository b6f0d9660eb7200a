//! How many requests an API key may send.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fluxori_runtime::auth::Caller;
use fluxori_runtime::config::{ApiKeyConfig, EdgeConfig};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::estimate;
use crate::refusal::Refusal;
use crate::service::MAX_BODY_BYTES;

/// The rest of a refused body is read up to the most that any route takes.
const LARGEST_BODY: usize =
    if estimate::MAX_BODY_BYTES > MAX_BODY_BYTES { estimate::MAX_BODY_BYTES } else { MAX_BODY_BYTES };
/// How long the rest of a refused body is waited for.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

type Limiter = DefaultDirectRateLimiter<StateInformationMiddleware>;

/// The limiter of each API key, by the key's name. Headers as in draft-ietf-httpapi-ratelimit-headers-10.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    limiters: Arc<HashMap<Box<str>, Limiter>>,
    /// The header `RateLimit-Policy`: the burst, and the seconds in which it is there again.
    policy: HeaderValue,
}

impl Limits {
    pub(crate) fn new(config: &EdgeConfig, keys: &[ApiKeyConfig]) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let rate = at_least_one(config.rate_limit_per_second);
        let burst = at_least_one(config.rate_limit_burst);
        let limiter = || {
            let limiter = RateLimiter::direct(Quota::per_second(rate).allow_burst(burst));
            limiter.with_middleware::<StateInformationMiddleware>()
        };
        let limiters = keys.iter().map(|key| (key.name.as_str().into(), limiter())).collect();
        let policy = header(&format!("\"key\";q={burst};w={}", burst.get().div_ceil(rate.get())));
        Self { limiters: Arc::new(limiters), policy }
    }

    /// How many more requests may follow at once.
    ///
    /// # Errors
    /// None may, not even this one; the seconds to wait, rounded up.
    fn take(&self, key: &str) -> Result<u32, u64> {
        // Callers are authenticated with the same list of keys.
        let Some(limiter) = self.limiters.get(key) else { return Ok(0) };
        match limiter.check() {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                Err((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
            }
        }
    }

    fn describe(&self, headers: &mut HeaderMap, now: &str) {
        headers.insert("ratelimit-policy", self.policy.clone());
        headers.insert("ratelimit", header(now));
    }
}

/// Lets a request through while its API key has some left.
pub(crate) async fn limit(
    State(limits): State<Limits>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    match limits.take(&caller.name) {
        Ok(remaining) => {
            let mut response = next.run(request).await;
            limits.describe(response.headers_mut(), &format!("\"key\";r={remaining}"));
            response
        }
        Err(seconds) => {
            // A client that is still sending its body would see a broken connection in place of the answer.
            let body = axum::body::to_bytes(request.into_body(), LARGEST_BODY);
            _ = tokio::time::timeout(BODY_PATIENCE, body).await;
            let refusal = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "The API key has used up its requests",
                format!("the key {:?} has sent too many requests; try again in {seconds} s", caller.name),
            );
            let mut response = refusal.retry_after(seconds).into_response();
            limits.describe(response.headers_mut(), &format!("\"key\";r=0;t={seconds}"));
            response
        }
    }
}

/// Made of digits, letters and quotes, which a header may hold.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use fluxori_runtime::config::Sha256Digest;

    use super::*;

    #[test]
    fn each_key_has_its_own_requests_and_is_told_when_to_come_back() {
        let key = |name: &str| ApiKeyConfig {
            name: name.into(),
            sha256: Sha256Digest::of(name.as_bytes()),
            orgs: vec!["*".into()],
        };
        let config = EdgeConfig { rate_limit_per_second: 1, rate_limit_burst: 2, ..EdgeConfig::default() };
        let limits = Limits::new(&config, &[key("a"), key("b")]);
        assert_eq!(limits.policy, "\"key\";q=2;w=2");
        assert_eq!([limits.take("a"), limits.take("a"), limits.take("a")], [Ok(1), Ok(0), Err(1)]);
        assert_eq!(limits.take("b"), Ok(1));
    }
}
