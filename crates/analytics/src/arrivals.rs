//! What a range's arrivals come to in the tables of producers: few rows, decided by the arrivals alone.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::Serialize;

use crate::Arrival;

/// Numbers in one word.
pub(crate) const WORD: i64 = 64;
/// Seconds in one slot.
const SLOT_SECONDS: i64 = 300;

/// A row of `producer_numbers`.
#[derive(Debug, Row, Serialize)]
pub(crate) struct NumbersRow<'a> {
    producer_id: &'a str,
    word: u64,
    numbers: u64,
    highest: i64,
    last_appended_at: i64,
}

/// A row of `producer_activity`.
#[derive(Debug, Row, Serialize)]
pub(crate) struct ActivityRow<'a> {
    producer_id: &'a str,
    /// `DateTime`: seconds.
    slot: u32,
    events: i64,
    unnumbered_events: i64,
    first_appended_at: i64,
    last_appended_at: i64,
}

/// The numbers that came, a row for each producer and word.
pub(crate) fn numbers(arrivals: &[Arrival]) -> Vec<NumbersRow<'_>> {
    let mut rows: BTreeMap<(&str, u64), NumbersRow<'_>> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.number > 0) {
        let producer_id = arrival.producer.as_str();
        let word = (arrival.number - 1).unsigned_abs() / WORD.unsigned_abs();
        let bit = 1 << ((arrival.number - 1) % WORD);
        let appended_at = arrival.append_time.micros();
        let row = rows.entry((producer_id, word)).or_insert(NumbersRow {
            producer_id,
            word,
            numbers: 0,
            highest: 0,
            last_appended_at: appended_at,
        });
        row.numbers |= bit;
        row.highest = row.highest.max(arrival.number);
        row.last_appended_at = row.last_appended_at.max(appended_at);
    }
    rows.into_values().collect()
}

/// How many came and when, a row for each producer and slot.
pub(crate) fn activity(arrivals: &[Arrival]) -> Vec<ActivityRow<'_>> {
    let mut rows: BTreeMap<(&str, u32), ActivityRow<'_>> = BTreeMap::new();
    for arrival in arrivals {
        let producer_id = arrival.producer.as_str();
        let appended_at = arrival.append_time.micros();
        let seconds = appended_at.div_euclid(1_000_000);
        let slot = u32::try_from(seconds - seconds.rem_euclid(SLOT_SECONDS)).unwrap_or_default();
        let row = rows.entry((producer_id, slot)).or_insert(ActivityRow {
            producer_id,
            slot,
            events: 0,
            unnumbered_events: 0,
            first_appended_at: appended_at,
            last_appended_at: appended_at,
        });
        row.events += 1;
        row.unnumbered_events += i64::from(arrival.number == 0);
        row.first_appended_at = row.first_appended_at.min(appended_at);
        row.last_appended_at = row.last_appended_at.max(appended_at);
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use fluxori_core::id::ProducerId;
    use fluxori_core::time::Timestamp;

    use super::*;

    fn arrival(producer: &str, number: i64, seconds: i64) -> Arrival {
        let append_time = Timestamp::from_millis(seconds * 1_000);
        Arrival { append_time, producer: ProducerId::new(producer).unwrap(), number }
    }

    #[test]
    fn a_number_sets_its_own_bit_however_often_it_comes_and_the_largest_fits() {
        let arrivals = [1, 64, 64, 65, 0, i64::MAX].map(|number| arrival("a", number, 600 + number.min(100)));
        let found: Vec<_> =
            numbers(&arrivals).iter().map(|row| (row.word, row.numbers, row.highest)).collect();
        let last = (i64::MAX - 1).unsigned_abs();
        assert_eq!(found, [(0, 1 | 1 << 63, 64), (1, 1, 65), (last / 64, 1 << (last % 64), i64::MAX)]);
    }

    #[test]
    fn arrivals_are_counted_by_producer_and_five_minutes() {
        let arrivals =
            [arrival("a", 1, 299), arrival("a", 0, 300), arrival("a", 1, 599), arrival("b", 1, 300)];
        let found: Vec<_> = activity(&arrivals)
            .iter()
            .map(|row| (row.producer_id, row.slot, row.events, row.unnumbered_events))
            .collect();
        assert_eq!(found, [("a", 0, 1, 0), ("a", 300, 2, 1), ("b", 300, 1, 0)]);
    }
}
