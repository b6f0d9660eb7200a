//! Pure: the periods of recurring allocations, by the calendar of a time zone.
//!
//! The ledger's fold never calculates with calendars: time-zone data differ between builds and years. Who publishes
//! periods (the scheduler, the CLI, the edge) does, and the fold checks that they follow each other without a gap.

use chrono::{DateTime, Days, LocalResult, Months, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::id::Label;
use crate::time::Timestamp;

/// The unit of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalUnit {
    /// Days of the time zone: 23 to 25 hours where clocks are put forward or back.
    Day,
    /// Seven days.
    Week,
    /// Calendar months.
    Month,
    /// Twelve months.
    Year,
}

impl IntervalUnit {
    /// The name in commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// How periods follow each other: every so many units from an anchor on, in the local time of a time zone.
///
/// The k-th boundary is counted from the anchor and not from the boundary before, so that a period that begins on the
/// 31st begins on the last day of shorter months and on the 31st again after them. A boundary that falls into the hour
/// that is skipped when clocks go forward is moved to the end of the gap; one that exists twice is the earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// How many units a period has.
    pub every: u32,
    /// Which.
    pub unit: IntervalUnit,
    /// Local date and time at which a period begins.
    pub anchor: NaiveDateTime,
    /// Name in the IANA time zone database, such as `Europe/Berlin`.
    pub time_zone: Label,
}

/// Why there is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// Not in the time zone database of this build.
    #[error("`{0}` is no time zone of the IANA database, such as Europe/Berlin or UTC")]
    UnknownTimeZone(Label),
    /// Before the year 1 or after 9999, or an interval of nothing.
    #[error("the period is out of range")]
    OutOfRange,
}

/// The beginning of the day that `at` lies in, in the local time of a time zone: where periods begin whose anchor nobody
/// named.
///
/// # Errors
/// An unknown time zone, or out of range.
pub fn local_midnight(at: Timestamp, time_zone: &Label) -> Result<NaiveDateTime, PeriodError> {
    let local = at.to_datetime().ok_or(PeriodError::OutOfRange)?.with_timezone(&zone(time_zone)?);
    Ok(local.date_naive().and_time(NaiveTime::MIN))
}

fn zone(name: &Label) -> Result<Tz, PeriodError> {
    name.as_str().parse().map_err(|_| PeriodError::UnknownTimeZone(name.clone()))
}

impl Recurrence {
    /// Why the shape is wrong, if it is. Whether the time zone exists is not looked at: the answer may differ between
    /// builds.
    ///
    /// # Errors
    /// In words, for people.
    pub fn check(&self) -> Result<(), String> {
        let most = match self.unit {
            IntervalUnit::Day => 3_660,
            IntervalUnit::Week => 520,
            IntervalUnit::Month => 120,
            IntervalUnit::Year => 10,
        };
        if (1..=most).contains(&self.every) {
            return Ok(());
        }
        Err(format!("an interval has 1 to {most} {}s", self.unit.as_str()))
    }

    /// The period that `at` lies in: its first instant, and the first instant after it.
    ///
    /// # Errors
    /// An unknown time zone, or out of range.
    pub fn period_at(&self, at: Timestamp) -> Result<(Timestamp, Timestamp), PeriodError> {
        let zone = zone(&self.time_zone)?;
        let local = at.to_datetime().ok_or(PeriodError::OutOfRange)?.with_timezone(&zone).naive_local();
        let mut index = self.estimate(local);
        // The estimate is off by one at most at month ends and around changes of the clocks.
        while self.boundary(zone, index)? > at {
            index -= 1;
        }
        while self.boundary(zone, index + 1)? <= at {
            index += 1;
        }
        Ok((self.boundary(zone, index)?, self.boundary(zone, index + 1)?))
    }

