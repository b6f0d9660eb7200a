//! How many requests an API key may send. Headers as in draft-ietf-httpapi-ratelimit-headers-10.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::auth::Caller;
use crate::config::ApiKeyConfig;
use crate::http::{Problem, discard};

type Limiter = DefaultDirectRateLimiter<StateInformationMiddleware>;

/// The limiter of each API key, by the key's name; keys of one name share one.
#[derive(Debug, Clone)]
pub struct RateLimits {
    limiters: Arc<HashMap<Box<str>, Limiter>>,
    /// The header `RateLimit-Policy`: the burst, and the seconds in which it is there again.
    policy: HeaderValue,
    /// The rest of a refused body is read up to so many bytes.
    largest_body: usize,
}

/// What a key has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Admitted; so many more may follow at once.
    Requests(u32),
    /// Refused; so many seconds to wait, rounded up.
    Nothing(u64),
}

impl RateLimits {
    /// `per_second` requests on average and `burst` at once, for each key; 0 counts as 1.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, keys: &[ApiKeyConfig], largest_body: usize) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let (rate, burst) = (at_least_one(per_second), at_least_one(burst));
        let limiter = || {
            let limiter = RateLimiter::direct(Quota::per_second(rate).allow_burst(burst));
            limiter.with_middleware::<StateInformationMiddleware>()
        };
        let limiters = keys.iter().map(|key| (key.name.as_str().into(), limiter())).collect();
        let policy = header(&format!("\"key\";q={burst};w={}", burst.get().div_ceil(rate.get())));
        Self { limiters: Arc::new(limiters), policy, largest_body }
    }

    /// Lets a request through while its API key has some left; for routes that require a key.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), limit))
    }

    /// Takes one request from what the key has left.
    #[must_use]
    pub fn take(&self, key: &str) -> Left {
        // Callers are authenticated with the same list of keys.
        let Some(limiter) = self.limiters.get(key) else { return Left::Requests(0) };
        match limiter.check() {
            Ok(state) => Left::Requests(state.remaining_burst_capacity()),
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                Left::Nothing((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
            }
        }
    }

    /// Tells the caller what is left.
    pub fn describe(&self, left: Left, headers: &mut HeaderMap) {
        headers.insert("ratelimit-policy", self.policy.clone());
        let now = match left {
            Left::Requests(remaining) => format!("\"key\";r={remaining}"),
            Left::Nothing(seconds) => format!("\"key\";r=0;t={seconds}"),
        };
        headers.insert("ratelimit", header(&now));
    }
}

/// The 429 problem of a key that has nothing left for so many seconds.
pub fn too_many_requests(key: &str, seconds: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "The API key has used up its requests")
        .detail(format!("the key {key:?} has sent too many requests; try again in {seconds} s"))
        .retry_after(seconds)
}

async fn limit(State(limits): State<RateLimits>, caller: Caller, request: Request, next: Next) -> Response {
    let left = limits.take(&caller.name);
    let mut response = match left {
        Left::Requests(_) => next.run(request).await,
        Left::Nothing(seconds) => {
            discard(request.into_body(), limits.largest_body).await;
            too_many_requests(&caller.name, seconds).into_response()
        }
    };
    limits.describe(left, response.headers_mut());
    response
}

/// Made of digits, letters and quotes, which a header may hold.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sha256Digest;

    #[test]
    fn each_key_has_its_own_requests_and_is_told_when_to_come_back() {
        let key = |name: &str| ApiKeyConfig::new(name, Sha256Digest::of(name.as_bytes()), &["*"]);
        let limits = RateLimits::new(1, 2, &[key("a"), key("b")], 0);
        assert_eq!(limits.policy, "\"key\";q=2;w=2");
        let left = [limits.take("a"), limits.take("a"), limits.take("a")];
        assert_eq!(left, [Left::Requests(1), Left::Requests(0), Left::Nothing(1)]);
        assert_eq!(limits.take("b"), Left::Requests(1));
    }
}
