//! Corrections: rows that are taken back, and rows in their place.

use std::sync::Arc;

use fluxori_analytics::{Analytics, Counts, MadeBy, RangeRows, StoredUsage, UsageAt};
use fluxori_core::amount::{Credits, Usd};
use fluxori_core::id::RevisionId;
use fluxori_core::meter::Meter;
use fluxori_core::posting::PricedUsage;
use fluxori_core::pricing::{CallKind, lines_without_rates};
use fluxori_core::rates::{AppliedTerms, Card, ModelRates, Price, Rates};
use fluxori_core::usage::{Quantities, UsageEvent};

use crate::common::{Random, needed, number, range, text, usage, with_database};
use crate::tables::full;

fn rates() -> Rates {
    let mut rates = Rates::default();
    let table = [(Meter::Input, "1.25".parse().unwrap())].into_iter().collect();
    let price = Price::new("2025-08-07T00:00:00Z".parse().unwrap(), table);
    let gpt5 = ModelRates::new("openai".parse().unwrap(), "gpt-5".parse().unwrap(), vec![price]);
    let card = Card { models: vec![gpt5], ..Card::default() };
    rates.put_in_force(&RevisionId::new("2026-11").unwrap(), card).unwrap();
    rates
}

/// The usage with what follows from its event alone, in the place of what the usage log does not hold.
fn without_rates(mut usage: PricedUsage) -> PricedUsage {
    usage.charge.call = CallKind::of(&usage.event);
    usage.charge.lines = lines_without_rates(&usage.event.quantities());
    usage
}

async fn stored(analytics: &Analytics, before: i64, at: &UsageAt) -> Option<StoredUsage> {
    let mut loaded = analytics.load(3, before, &needed([at.usage.event.event_id])).await.unwrap();
    assert!(loaded.usage.len() <= 1);
    loaded.usage.pop()
}

#[tokio::test]
async fn every_field_of_an_event_and_its_charge_comes_back() {
    with_database(async |analytics| {
        let rates = rates();
        let mut random = Random(1);
        let mut bare = usage(&mut random, 5, "acme", "2026-11-22T12:00:00Z");
        bare.usage.event = Arc::new(
            UsageEvent::new(fluxori_core::usage::UsageFields::new(
                bare.usage.event.event_id,
                bare.usage.event.occurred_at,
                bare.usage.event.org_id.clone(),
                bare.usage.event.module.clone(),
                bare.usage.event.provider.clone(),
                bare.usage.event.request_model.clone(),
            ))
            .unwrap(),
        );
        let mut most = usage(&mut random, 6, "acme", "2026-11-22T12:00:00Z");
        let mut fields = full(most.usage.event.event_id);
        fields.producer_seq = i64::MAX;
        fields.raw_usage = Some("{\"a/b\": \"\\u00e9\\n\\\"'\u{1F600}\"}\u{7f}\\".to_owned());
        fields.tags.insert("it's \"quoted\"\n".into(), "\\é/".into());
        most.usage.event = UsageEvent::new(fields).unwrap().into();
        most.usage.charge.tier = rates.tiers().next().cloned();
        let terms = r#"{"credits_per_usd": "100", "markup": "1.5", "minimum": "0", "rounding": {"rule": "up", "places": 2},
            "exchange": ["CNY", "0.14"], "provisional": {"input": "1"}}"#;
        most.usage.charge.terms = serde_json::from_str::<AppliedTerms>(terms).unwrap().into();
        most.usage.charge.credits = "9999999999999999.999999999999".parse().unwrap();
        most.usage.charge.cost = "0.000000000001".parse().unwrap();
        most.charge_revision = 7;
        let rows = RangeRows { usage: vec![bare.clone(), most.clone()], ..RangeRows::default() };
        analytics.insert_range(&range(3, 5, 7), &rows).await.unwrap();
        for at in [bare, most] {
            assert_eq!(stored(&analytics, at.offset, &at).await, None);
            let found = stored(&analytics, at.offset + 1, &at).await.unwrap();
            assert_eq!((found.charge_revision, found.voided), (at.charge_revision, false));
            assert_eq!(found.resolve(&rates).unwrap(), without_rates(at.usage));
        }
    })
    .await;
}

#[tokio::test]
async fn a_tier_that_the_log_does_not_know_is_named() {
    with_database(async |analytics| {
        let rates = rates();
        let mut at = usage(&mut Random(1), 5, "acme", "2026-11-22T12:00:00Z");
        at.usage.charge.tier = rates.tiers().next().cloned();
        let rows = RangeRows { usage: vec![at.clone()], ..RangeRows::default() };
        analytics.insert_range(&range(3, 5, 6), &rows).await.unwrap();
        let found = stored(&analytics, 6, &at).await.unwrap();
        let text = found.resolve(&Rates::default()).unwrap_err().to_string();
        assert!(text.contains("openai/gpt-5") && text.contains("2026-11"), "{text}");
    })
    .await;
}

