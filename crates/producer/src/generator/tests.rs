use std::collections::{BTreeMap, BTreeSet};

use super::*;

const WEEK: Duration = Duration::from_hours(7 * 24);

fn profile() -> Profile {
    Profile {
        source: "generator",
        seed: 1,
        orgs: 100,
        org_prefix: "demo".to_owned(),
        until: "2026-11-22T12:00:00Z".parse().unwrap(),
    }
}

fn generate(profile: &Profile, count: u64) -> Vec<UsageEvent> {
    let generator = Generator::new(profile).unwrap();
    generator.events(count, WEEK, profile.until).collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_other_ids() {
    let events = generate(&profile(), 2_000);
    assert_eq!(events, generate(&profile(), 2_000));
    let ids = |events: &[UsageEvent]| events.iter().map(|event| event.event_id).collect::<BTreeSet<_>>();
    let first = ids(&events);
    assert_eq!(first.len(), 2_000);
    let later = "2026-11-22T12:00:00.0001Z".parse().unwrap();
    for other in [
        Profile { seed: 2, ..profile() },
        Profile { org_prefix: "x".to_owned(), ..profile() },
        Profile { until: later, ..profile() },
        Profile { source: "trace", ..profile() },
    ] {
        assert!(ids(&generate(&other, 2_000)).is_disjoint(&first), "{other:?}");
    }
}

#[test]
fn every_event_is_valid_in_time_order_and_ends_with_now() {
    let events = generate(&profile(), 20_000);
    assert_eq!(events.last().unwrap().occurred_at, profile().until);
    assert!(events.is_sorted_by_key(|event| event.occurred_at));
    assert!(events[0].occurred_at >= profile().until.before(WEEK));
    for event in &events {
        // `UsageEvent` holds what the contract asks; here is what a generator could get wrong beyond it.
        assert!(event.event_id.is_native());
        let (seconds, nanos) = event.event_id.0.get_timestamp().unwrap().to_unix();
        let millis = i64::try_from(seconds).unwrap() * 1000 + i64::from(nanos / 1_000_000);
        assert_eq!(millis, event.occurred_at.micros() / 1000);
        if event.outcome == CallOutcome::Error {
            assert_eq!((event.input_tokens, event.output_tokens), (0, 0));
        }
    }
}

#[test]
fn usage_is_spread_as_in_life() {
    let events = generate(&profile(), 20_000);
    let count = |of: &dyn Fn(&UsageEvent) -> String| {
        let mut counts = BTreeMap::<String, u32>::new();
        for event in &events {
            *counts.entry(of(event)).or_default() += 1;
        }
        counts
    };
    let orgs = count(&|event| event.org_id.to_string());
    assert_eq!(orgs.len(), 100, "every org uses something");
    assert!(orgs["demo-000"] > 20 * orgs["demo-099"], "{orgs:?}");
    assert_eq!(count(&|event| event.module.to_string()).len(), 4);
    assert_eq!(count(&|event| event.model().to_string()).len(), 11);
    assert!(count(&|event| format!("{}/{:?}", event.org_id, event.user_id)).len() > 1_000);
    let share = |of: &dyn Fn(&UsageEvent) -> bool| events.iter().filter(|event| of(event)).count();
    assert!(share(&|event| event.cache_read_input_tokens > 0) > 4_000);
    assert!(share(&|event| event.cache_write_5m_input_tokens > 0) > 200);
    assert!(share(&|event| event.reasoning_output_tokens > 0) > 5_000);
    let errors = share(&|event| event.outcome == CallOutcome::Error);
    assert!((100..500).contains(&errors), "{errors}");
}

#[test]
fn a_recorded_call_keeps_its_tokens() {
    let mut generator = Generator::new(&profile()).unwrap();
    for tokens in [Tokens { input: 7_437, output: 173 }, Tokens { input: 0, output: 1 }] {
        for _ in 0..200 {
            let event = generator.event(profile().until, Some(tokens)).unwrap().unwrap();
            assert_eq!((event.input_tokens, event.output_tokens), (tokens.input, tokens.output));
        }
    }
}

#[test]
fn a_prefix_that_makes_no_org_id_is_refused() {
    assert!(Generator::new(&Profile { org_prefix: "$demo".to_owned(), ..profile() }).is_err());
}
