//! Pure: what is wrong with a producer, from what came of it.

use std::time::Duration;

use fluxori_analytics::{Gaps, Missing, Producer};
use fluxori_core::time::Timestamp;
use serde::Serialize;

/// Fewer records than these in a week make no habit.
const STEADY_EVENTS: i64 = 20;
/// Nor does a shorter life.
const STEADY_LIFE_US: i64 = 10 * MINUTE_US;
/// Shorter silences are never one.
const SHORTEST_SILENCE_US: i64 = 15 * MINUTE_US;
/// A successor may start so long before its predecessor ends.
const OVERLAP: Duration = Duration::from_hours(1);
/// In the same hour a week ago there must have been so many records for a judgement.
const SLOW_EVENTS: i64 = 20;

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const WEEK: Duration = Duration::from_hours(7 * 24);

/// When the report is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf {
    /// All that was appended before this is in the tables.
    pub(super) read_until: Timestamp,
    /// A number may come so long after a higher one.
    pub(super) grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Problem {
    /// Numbers have not come.
    Missing,
    /// It used to emit steadily, has stopped, and nothing has taken its place.
    Silent,
    /// In the last hour less than a quarter came of what came in the same hour a week ago.
    Slow,
}

/// Records in an hour, as usual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Usual {
    pub(super) events_per_hour: i64,
    pub(super) from: UsualFrom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UsualFrom {
    /// The same hour a week ago.
    SameHour,
    /// The mean of the last seven days, or of its life so far.
    Mean,
}

/// What is to be said of a producer.
#[derive(Debug, PartialEq)]
pub(super) struct Judgement {
    pub(super) problems: Vec<Problem>,
    /// Numbers that are missing.
    pub(super) missing: Vec<Missing>,
    pub(super) missing_count: i64,
    /// Numbers that may still be on their way.
    pub(super) pending_count: i64,
    pub(super) usual_interval_us: Option<i64>,
    pub(super) silent_for_us: i64,
    pub(super) usual: Option<Usual>,
    /// Another producer of its site has taken its place.
    pub(super) replaced: bool,
}

/// Judges one producer; `all` are those of the report, among which may be its successor.
pub(super) fn judge(of: &Producer, gaps: Gaps, all: &[Producer], as_of: AsOf) -> Judgement {
    let settled_before = as_of.read_until.before(as_of.grace);
    let (missing, pending): (Vec<Missing>, Vec<Missing>) =
        gaps.gaps.into_iter().partition(|gap| gap.passed_at < settled_before);
    let pending_count = pending.iter().map(Missing::count).sum();
    // The gaps were looked for after the numbers were counted, and some may have come in between.
    let missing_count = match gaps.more {
        true => of.missing().saturating_sub(pending_count),
        false => missing.iter().map(Missing::count).sum(),
    };
    let usual_interval_us = usual_interval_us(of, as_of);
    let silent_for_us = as_of.read_until.micros().saturating_sub(of.last_seen.micros()).max(0);
    let replaced = all.iter().any(|other| replaces(other, of));
    let usual = usual(of, as_of);
    let mut problems = Vec::new();
    if missing_count > 0 {
        problems.push(Problem::Missing);
    }
    let limit_us = usual_interval_us.map(|interval| {
        let pause = of.longest_pause_us.saturating_mul(2);
        interval.saturating_mul(10).max(pause).max(SHORTEST_SILENCE_US)
    });
    if !replaced && limit_us.is_some_and(|limit| silent_for_us > limit) {
        problems.push(Problem::Silent);
    } else if !replaced && usual.is_some_and(|usual| is_slow(of, usual)) {
        problems.push(Problem::Slow);
    }
    Judgement {
        problems,
        missing,
        missing_count,
        pending_count,
        usual_interval_us,
        silent_for_us,
        usual,
        replaced,
    }
}

