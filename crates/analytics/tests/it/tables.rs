//! Tables and views: set up again and again, and commented throughout.

use fluxori_analytics::RangeRows;
use fluxori_core::id::EventId;
use fluxori_core::rates::AppliedTerms;
use fluxori_core::usage::{UsageEvent, UsageFields};

use crate::common::{Random, number, query, range, text, usage, with_database};

#[tokio::test]
async fn setting_up_twice_changes_nothing_and_every_table_and_column_has_a_comment() {
    with_database(async |analytics| {
        let database = analytics.database().to_owned();
        analytics.migrate().await.unwrap();
        let (a, b) = tokio::join!(analytics.migrate(), analytics.migrate());
        a.and(b).unwrap();
        assert_eq!(number(&analytics, "SELECT toInt64(uniq(version)) FROM schema_migrations").await, 5);
        let bare = format!(
            "SELECT toInt64(count()) FROM system.tables WHERE database = '{database}' AND comment = ''"
        );
        assert_eq!(number(&analytics, &bare).await, 0);
        // The columns of materialized views are those of the tables that they fill.
        let bare = format!(
            "SELECT toInt64(count()) FROM system.columns WHERE database = '{database}' AND comment = '' \
             AND table NOT LIKE 'mv_%'"
        );
        assert_eq!(number(&analytics, &bare).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_changed_or_newer_migration_is_refused_with_the_remedy() {
    with_database(async |analytics| {
        let database = analytics.database().to_owned();
        let add = |version: u32| {
            format!("INSERT INTO {database}.schema_migrations (version, name, digest) SETTINGS async_insert = 0 VALUES ({version}, 'x', '{}')", "0".repeat(64))
        };
        query(&analytics, &add(99)).await;
        let text = analytics.migrate().await.unwrap_err().to_string();
        assert!(text.contains("upgrade"), "{text}");
        query(&analytics, &format!("TRUNCATE TABLE {database}.schema_migrations")).await;
        query(&analytics, &add(2)).await;
        let text = analytics.migrate().await.unwrap_err().to_string();
        assert!(text.contains("migration 2") && text.contains("another database"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn every_field_of_an_event_is_in_its_row() {
    with_database(async |analytics| {
        let mut at = usage(&mut Random(1), 41, "acme", "2026-11-22T12:00:00Z");
        at.usage.event = UsageEvent::new(full(at.usage.event.event_id)).unwrap().into();
        let terms = r#"{"credits_per_usd":"100","markup":"1.5","minimum":"0","rounding":{"rule":"up","places":2}}"#;
        at.usage.charge.terms = serde_json::from_str::<AppliedTerms>(terms).unwrap().into();
        at.usage.charge.cost = "0.000000000001".parse().unwrap();
        at.usage.charge.credits = "9999999999999999.999999999999".parse().unwrap();
        at.append_time = "2026-11-22T12:00:01.25Z".parse().unwrap();
        let rows = RangeRows { usage: vec![at.clone()], ..RangeRows::default() };
        analytics.insert_range(&range(5, 41, 42), &rows).await.unwrap();
        let sql = "SELECT toJSONString(map(\
            'id', toString(event_id), 'producer', concat(producer_id, '-', toString(producer_seq), '-', source), \
            'time', concat(toString(occurred_at), ' ', toString(appended_at)), \
            'who', concat(org_id, user_id, team_id, module, feature, run_id), \
            'what', concat(operation, provider, provider_account, model, request_model, response_model, region, \
                service_tier, toString(batch)), \
            'input', toString([input_tokens, cache_read_input_tokens, cache_write_5m_input_tokens, \
                cache_write_1h_input_tokens, audio_input_tokens, image_input_tokens, cache_read_audio_input_tokens, \
                cache_read_image_input_tokens]), \
            'output', toString([output_tokens, reasoning_output_tokens, audio_output_tokens, image_output_tokens]), \
            'units', toString(units), 'how', concat(measurement, certainty, toString(own_key), \
                toString(served_from_cache), outcome, toString(revision), toString(attempt)), \
            'latency', toString([latency_ms, time_to_first_token_ms]), \
            'reservation', concat(toString(reservation_id), toString(reservation_final)), \
            'ids', concat(request_id, response_id, trace_id), 'tags', toString(tags), 'raw', raw_usage, \
            'charge', concat(charge_status, ' ', toString(cost_usd), ' ', toString(credits), ' ', \
                toString(row_sign), ' ', toString(charge_revision), ' ', made_by, ' ', terms), \
            'digest', hex(billing_digest), 'log', concat(toString(log_partition), '-', toString(log_offset)))) \
            FROM credit_usage_log";
        let row: serde_json::Value = serde_json::from_str(&text(&analytics, sql).await).unwrap();
        let digest = at.usage.billing_digest.to_string().to_uppercase();
        let expected = serde_json::json!({
            "id": at.usage.event.event_id.to_string(),
            "producer": "p1-9-src", "time": "2026-11-22 12:00:00.000001 2026-11-22 12:00:01.250000",
            "who": "acme[user][team][module][feature][run]",
            "what": "[op][prov][acct][resp][req][resp][reg][tier]true",
            "input": "[100,7,2,3,4,5,1,2]", "output": "[50,6,7,8]", "units": "{'images':2,'pages':0.5}",
            "how": "estimatedat_leasttruetruecancelled13", "latency": "[1200,300]",
            "reservation": "00000000-0000-0000-0000-00000000002atrue", "ids": "[request][response][trace]",
            "tags": "{'a':'b','c':'d'}", "raw": "{}",
            "charge": format!("{} 0.000000000001 9999999999999999.999999999999 1 1 usage {terms}", at.usage.charge.status),
            "digest": digest, "log": "5-41",
        });
        assert_eq!(row, expected);
    })
    .await;
}

pub(crate) fn full(event_id: EventId) -> UsageFields {
    let event = r#"{
        "event_id": "00000000-0000-0000-0000-000000000000", "producer_id": "p1", "producer_seq": 9, "source": "src",
        "occurred_at": "2026-11-22T12:00:00.000001Z", "org_id": "acme", "user_id": "[user]", "team_id": "[team]",
        "module": "[module]", "feature": "[feature]", "run_id": "[run]", "operation": "[op]", "provider": "[prov]",
        "provider_account": "[acct]", "request_model": "[req]", "response_model": "[resp]", "region": "[reg]",
        "service_tier": "[tier]", "batch": true, "input_tokens": 100, "cache_read_input_tokens": 7,
        "cache_write_5m_input_tokens": 2, "cache_write_1h_input_tokens": 3, "audio_input_tokens": 4,
        "image_input_tokens": 5, "cache_read_audio_input_tokens": 1, "cache_read_image_input_tokens": 2,
        "output_tokens": 50, "reasoning_output_tokens": 6, "audio_output_tokens": 7,
        "image_output_tokens": 8, "units": {"images": "2", "pages": "0.5"}, "measurement": "estimated",
        "certainty": "at_least", "own_key": true, "served_from_cache": true, "latency_ms": 1200,
        "time_to_first_token_ms": 300, "attempt": 3, "outcome": "cancelled",
        "reservation_id": "00000000-0000-0000-0000-00000000002a", "reservation_final": true,
        "request_id": "[request]", "response_id": "[response]", "trace_id": "[trace]",
        "tags": {"a": "b", "c": "d"}, "raw_usage": "{}"
    }"#;
    UsageFields { event_id, ..serde_json::from_str(event).unwrap() }
}
