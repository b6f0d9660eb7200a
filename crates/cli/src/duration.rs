//! Spans of time as people write them: `90s`, `5m`, `12h`, `30d`, `2w`.

use std::str::FromStr;
use std::time::Duration;

use fluxori_core::time::Timestamp;

/// A moment, by itself or by how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeOrSpan {
    Time(Timestamp),
    Ago(Duration),
}

impl TimeOrSpan {
    /// The moment, where spans end at `now`.
    pub(crate) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(span) => now.before(span),
        }
    }
}

impl FromStr for TimeOrSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is neither a span of time such as 10m, 12h or 7d nor a time such as 2026-11-22T16:00:00Z"
            )
        };
        let time = text.parse().map(Self::Time);
        time.or_else(|_| parse(text).map(Self::Ago)).map_err(|_| wrong())
    }
}

/// Reads a whole number with a unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no span of time such as 90s, 5m, 12h, 30d or 2w");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// A span in the largest unit in which it is a whole number, as [`parse`] reads it.
pub(crate) fn text(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(604_800, 'w'), (86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let whole = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_its_unit() {
        assert_eq!(parse("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse("5m"), Ok(Duration::from_mins(5)));
        for wrong in ["", "5", "d", "-1d", "1.5h", "5 m", "99999999999999999999w", "1µ"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_span_is_written_as_it_is_read() {
        for span in ["0s", "90s", "5m", "36h", "30d", "2w"] {
            assert_eq!(text(parse(span).unwrap()), span);
        }
        assert_eq!(text(Duration::from_secs(120)), "2m");
    }
}