fn is_slow(of: &Producer, usual: Usual) -> bool {
    usual.from == UsualFrom::SameHour
        && usual.events_per_hour >= SLOW_EVENTS
        && of.last_hour.saturating_mul(4) < usual.events_per_hour
}

/// The mean time between two records in the last seven days, of a producer that has a habit.
fn usual_interval_us(of: &Producer, as_of: AsOf) -> Option<i64> {
    let from = of.first_seen.max(as_of.read_until.before(WEEK));
    let life = of.last_seen.micros().saturating_sub(from.micros());
    let events = of.last_week.saturating_add(of.last_hour);
    (events >= STEADY_EVENTS && life >= STEADY_LIFE_US).then(|| life / (events - 1))
}

fn usual(of: &Producer, as_of: AsOf) -> Option<Usual> {
    let week_ago = as_of.read_until.before(WEEK);
    if of.first_seen.micros() <= week_ago.micros().saturating_sub(HOUR_US) {
        return Some(Usual { events_per_hour: of.week_ago, from: UsualFrom::SameHour });
    }
    let life = as_of.read_until.micros() - HOUR_US - of.first_seen.max(week_ago).micros();
    let hours = |events: i64| i128::from(events) * i128::from(HOUR_US) / i128::from(life);
    let mean = (life >= HOUR_US).then(|| i64::try_from(hours(of.last_week)).unwrap_or(i64::MAX))?;
    Some(Usual { events_per_hour: mean, from: UsualFrom::Mean })
}

/// Whether a producer took another's place: it is of the same site, began when that ended or after, and went on longer.
fn replaces(other: &Producer, of: &Producer) -> bool {
    other.producer != of.producer
        && site(other.producer.as_str()) == site(of.producer.as_str())
        && other.first_seen > of.last_seen.before(OVERLAP)
        && other.first_seen > of.first_seen
        && other.last_seen > of.last_seen
}

/// Where a producer runs, whichever process it is: its name without the UUID of the process that the emitter adds, and
/// without what a deployment of Kubernetes adds to the name of each pod (`-7d9f8b6c5d-x2x4z`).
pub(super) fn site(producer: &str) -> &str {
    // Kubernetes' alphabet: no vowels, no digits that look like letters.
    let is_random = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len())
            && part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
    };
    let is_uuid = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((host, _)) = producer.rsplit_once('-').filter(|(_, last)| is_uuid(last)) else {
        return producer;
    };
    let without_pod = host
        .rsplit_once('-')
        .filter(|(_, last)| is_random(last, 5..=5))
        .and_then(|(rest, _)| rest.rsplit_once('-'))
        .filter(|(_, set)| is_random(set, 6..=10));
    without_pod.map_or(host, |(deployment, _)| deployment)
}

#[cfg(test)]
mod tests {
    use fluxori_core::id::ProducerId;

    use super::*;

    const PROCESS: &str = "0198f2aa7c1e7d3b9a513f1f0c8b2d11";
    const LATER: &str = "0198f2bb7c1e7d3b9a513f1f0c8b2d22";

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn ago(minutes: u64) -> Timestamp {
        now().before(Duration::from_mins(minutes))
    }

    fn as_of() -> AsOf {
        AsOf { read_until: now(), grace: Duration::from_mins(5) }
    }

    /// A producer that began and ended so many minutes ago and emitted once a minute.
    fn steady(name: &str, began: u64, ended: u64) -> Producer {
        let events = i64::try_from(began - ended).unwrap() + 1;
        let last_hour = 60 - i64::try_from(ended.min(60)).unwrap();
        Producer {
            producer: ProducerId::new(name).unwrap(),
            of_org: true,
            first_seen: ago(began),
            last_seen: ago(ended),
            events,
            unnumbered: 0,
            numbers: events,
            highest: events,
            last_hour,
            week_ago: 0,
            last_week: events - last_hour,
            longest_pause_us: MINUTE_US,
        }
    }

    fn problems(of: &Producer, all: &[Producer]) -> Vec<Problem> {
        judge(of, Gaps::default(), all, as_of()).problems
    }

