//! Pure: when people work.

use std::time::Duration;

use fluxori_core::time::Timestamp;
use rand::rngs::StdRng;

use super::draw::{Ascending, Weighted};

/// How busy an hour of a working day is, from midnight, against the morning's best.
const HOURS: [f64; 24] = [
    0.10, 0.07, 0.05, 0.05, 0.06, 0.10, 0.20, 0.40, 0.70, 1.00, 1.10, 1.05, 0.80, 0.95, 1.10, 1.05, 0.95,
    0.70, 0.45, 0.35, 0.30, 0.25, 0.18, 0.12,
];
/// How busy a day of the weekend is against a working day.
const WEEKEND: f64 = 0.25;
const SLOT: Duration = Duration::from_mins(15);

/// Where an org works: its hours ahead of UTC, all year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Americas,
    Europe,
    Asia,
}

impl Region {
    pub(super) const ALL: [Self; 3] = [Self::Americas, Self::Europe, Self::Asia];

    const fn hours_ahead(self) -> i64 {
        match self {
            Self::Americas => -5,
            Self::Europe => 1,
            Self::Asia => 8,
        }
    }

    /// How busy this region is at an instant.
    pub(super) fn activity(self, at: Timestamp) -> f64 {
        let seconds = at.micros().div_euclid(1_000_000) + self.hours_ahead() * 3600;
        let hour = usize::try_from(seconds.rem_euclid(86_400) / 3600).unwrap_or_default();
        // The epoch began on a Thursday; Monday is 0.
        let weekday = (seconds.div_euclid(86_400) + 3).rem_euclid(7);
        let of_day = if weekday >= 5 { WEEKEND } else { 1.0 };
        HOURS.get(hour).copied().unwrap_or_default() * of_day
    }
}

/// Instants over a span of time, in ascending order, dense where work is done; the last one ends the span.
pub(super) struct Instants {
    begin: Timestamp,
    end: Timestamp,
    slots: Weighted,
    shares: Ascending,
    left: u64,
}

impl Instants {
    /// `activity` says how busy an instant is.
    pub(super) fn new(
        count: u64,
        span: Duration,
        end: Timestamp,
        activity: impl Fn(Timestamp) -> f64,
    ) -> Self {
        let begin = end.before(span);
        let slots = u32::try_from(span.as_micros().div_ceil(SLOT.as_micros())).unwrap_or(u32::MAX);
        let middles = (0..slots.max(1)).map(|slot| begin.after(SLOT * slot + SLOT / 2));
        Self {
            begin,
            end,
            slots: Weighted::new(middles.map(activity)),
            shares: Ascending::new(count),
            left: count,
        }
    }

    pub(super) fn next(&mut self, rng: &mut StdRng) -> Option<Timestamp> {
        self.left = self.left.checked_sub(1)?;
        let (slot, fraction) = self.slots.at(self.shares.next(rng)?);
        if self.left == 0 {
            return Some(self.end);
        }
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        Some(self.begin.after(SLOT * slot + SLOT.mul_f64(fraction)).min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_working_morning_is_busier_than_the_night_and_the_weekend() {
        // 2026-11-18 is a Wednesday, 2026-11-22 a Sunday.
        let busy = |text| Region::Europe.activity(at(text));
        assert!(busy("2026-11-18T09:30:00Z") > 5.0 * busy("2026-11-18T02:30:00Z"));
        assert!(busy("2026-11-18T09:30:00Z") > 3.0 * busy("2026-11-22T09:30:00Z"));
        assert!(busy("2026-11-18T09:30:00Z") > Region::Americas.activity(at("2026-11-18T09:30:00Z")));
    }

    #[test]
    fn instants_ascend_follow_the_rhythm_and_end_at_the_end() {
        let end = at("2026-11-20T16:00:00Z");
        let activity = |at| Region::Europe.activity(at);
        let mut instants = Instants::new(20_000, Duration::from_hours(7 * 24), end, activity);
        let mut rng = StdRng::seed_from_u64(1);
        let drawn: Vec<Timestamp> = std::iter::from_fn(|| instants.next(&mut rng)).collect();
        assert_eq!((drawn.len(), drawn.last()), (20_000, Some(&end)));
        assert!(drawn.is_sorted() && drawn[0] >= end.before(Duration::from_hours(7 * 24)));
        let within = |from: &str, to: &str| drawn.iter().filter(|t| (at(from)..at(to)).contains(t)).count();
        let wednesday = within("2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z");
        let sunday = within("2026-11-15T00:00:00Z", "2026-11-16T00:00:00Z");
        assert!(wednesday > 3 * sunday, "{wednesday} {sunday}");
    }
}
