//! The clock of the services: the one place that reads the system's time. Pure code takes `now` as
//! an argument instead.

use chrono::{DateTime, SubsecRound, Utc};

/// The time now, in UTC, truncated to microseconds as everywhere in the pipeline.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is told to ask")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

#[cfg(test)]
mod tests {
    #[test]
    fn now_has_no_nanoseconds_below_a_microsecond() {
        assert_eq!(super::now().timestamp_subsec_nanos() % 1_000, 0);
    }
}
