//! What admission loads from the tables: only what came before.

use crate::common::{Random, needed, range, usage, with_database};
use fluxori_analytics::{KeptKind, KeptRecord, Needed, RangeRows};
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId};
use fluxori_core::time::Timestamp;
use uuid::Uuid;

#[tokio::test]
async fn ids_at_or_after_the_start_and_of_other_partitions_are_not_seen() {
    with_database(async |analytics| {
        let mut random = Random(1);
        let rows: Vec<_> =
            (0..100).map(|offset| usage(&mut random, offset, "acme", "2026-11-22T12:00:00Z")).collect();
        let ids: Vec<EventId> = rows.iter().map(|at| at.usage.event.event_id).collect();
        let rows = RangeRows { usage: rows, ..RangeRows::default() };
        analytics.insert_range(&range(3, 0, 100), &rows).await.unwrap();
        let mut known = analytics.load(3, 40, &needed(ids.clone())).await.unwrap().events;
        known.sort_by_key(|event| event.event);
        let mut expected: Vec<_> = rows.usage[..40].iter().map(|at| &at.usage).collect();
        expected.sort_by_key(|usage| usage.event.event_id);
        assert_eq!(known.len(), 40);
        for (known, usage) in known.iter().zip(expected) {
            assert_eq!((known.event, &known.org), (usage.event.event_id, &usage.event.org_id));
            assert_eq!(known.billing_digest, usage.billing_digest);
        }
        for (partition, ids) in [(2, ids), (3, vec![EventId(Uuid::max())]), (3, vec![])] {
            let loaded = analytics.load(partition, 100, &needed(ids)).await.unwrap();
            assert!(loaded.events.is_empty() && loaded.usage.is_empty(), "{loaded:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn many_ids_are_looked_up_at_once() {
    with_database(async |analytics| {
        let ids = (0..120_000_u128).map(|number| EventId(Uuid::from_u128(number << 70 | number)));
        let events = Needed { events: ids.collect(), ..Needed::default() };
        assert!(analytics.load(0, 1, &events).await.unwrap().events.is_empty());
    })
    .await;
}

fn record(offset: i64, kind: KeptKind, key: &str) -> KeptRecord {
    KeptRecord {
        offset,
        append_time: Timestamp::from_millis(1_000 + offset),
        kind,
        key: key.as_bytes().to_vec(),
        value: vec![0xC3, 0x01, 0xFF, 0x00, u8::try_from(offset).unwrap()],
        event: None,
        command: None,
    }
}

#[tokio::test]
async fn records_come_back_byte_by_byte_without_those_that_an_opening_made_needless() {
    with_database(async |analytics| {
        assert_eq!(analytics.last_offset(3).await.unwrap(), None);
        let all = [
            record(0, KeptKind::Global, "$global"),
            record(1, KeptKind::Waiting, "acme"),
            record(2, KeptKind::Waiting, "globex"),
            record(3, KeptKind::Command, "acme"),
            record(4, KeptKind::Opening, "acme"),
            record(5, KeptKind::Global, "$global"),
        ];
        for (start, end) in [(0, 2), (2, 6), (2, 6)] {
            let kept = all[start..end].to_vec();
            let range = range(3, i64::try_from(start).unwrap(), i64::try_from(end).unwrap());
            analytics.insert_range(&range, &RangeRows { kept, ..RangeRows::default() }).await.unwrap();
        }
        let offsets = |kept: &[KeptRecord]| kept.iter().map(|record| record.offset).collect::<Vec<_>>();
        let before_the_opening = analytics.kept_records(3, 4).await.unwrap();
        assert_eq!(before_the_opening, all[..3]);
        assert_eq!(offsets(&analytics.kept_records(3, 6).await.unwrap()), [0, 2, 4, 5]);
        assert!(analytics.kept_records(2, 6).await.unwrap().is_empty());
        assert_eq!(analytics.last_offset(3).await.unwrap(), Some(5));
    })
    .await;
}

#[tokio::test]
async fn a_correction_is_restored_until_its_event_has_come() {
    with_database(async |analytics| {
        let [mine, other] = [1, 2].map(|seed| usage(&mut Random(seed), 20, "acme", "2026-11-22T12:00:00Z"));
        let event = mine.usage.event.event_id;
        let waiting = KeptRecord { event: Some(event), ..record(7, KeptKind::WaitingCorrection, "acme") };
        // Another org's correction of the same id goes on waiting.
        let of_another =
            KeptRecord { event: Some(event), ..record(8, KeptKind::WaitingCorrection, "globex") };
        let kept = vec![waiting, of_another];
        analytics
            .insert_range(&range(3, 0, 9), &RangeRows { kept: kept.clone(), ..RangeRows::default() })
            .await
            .unwrap();
        let rows = RangeRows { usage: vec![mine, other], ..RangeRows::default() };
        analytics.insert_range(&range(3, 9, 21), &rows).await.unwrap();
        assert_eq!(analytics.kept_records(3, 20).await.unwrap(), kept);
        assert_eq!(analytics.kept_records(3, 21).await.unwrap(), kept[1..]);
        assert!(analytics.kept_records(3, 7).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn commands_and_usage_in_the_quarantine_are_looked_up_by_their_ids() {
    with_database(async |analytics| {
        let command = |id: u128| (CommandId(Uuid::from_u128(id)), Digest::of(&id.to_be_bytes()));
        let event = EventId(Uuid::from_u128(9 << 100 | 9));
        let quarantined =
            |offset: i64| KeptRecord { event: Some(event), ..record(offset, KeptKind::Quarantined, "acme") };
        let given = |offset: i64, kind: KeptKind| KeptRecord {
            command: Some(command(u128::try_from(offset).unwrap())),
            ..record(offset, kind, "acme")
        };
        let kept = vec![
            KeptRecord { event: Some(event), ..record(0, KeptKind::Waiting, "acme") },
            given(1, KeptKind::Opening),
            given(2, KeptKind::Command),
            given(3, KeptKind::WaitingCorrection),
            quarantined(4),
            quarantined(5),
        ];
        analytics
            .insert_range(&range(3, 0, 6), &RangeRows { kept: kept.clone(), ..RangeRows::default() })
            .await
            .unwrap();
        let commands = [1, 2, 3, 4].map(|id| command(id).0).into();
        let needed = Needed { commands, ..needed([event]) };
        let loaded = analytics.load(3, 5, &needed).await.unwrap();
        // What waited for acme and is there still could not be priced when it was opened.
        assert_eq!(loaded.quarantined, [kept[0].clone(), kept[4].clone()]);
        assert!(analytics.load(3, 1, &needed).await.unwrap().quarantined.is_empty());
        let mut found: Vec<_> = loaded.commands.iter().map(|of| (of.command, of.payload_digest)).collect();
        found.sort();
        assert_eq!(found, [1, 2, 3].map(command));
        assert!(loaded.commands.iter().all(|command| command.org.as_str() == "acme"));
        assert_eq!(analytics.load(3, 2, &needed).await.unwrap().commands.len(), 1);
        assert!(analytics.load(2, 9, &needed).await.unwrap().quarantined.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_named_with_the_question_to_ask() {
    let options = fluxori_analytics::AnalyticsOptions {
        url: "http://127.0.0.1:9".into(),
        database: "x".into(),
        user: None,
        password: None,
    };
    let error = fluxori_analytics::Analytics::new(&options).unwrap().ping().await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_transient() && text.contains("127.0.0.1:9") && text.contains("is it up"), "{text}");
}