    #[test]
    fn a_steady_producer_that_stopped_is_silent_until_another_of_its_site_began() {
        let of = steady(&format!("web-1-{PROCESS}"), 600, 60);
        assert_eq!(problems(&of, &[]), [Problem::Silent]);
        let next = |name: &str, began| steady(&format!("{name}-{LATER}"), began, 0);
        assert_eq!(problems(&of, &[of.clone(), next("web-1", 59)]), []);
        assert_eq!(problems(&of, &[next("web-1", 80)]), [], "both ran for a while");
        assert_eq!(problems(&of, &[next("web-1", 300)]), [Problem::Silent], "they ran side by side");
        assert_eq!(problems(&of, &[next("web-2", 59)]), [Problem::Silent]);
        assert_eq!(problems(&steady("a", 600, 14), &[]), [], "a quarter of an hour is no silence");
        assert_eq!(problems(&steady("a", 70, 60), &[]), [], "no habit");
    }

    #[test]
    fn a_silence_is_measured_by_the_pauses_that_were_and_by_what_was_read() {
        let of = Producer { longest_pause_us: 8 * HOUR_US, ..steady("office-hours", 6_000, 900) };
        assert_eq!(problems(&of, &[]), []);
        assert_eq!(problems(&Producer { longest_pause_us: 7 * HOUR_US, ..of }, &[]), [Problem::Silent]);
        let read_until = ago(55);
        let behind = AsOf { read_until, ..as_of() };
        assert_eq!(judge(&steady("a", 600, 60), Gaps::default(), &[], behind).problems, []);
    }

    #[test]
    fn a_number_is_missing_once_its_grace_is_over_and_everything_before_was_read() {
        let of = Producer { numbers: 500, highest: 510, ..steady("a", 600, 0) };
        let gap = |first, last, minutes| Missing { first, last, passed_at: ago(minutes) };
        let gaps = Gaps { gaps: vec![gap(3, 9, 30), gap(20, 22, 2)], more: false };
        let judged = judge(&of, gaps.clone(), &[], as_of());
        assert_eq!(
            (judged.problems, judged.missing_count, judged.pending_count),
            (vec![Problem::Missing], 7, 3)
        );
        assert_eq!(judged.missing, [gap(3, 9, 30)]);
        let behind = AsOf { read_until: ago(30), ..as_of() };
        let judged = judge(&of, gaps, &[], behind);
        assert_eq!((judged.problems, judged.missing_count, judged.pending_count), (vec![], 0, 10));
    }

    #[test]
    fn the_usual_rate_is_that_of_the_same_hour_or_the_mean_of_its_life() {
        let old = Producer { week_ago: 100, last_hour: 24, ..steady("a", 20_000, 0) };
        assert_eq!(problems(&old, &[]), [Problem::Slow]);
        assert_eq!(problems(&Producer { last_hour: 25, ..old.clone() }, &[]), []);
        assert_eq!(problems(&Producer { week_ago: 19, last_hour: 1, ..old }, &[]), []);
        let young = judge(&steady("a", 600, 0), Gaps::default(), &[], as_of());
        assert_eq!(young.usual, Some(Usual { events_per_hour: 60, from: UsualFrom::Mean }));
        assert_eq!(judge(&steady("a", 100, 0), Gaps::default(), &[], as_of()).usual, None);
    }

    #[test]
    fn a_site_is_the_host_or_the_deployment_of_a_pod() {
        assert_eq!(site(&format!("web-1-{PROCESS}")), "web-1");
        assert_eq!(site(&format!("rag-7d9f8b6c5d-x2x4z-{PROCESS}")), "rag");
        assert_eq!(site(&format!("rag-0-{PROCESS}")), "rag-0");
        assert_eq!(site(&format!("my-service-host1-{PROCESS}")), "my-service-host1");
        assert_eq!(site("named-by-hand"), "named-by-hand");
    }
}