    /// Roughly how many intervals lie between the anchor and `local`.
    fn estimate(&self, local: NaiveDateTime) -> i64 {
        let days = (local - self.anchor).num_days();
        let every = i64::from(self.every.max(1));
        match self.unit {
            IntervalUnit::Day => days.div_euclid(every),
            IntervalUnit::Week => days.div_euclid(7 * every),
            // 400 years have 4,800 months and 146,097 days.
            IntervalUnit::Month => (days * 4_800).div_euclid(146_097 * every),
            IntervalUnit::Year => (days * 400).div_euclid(146_097 * every),
        }
    }

    /// The beginning of the period `index` intervals after the anchor.
    fn boundary(&self, zone: Tz, index: i64) -> Result<Timestamp, PeriodError> {
        let count = index.checked_mul(i64::from(self.every)).ok_or(PeriodError::OutOfRange)?;
        let local = match self.unit {
            IntervalUnit::Day => add_days(self.anchor, count),
            IntervalUnit::Week => count.checked_mul(7).and_then(|days| add_days(self.anchor, days)),
            IntervalUnit::Month => add_months(self.anchor, count),
            IntervalUnit::Year => count.checked_mul(12).and_then(|months| add_months(self.anchor, months)),
        };
        let time = instant(zone, local.ok_or(PeriodError::OutOfRange)?).ok_or(PeriodError::OutOfRange)?;
        let at = Timestamp::from_micros(time.timestamp_micros());
        if (Timestamp::EARLIEST..=Timestamp::LATEST).contains(&at) {
            Ok(at)
        } else {
            Err(PeriodError::OutOfRange)
        }
    }
}

fn add_days(from: NaiveDateTime, days: i64) -> Option<NaiveDateTime> {
    let count = Days::new(days.unsigned_abs());
    if days < 0 { from.checked_sub_days(count) } else { from.checked_add_days(count) }
}

fn add_months(from: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 { from.checked_sub_months(count) } else { from.checked_add_months(count) }
}

