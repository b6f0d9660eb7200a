//! Pure: what a usage event must hold to be possible.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::{Quantity, TokenCounts, UsageFields};
use crate::time::Timestamp;

/// Largest count of tokens and largest quantity of a unit in one event.
pub const MAX_QUANTITY: i64 = 1_000_000_000;
/// Most tags of an event; a tag's name has at most 64 bytes and its value at most 256.
pub const MAX_TAGS: usize = 32;
/// Most named units of an event.
pub const MAX_UNITS: usize = 16;
/// Longest raw usage block, in bytes.
pub const MAX_RAW_USAGE_BYTES: usize = 4096;
/// How far a client's clock may run ahead of the log's time.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);
/// How late an event may come after it occurred.
pub const ACCEPTANCE_WINDOW: Duration = Duration::from_hours(35 * 24);

/// Why an event is refused: a field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A count or duration below zero.
    #[error("{0} is negative")]
    Negative(&'static str),
    /// Beyond what one event can hold.
    #[error("{0} is larger than {MAX_QUANTITY}")]
    TooLarge(&'static str),
    /// A part that is more than its whole.
    #[error("{subset} ({part}) is more than its total {total} ({whole})")]
    SubsetAboveTotal {
        /// The parts.
        subset: &'static str,
        /// Their sum.
        part: i64,
        /// The whole's field.
        total: &'static str,
        /// The whole.
        whole: i64,
    },
    /// Too many or too long tags or units.
    #[error("{0}")]
    Limit(String),
    /// A revision other than 1 or 2, or an attempt below 1.
    #[error("{0}")]
    Impossible(&'static str),
    /// Further ahead of the log's time than a clock may be.
    #[error("occurred_at {occurred_at} is more than 5 minutes after {now}: is the clock right?")]
    InFuture {
        /// The event's time.
        occurred_at: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// Older than the acceptance window.
    #[error("occurred_at {occurred_at} is more than 35 days before {now}")]
    TooLate {
        /// The event's time.
        occurred_at: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
}

pub(super) fn check(fields: &UsageFields) -> Result<(), Violation> {
    for (name, count) in [
        ("producer_seq", fields.producer_seq),
        ("latency_ms", fields.latency_ms.unwrap_or(0)),
        ("time_to_first_token_ms", fields.time_to_first_token_ms.unwrap_or(0)),
    ] {
        if count < 0 {
            return Err(Violation::Negative(name));
        }
    }
    check_tokens(&fields.tokens())?;
    check_units(&fields.units)?;
    check_texts(fields)?;
    if !matches!(fields.revision, 1 | 2) {
        return Err(Violation::Impossible("revision must be 1 or 2"));
    }
    if fields.attempt < 1 {
        return Err(Violation::Impossible("attempt counts from 1"));
    }
    Ok(())
}

pub(super) fn check_tokens(tokens: &TokenCounts) -> Result<(), Violation> {
    for (name, count) in tokens.by_field() {
        if count < 0 {
            return Err(Violation::Negative(name));
        }
        if count > MAX_QUANTITY {
            return Err(Violation::TooLarge(name));
        }
    }
    let cache = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h;
    let cached_media = tokens.cache_read_audio + tokens.cache_read_image;
    let input_media = tokens.audio_input + tokens.image_input;
    let output_media = tokens.audio_output + tokens.image_output;
    for (subset, part, total, whole) in [
        ("cache reads and writes", cache, "input_tokens", tokens.input),
        ("audio and image input tokens", input_media, "input_tokens", tokens.input),
        ("cached audio and image tokens", cached_media, "cache_read_input_tokens", tokens.cache_read),
        ("cache_read_audio_input_tokens", tokens.cache_read_audio, "audio_input_tokens", tokens.audio_input),
        ("cache_read_image_input_tokens", tokens.cache_read_image, "image_input_tokens", tokens.image_input),
        ("reasoning_output_tokens", tokens.reasoning, "output_tokens", tokens.output),
        ("audio and image output tokens", output_media, "output_tokens", tokens.output),
    ] {
        if part > whole {
            return Err(Violation::SubsetAboveTotal { subset, part, total, whole });
        }
    }
    Ok(())
}

pub(super) fn check_units(units: &BTreeMap<String, Quantity>) -> Result<(), Violation> {
    if units.len() > MAX_UNITS {
        return Err(Violation::Limit(format!("units holds more than {MAX_UNITS} entries")));
    }
    for (name, quantity) in units {
        if name.is_empty() || name.len() > 64 {
            return Err(Violation::Limit("a unit's name must have 1 to 64 bytes".to_owned()));
        }
        if quantity.0 < Decimal::ZERO {
            return Err(Violation::Negative("a quantity in units"));
        }
        if quantity.0 > Decimal::from(MAX_QUANTITY) {
            return Err(Violation::TooLarge("a quantity in units"));
        }
        if quantity.0.normalize().scale() > 6 {
            return Err(Violation::Limit(format!("units.{name} has more than 6 decimal places")));
        }
    }
    Ok(())
}

fn check_texts(fields: &UsageFields) -> Result<(), Violation> {
    if fields.tags.len() > MAX_TAGS {
        return Err(Violation::Limit(format!("tags holds more than {MAX_TAGS} entries")));
    }
    for (name, value) in &fields.tags {
        if name.is_empty() || name.len() > 64 || value.len() > 256 {
            return Err(Violation::Limit(
                "a tag's name must have 1 to 64 bytes and its value at most 256".to_owned(),
            ));
        }
    }
    if fields.raw_usage.as_ref().is_some_and(|raw| raw.len() > MAX_RAW_USAGE_BYTES) {
        return Err(Violation::Limit(format!("raw_usage is longer than {MAX_RAW_USAGE_BYTES} bytes")));
    }
    Ok(())
}

pub(super) fn check_time(occurred_at: Timestamp, now: Timestamp) -> Result<(), Violation> {
    if occurred_at > now.after(MAX_CLOCK_SKEW) {
        Err(Violation::InFuture { occurred_at, now })
    } else if occurred_at < now.before(ACCEPTANCE_WINDOW) {
        Err(Violation::TooLate { occurred_at, now })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::UsageEvent;
    use super::super::tests::event;
    use super::*;

    fn refused(change: impl FnOnce(&mut UsageFields)) -> Violation {
        let mut fields = event();
        change(&mut fields);
        UsageEvent::new(fields).unwrap_err()
    }

    #[test]
    fn impossible_counts_are_refused_by_name() {
        assert_eq!(refused(|e| e.output_tokens = -1), Violation::Negative("output_tokens"));
        assert_eq!(refused(|e| e.input_tokens = MAX_QUANTITY + 1), Violation::TooLarge("input_tokens"));
        let violation = refused(|e| e.cache_read_input_tokens = e.input_tokens + 1);
        assert_eq!(
            violation.to_string(),
            "cache reads and writes (1001) is more than its total input_tokens (1000)"
        );
        assert!(matches!(
            refused(|e| e.reasoning_output_tokens = 201),
            Violation::SubsetAboveTotal { total: "output_tokens", .. }
        ));
        assert!(matches!(
            refused(|e| {
                e.units.insert("pages".into(), Quantity(Decimal::NEGATIVE_ONE));
            }),
            Violation::Negative(_)
        ));
    }

    #[test]
    fn times_are_judged_at_the_five_minutes_and_the_35_days() {
        let event = UsageEvent::new(event()).unwrap();
        let at = event.occurred_at;
        assert!(event.check_time(at.before(MAX_CLOCK_SKEW)).is_ok());
        let skew = MAX_CLOCK_SKEW + Duration::from_micros(1);
        assert!(matches!(event.check_time(at.before(skew)), Err(Violation::InFuture { .. })));
        assert!(event.check_time(at.after(ACCEPTANCE_WINDOW)).is_ok());
        let late = ACCEPTANCE_WINDOW + Duration::from_micros(1);
        assert!(matches!(event.check_time(at.after(late)), Err(Violation::TooLate { .. })));
    }
}