/// The rows of a correction at `offset`, which leaves `credits`, or nothing.
fn correct(before: &UsageAt, offset: i64, credits: Option<u32>) -> Vec<UsageAt> {
    let place = UsageAt { offset, made_by: MadeBy::Correction, ..before.clone() };
    let mut after = place.clone();
    after.charge_revision += 1;
    after.counts = if credits.is_some() { Counts::Added } else { Counts::Nothing };
    after.usage.charge.credits = Credits::from(credits.unwrap_or_default());
    let mut fields = UsageEvent::clone(&before.usage.event).into_fields();
    let mut quantities = Quantities::default();
    if credits.is_some() {
        quantities.tokens.input = 77;
    } else {
        after.usage.charge.cost = Usd::ZERO;
    }
    fields.set_quantities(quantities);
    after.usage.event = UsageEvent::new(fields).unwrap().into();
    let taken_back = UsageAt { counts: Counts::TakenBack, ..place };
    let taken_back = (before.counts == Counts::Added).then_some(taken_back);
    taken_back.into_iter().chain([after]).collect()
}

#[tokio::test]
async fn what_is_taken_back_no_longer_counts_and_rollups_equal_the_raw_log() {
    with_database(async |analytics| {
        let mut random = Random(2);
        let at = usage(&mut random, 0, "acme", "2026-11-22T12:00:00Z");
        let other = usage(&mut random, 1, "acme", "2026-11-22T12:00:00Z");
        let rest = other.usage.charge.credits;
        let first = RangeRows { usage: vec![at.clone(), other.clone()], ..RangeRows::default() };
        analytics.insert_range(&range(3, 0, 2), &first).await.unwrap();
        let mut last = at.clone();
        // Replaced, voided, voided again, replaced; each in a range of its own that is inserted twice.
        for (offset, credits) in (2..).zip([Some(5), None, None, Some(9)]) {
            let rows = correct(&last, offset, credits);
            assert_eq!(rows.len(), if last.counts == Counts::Added { 2 } else { 1 });
            last = rows.last().unwrap().clone();
            let rows = RangeRows { usage: rows, ..RangeRows::default() };
            for _ in 0..2 {
                analytics.insert_range(&range(3, offset, offset + 1), &rows).await.unwrap();
            }
            let sums = analytics.sums_by_org().await.unwrap();
            assert!(sums[0].agree(), "{sums:?}");
            assert_eq!(sums[0].events, if credits.is_some() { 2 } else { 1 });
            let expected = rest.plus(Credits::from(credits.unwrap_or_default())).unwrap();
            assert_eq!(sums[0].credits_raw, expected);
            let found = stored(&analytics, offset + 1, &at).await.unwrap();
            assert_eq!((found.charge_revision, found.voided), (last.charge_revision, credits.is_none()));
            assert_eq!(found.resolve(&Rates::default()).unwrap(), without_rates(last.usage.clone()));
        }
        // As of an earlier offset, later rows are not seen.
        assert_eq!(stored(&analytics, 3, &at).await.unwrap().charge_revision, 2);
        let loaded = analytics.load(3, 9, &needed([at.usage.event.event_id])).await.unwrap();
        assert_eq!(loaded.events.len(), 1, "corrections are no new events");
        // What is right now of each event, as the comment of the table says.
        let now = "SELECT toInt64(sum(row_sign)) FROM (SELECT * FROM credit_usage_log WHERE row_sign >= 0 \
                   ORDER BY charge_revision DESC LIMIT 1 BY org_id, event_id)";
        assert_eq!(number(&analytics, now).await, 2);
        let partial = "sum(row_sign * (charge_status = 'partial'))";
        for (raw, column) in [
            ("sum(input_tokens * row_sign)", "input_tokens"),
            ("sum(output_tokens * row_sign)", "output_tokens"),
            ("sum(cost_usd * row_sign)", "cost_usd"),
            (partial, "unpriced_events"),
        ] {
            let raw = text(&analytics, &format!("SELECT toString({raw}) FROM credit_usage_log")).await;
            for view in ["v_usage_hourly", "v_usage_daily"] {
                let sum = text(&analytics, &format!("SELECT toString(sum({column})) FROM {view}")).await;
                assert_eq!(sum, raw, "{column} in {view}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_superseded_event_is_known_under_both_revisions() {
    with_database(async |analytics| {
        let first = usage(&mut Random(3), 0, "acme", "2026-11-22T12:00:00Z");
        let mut second = first.clone();
        let mut fields = UsageEvent::clone(&second.usage.event).into_fields();
        fields.revision = 2;
        second.usage.event = UsageEvent::new(fields).unwrap().into();
        second.usage.billing_digest = second.usage.event.billing_digest();
        (second.offset, second.made_by, second.charge_revision) = (1, MadeBy::Superseding, 2);
        let back =
            UsageAt { offset: 1, made_by: MadeBy::Superseding, counts: Counts::TakenBack, ..first.clone() };
        let rows = RangeRows { usage: vec![first.clone(), back, second.clone()], ..RangeRows::default() };
        analytics.insert_range(&range(3, 0, 2), &rows).await.unwrap();
        let loaded = analytics.load(3, 2, &needed([first.usage.event.event_id])).await.unwrap();
        let mut known: Vec<_> = loaded.events.iter().map(|of| (of.revision, of.billing_digest)).collect();
        known.sort();
        assert_eq!(known, [(1, first.usage.billing_digest), (2, second.usage.billing_digest)]);
        assert_eq!(analytics.sums_by_org().await.unwrap()[0].events, 1);
    })
    .await;
}
