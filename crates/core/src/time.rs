//! Pure: instants of the log, in UTC with microseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: microseconds since 1970-01-01T00:00:00Z. RFC 3339 where people read it, a number in Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text or number that is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time in RFC 3339 such as 2026-11-22T16:00:00Z, of the years 1 to 9999")]
pub struct TimestampError(String);

impl Timestamp {
    /// The earliest instant, before any record.
    pub const MIN: Self = Self(i64::MIN);
    /// 0001-01-01T00:00:00Z: nothing earlier is read from anywhere.
    pub const EARLIEST: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z: nothing later is read from anywhere.
    pub const LATEST: Self = Self(253_402_300_799_999_999);

    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch, as brokers stamp records; saturates.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This instant and `duration` more; saturates.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant less `duration`; saturates.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The minute of the day in UTC, from 0 up to 1,439.
    #[must_use]
    pub fn minute_of_day(self) -> u16 {
        const MINUTE: i64 = 60_000_000;
        u16::try_from(self.0.rem_euclid(24 * 60 * MINUTE) / MINUTE).unwrap_or(0)
    }

    /// This instant, if databases and people can hold it: of the years 1 to 9999.
    #[must_use]
    pub fn in_range(self) -> Option<Self> {
        (Self::EARLIEST..=Self::LATEST).contains(&self).then_some(self)
    }

    /// As a date and time; `None` outside of the years that chrono knows.
    #[must_use]
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| TimestampError(text.to_owned()))?;
        Self(time.timestamp_micros()).in_range().ok_or_else(|| TimestampError(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            let micros = i64::deserialize(deserializer)?;
            let time = Self(micros).in_range();
            time.ok_or_else(|| serde::de::Error::custom(TimestampError(micros.to_string())))
        }
    }
}
