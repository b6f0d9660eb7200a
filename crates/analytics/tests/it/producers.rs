//! Which numbers of producers came, however often, in whatever ranges and in whatever order.

use std::collections::BTreeSet;
use std::time::Duration;

use fluxori_analytics::{Analytics, Arrival, Missing, Producer, ProducerFilter, RangeRows};
use fluxori_core::id::{OrgId, ProducerId};
use fluxori_core::time::Timestamp;

use crate::common::{Random, number, range, usage, with_database};

fn id(text: &str) -> ProducerId {
    ProducerId::new(text).unwrap()
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A record of a producer that was appended so many seconds ago.
fn arrival(producer: &str, number: i64, seconds_ago: u64) -> Arrival {
    Arrival { append_time: now().before(Duration::from_secs(seconds_ago)), producer: id(producer), number }
}

/// Inserts arrivals as a range of their own.
async fn insert(analytics: &Analytics, start: i64, arrivals: Vec<Arrival>) {
    let end = start + i64::try_from(arrivals.len()).unwrap();
    let rows = RangeRows { arrivals, ..RangeRows::default() };
    analytics.insert_range(&range(3, start, end), &rows).await.unwrap();
}

async fn producers(analytics: &Analytics, org: Option<&str>) -> Vec<Producer> {
    let since = now().before(Duration::from_hours(24 * 30));
    let org = org.map(|org| OrgId::new(org).unwrap());
    analytics.producers(&ProducerFilter { now: now(), since, org }).await.unwrap()
}

async fn missing(analytics: &Analytics, producer: &str) -> Vec<Missing> {
    let found = analytics.missing_numbers(&[id(producer)]).await.unwrap();
    found.into_values().flat_map(|missing| missing.gaps).collect()
}

fn spans(missing: &[Missing]) -> Vec<(i64, i64)> {
    missing.iter().map(|gap| (gap.first, gap.last)).collect()
}

#[tokio::test]
async fn a_number_that_never_came_is_a_gap_and_one_that_came_twice_counts_once() {
    with_database(async |analytics| {
        let numbers = [5, 1, 2, 2, 4, 1, 0];
        insert(&analytics, 0, numbers.map(|number| arrival("p", number, 60)).into()).await;
        let found = producers(&analytics, None).await;
        assert_eq!(found.len(), 1);
        let Producer { events, unnumbered, numbers, highest, last_hour, .. } = found[0];
        assert_eq!((events, unnumbered, numbers, highest, last_hour), (7, 1, 4, 5, 7));
        assert_eq!(found[0].missing(), 1);
        let passed_at = now().before(Duration::from_mins(1));
        assert_eq!(missing(&analytics, "p").await, [Missing { first: 3, last: 3, passed_at }]);
        let of_view = "SELECT toInt64(missing_numbers) FROM v_producers WHERE producer_id = 'p' AND events = 7 \
                       AND unnumbered_events = 1 AND numbers = 4 AND highest_number = 5";
        assert_eq!(number(&analytics, of_view).await, 1);
        // It comes late, in a range of its own.
        insert(&analytics, 7, vec![arrival("p", 3, 0)]).await;
        assert_eq!(missing(&analytics, "p").await, []);
        assert_eq!(producers(&analytics, None).await[0].missing(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_range_inserted_again_counts_no_record_twice() {
    with_database(async |analytics| {
        // Over the end of a month, so that the insert is in several pieces.
        let arrivals: Vec<Arrival> =
            (1..=500).map(|number| arrival("p", number, u64::try_from(number).unwrap() * 7_200)).collect();
        for _ in 0..3 {
            insert(&analytics, 0, arrivals.clone()).await;
        }
        let database = analytics.database();
        for part in ["202610", "202611"] {
            let drop = format!("ALTER TABLE {database}.producer_activity DROP PARTITION {part}");
            crate::common::query(&analytics, &drop).await;
            insert(&analytics, 0, arrivals.clone()).await;
            let since = now().before(Duration::from_hours(24 * 60));
            let filter = ProducerFilter { now: now(), since, org: None };
            let found = analytics.producers(&filter).await.unwrap();
            assert_eq!((found[0].events, found[0].numbers, found[0].missing()), (500, 500, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn gaps_are_found_wherever_they_begin_and_end() {
    with_database(async |analytics| {
        // Inside of a word, to its end, over whole words, from a word's beginning; and from the first number on.
        let gaps = [(1, 2), (60, 64), (66, 66), (128, 129), (150, 700), (705, 768), (769, 769), (833, 900)];
        let is_missing = |number: &i64| gaps.iter().any(|(first, last)| (first..=last).contains(&number));
        let came = (1..=1_000).filter(|number| !is_missing(number));
        insert(&analytics, 0, came.map(|number| arrival("p", number, 60)).collect()).await;
        let mut expected = gaps.to_vec();
        expected.splice(5..=6, [(705, 769)]);
        assert_eq!(spans(&missing(&analytics, "p").await), expected);
    })
    .await;
}

#[tokio::test]
async fn random_numbers_in_random_ranges_leave_the_gaps_that_they_leave() {
    with_database(async |analytics| {
        let mut random = Random(9);
        let mut start = 0;
        for producer in 0..20 {
            let name = format!("p{producer}");
            let (bound, one_in) = (1 + random.below(700), 1 + random.below(9));
            let mut numbers: Vec<i64> = (1..=bound)
                .filter(|_| random.below(one_in + 1) > 0)
                .map(|n| i64::try_from(n).unwrap())
                .collect();
            let came: BTreeSet<i64> = numbers.iter().copied().collect();
            while !numbers.is_empty() {
                let count = usize::try_from(1 + random.below(numbers.len().try_into().unwrap())).unwrap();
                let part = (0..count).map(|_| {
                    let index = usize::try_from(random.below(numbers.len().try_into().unwrap())).unwrap();
                    arrival(&name, numbers.swap_remove(index), random.below(1_000_000))
                });
                let part: Vec<Arrival> = part.collect();
                start += i64::try_from(part.len()).unwrap();
                insert(&analytics, start - i64::try_from(part.len()).unwrap(), part).await;
            }
            let highest = came.last().copied().unwrap_or_default();
            let lost: BTreeSet<i64> = (1..=highest).filter(|number| !came.contains(number)).collect();
            let found = missing(&analytics, &name).await;
            let all: BTreeSet<i64> = found.iter().flat_map(|gap| gap.first..=gap.last).collect();
            assert_eq!(all, lost);
            let apart = found.windows(2).all(|pair| pair[0].last + 1 < pair[1].first);
            assert!(apart && found.iter().all(|gap| gap.count() > 0), "{found:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_very_many_gaps_the_first_are_listed_and_that_there_are_more_is_said() {
    with_database(async |analytics| {
        let came = (1..=70_000).step_by(2).map(|number| arrival("p", number, 60)).collect();
        insert(&analytics, 0, came).await;
        let found = analytics.missing_numbers(&[id("p")]).await.unwrap();
        let of_p = &found[&id("p")];
        assert!(of_p.more && of_p.gaps.len() == 32_000, "{}", of_p.gaps.len());
        assert_eq!(of_p.gaps[31_999].first, 64_000);
        assert_eq!(producers(&analytics, None).await[0].missing(), 34_999);
    })
    .await;
}

#[tokio::test]
async fn rates_pauses_and_times_are_those_of_the_appended_records() {
    with_database(async |analytics| {
        const HOUR: u64 = 3_600;
        let week = 7 * 24 * HOUR;
        let at =
            [10, 20, 30 * 60, 5 * HOUR, 5 * HOUR + 60, week - 100, week + 60, week + 61, week + 2 * HOUR];
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (number, seconds_ago) in (1..).zip(at.into_iter().rev()) {
            arrivals.push(arrival("p", number, seconds_ago));
        }
        arrivals.push(arrival("long-ago", 1, 60 * 24 * HOUR));
        insert(&analytics, 0, arrivals).await;
        let found = producers(&analytics, None).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let p = &found[0];
        let ago = |seconds| now().before(Duration::from_secs(seconds));
        assert_eq!((p.first_seen, p.last_seen), (ago(week + 2 * HOUR), ago(10)));
        assert_eq!((p.last_hour, p.week_ago, p.last_week), (3, 2, 3));
        assert_eq!(p.longest_pause_us, i64::try_from(week - 100 - 5 * HOUR - 60).unwrap() * 1_000_000);
    })
    .await;
}

#[tokio::test]
async fn the_producers_of_an_org_are_marked_and_a_far_number_costs_nothing() {
    with_database(async |analytics| {
        let at = usage(&mut Random(1), 0, "acme", "2026-11-22T11:00:00Z");
        let name = at.usage.event.producer_id.as_str().to_owned();
        let arrivals = vec![arrival(&name, 1, 60), arrival("other", i64::MAX, 60)];
        let rows = RangeRows { usage: vec![at], arrivals, ..RangeRows::default() };
        analytics.insert_range(&range(3, 0, 2), &rows).await.unwrap();
        let found = producers(&analytics, Some("acme")).await;
        let of_org: Vec<&str> = found.iter().filter(|of| of.of_org).map(|of| of.producer.as_str()).collect();
        assert_eq!((found.len(), of_org), (2, vec![name.as_str()]));
        assert_eq!(spans(&missing(&analytics, "other").await), [(1, i64::MAX - 1)]);
        let none = producers(&analytics, Some(r"o'brien\")).await;
        assert!(none.iter().all(|of| !of.of_org));
    })
    .await;
}