/// The instant of a local time: the earlier of two, the end of the gap where there is none.
fn instant(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Tz>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time),
        LocalResult::None => {
            // Offsets change by whole minutes, and never by more than a day.
            let after = (1..=24 * 60).map(|minutes| local + TimeDelta::minutes(minutes));
            let later =
                after.map(|local| zone.from_local_datetime(&local)).find_map(LocalResult::earliest)?;
            // Local times may have seconds of their own; the gap ends on a whole minute.
            let seconds = later.timestamp().rem_euclid(60);
            later.checked_sub_signed(TimeDelta::seconds(seconds))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recurrence(every: u32, unit: IntervalUnit, anchor: &str, zone: &str) -> Recurrence {
        Recurrence { every, unit, anchor: anchor.parse().unwrap(), time_zone: zone.parse().unwrap() }
    }

    fn period(recurrence: &Recurrence, at: &str) -> (String, String) {
        let (start, end) = recurrence.period_at(at.parse().unwrap()).unwrap();
        (start.to_string(), end.to_string())
    }

    fn pair(start: &str, end: &str) -> (String, String) {
        (start.to_owned(), end.to_owned())
    }

    #[test]
    fn a_month_from_the_31st_ends_with_shorter_months_and_comes_back_to_the_31st() {
        let monthly = recurrence(1, IntervalUnit::Month, "2026-01-31T00:00:00", "UTC");
        assert_eq!(
            period(&monthly, "2026-02-10T00:00:00Z"),
            pair("2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z")
        );
        assert_eq!(
            period(&monthly, "2026-02-28T00:00:00Z"),
            pair("2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z")
        );
        assert_eq!(
            period(&monthly, "2028-02-28T23:59:59Z"),
            pair("2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z")
        );
        assert_eq!(
            period(&monthly, "2025-12-30T00:00:00Z"),
            pair("2025-11-30T00:00:00Z", "2025-12-31T00:00:00Z")
        );
    }

    #[test]
    fn a_day_has_23_hours_when_clocks_go_forward_and_25_when_they_go_back() {
        let daily = recurrence(1, IntervalUnit::Day, "2026-01-01T00:00:00", "Europe/Berlin");
        assert_eq!(
            period(&daily, "2026-03-29T12:00:00Z"),
            pair("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
        );
        assert_eq!(
            period(&daily, "2026-10-25T12:00:00Z"),
            pair("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
        );
    }

    #[test]
    fn a_boundary_in_the_skipped_hour_is_its_end_and_one_that_is_there_twice_is_the_earlier() {
        let half_past_two = recurrence(1, IntervalUnit::Day, "2026-01-01T02:30:00", "Europe/Berlin");
        assert_eq!(
            period(&half_past_two, "2026-03-29T12:00:00Z"),
            pair("2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z")
        );
        assert_eq!(
            period(&half_past_two, "2026-10-25T12:00:00Z"),
            pair("2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z")
        );
        let second = recurrence(1, IntervalUnit::Day, "2026-01-01T02:30:17", "Europe/Berlin");
        assert_eq!(period(&second, "2026-03-29T12:00:00Z").0, "2026-03-29T01:00:00Z");
    }

    #[test]
    fn weeks_quarters_and_leap_years_count_from_the_anchor() {
        let weekly = recurrence(2, IntervalUnit::Week, "2026-01-05T00:00:00", "UTC");
        assert_eq!(
            period(&weekly, "2026-01-19T00:00:00Z"),
            pair("2026-01-19T00:00:00Z", "2026-02-02T00:00:00Z")
        );
        let quarterly = recurrence(3, IntervalUnit::Month, "2026-01-01T00:00:00", "America/New_York");
        assert_eq!(
            period(&quarterly, "2026-05-05T00:00:00Z"),
            pair("2026-04-01T04:00:00Z", "2026-07-01T04:00:00Z")
        );
        let yearly = recurrence(1, IntervalUnit::Year, "2024-02-29T00:00:00", "UTC");
        assert_eq!(
            period(&yearly, "2027-01-01T00:00:00Z"),
            pair("2026-02-28T00:00:00Z", "2027-02-28T00:00:00Z")
        );
    }

    #[test]
    fn periods_meet_without_gap_or_overlap_for_a_century() {
        for (every, unit) in [(7, IntervalUnit::Day), (1, IntervalUnit::Week), (1, IntervalUnit::Month)] {
            let recurrence = recurrence(every, unit, "2026-01-31T02:30:00", "America/Sao_Paulo");
            let mut at: Timestamp = "1990-06-15T00:00:00Z".parse().unwrap();
            for _ in 0..1_200 {
                let (start, end) = recurrence.period_at(at).unwrap();
                assert!(start <= at && at < end, "{at}");
                assert_eq!(recurrence.period_at(end).unwrap().0, end);
                at = end;
            }
        }
    }

    #[test]
    fn a_day_begins_at_the_midnight_of_its_own_time_zone() {
        let midnight = |at: &str, zone: &str| {
            local_midnight(at.parse().unwrap(), &zone.parse().unwrap()).map(|midnight| midnight.to_string())
        };
        assert_eq!(midnight("2026-11-22T23:30:00Z", "Europe/Berlin").unwrap(), "2026-11-23 00:00:00");
        assert_eq!(midnight("2026-11-22T23:30:00Z", "UTC").unwrap(), "2026-11-22 00:00:00");
        assert!(midnight("2026-11-22T23:30:00Z", "Europe/Atlantis").is_err());
    }

    #[test]
    fn an_unknown_time_zone_and_an_interval_of_nothing_are_refused() {
        let unknown = recurrence(1, IntervalUnit::Day, "2026-01-01T00:00:00", "Europe/Atlantis");
        assert!(matches!(unknown.period_at(Timestamp::default()), Err(PeriodError::UnknownTimeZone(_))));
        assert!(recurrence(0, IntervalUnit::Day, "2026-01-01T00:00:00", "UTC").check().is_err());
        assert!(recurrence(121, IntervalUnit::Month, "2026-01-01T00:00:00", "UTC").check().is_err());
    }
}
