//! Pure: the preference `wait` of RFC 7240: how long a caller would wait for the position of what it sends.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The longest wait, in seconds.
const MAX_SECONDS: u64 = 10;

/// The header that says which preference was heard.
pub(super) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `Prefer: wait=SECONDS`, at most 10 of them; the first counts, and what cannot be read is no preference.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let wait = values.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })?;
    let seconds: u64 = wait.parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_SECONDS)))
}

/// What is answered to it.
pub(super) fn applied(wait: Duration) -> HeaderValue {
    HeaderValue::from_str(&format!("wait={}", wait.as_secs())).unwrap_or(HeaderValue::from_static("wait"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_found_among_other_preferences_and_bounded() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_static(value));
            }
            wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(of(&["wait=3"]), Some(3));
        assert_eq!(of(&["respond-async, Wait = \"4\"; x=1"]), Some(4));
        assert_eq!(of(&["return=minimal", "wait=100"]), Some(10));
        assert_eq!((of(&[]), of(&["wait"]), of(&["wait=-1"]), of(&["await=3"])), (None, None, None, None));
    }
}
