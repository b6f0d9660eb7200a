//! One range counts once, whoever inserts it and however often.

use crate::common::{Random, credits, number, query, range, usage, with_database};
use fluxori_analytics::{Analytics, RangeRows, UsageAt};

/// Usage of two months, alternating.
fn two_months(random: &mut Random, count: i64) -> Vec<UsageAt> {
    let month =
        |offset: i64| ["2026-10-31T12:00:00Z", "2026-11-22T12:00:00Z"][usize::try_from(offset % 2).unwrap()];
    (0..count).map(|offset| usage(random, offset, "acme", month(offset))).collect()
}

async fn counts_once(analytics: &Analytics, usage: &[UsageAt]) {
    let sums = analytics.sums_by_org().await.unwrap();
    assert_eq!(sums.len(), 1);
    assert_eq!(sums[0].events, i64::try_from(usage.len()).unwrap());
    assert_eq!(sums[0].credits_raw, credits(usage));
    assert!(sums[0].agree(), "{:?}", sums[0]);
    let ids = number(analytics, "SELECT toInt64(count()) FROM admitted_events").await;
    assert_eq!(ids, sums[0].events);
}

#[tokio::test]
async fn the_same_range_inserted_again_counts_once_in_the_log_and_both_rollups() {
    with_database(async |analytics| {
        let rows = RangeRows { usage: two_months(&mut Random(1), 1_000), ..RangeRows::default() };
        for _ in 0..3 {
            let inserted = analytics.insert_range(&range(3, 0, 1_000), &rows).await.unwrap();
            assert_eq!(inserted.usage, 1_000);
        }
        counts_once(&analytics, &rows.usage).await;
    })
    .await;
}

#[tokio::test]
async fn the_same_range_inserted_by_several_at_once_counts_once() {
    with_database(async |analytics| {
        let rows = RangeRows { usage: two_months(&mut Random(2), 5_000), ..RangeRows::default() };
        let range = range(3, 0, 5_000);
        let (a, b, c) = tokio::join!(
            analytics.insert_range(&range, &rows),
            analytics.insert_range(&range, &rows),
            analytics.insert_range(&range, &rows),
        );
        // Who came second may have been refused; it tries again.
        for outcome in [a, b, c] {
            if outcome.is_err() {
                analytics.insert_range(&range, &rows).await.unwrap();
            }
        }
        counts_once(&analytics, &rows.usage).await;
    })
    .await;
}

/// An insert writes its parts one after the other: by month, then view by view. Dropping a part together with the note
/// of its token is what a server leaves behind that died before it was written.
#[tokio::test]
async fn a_retry_after_only_some_months_and_tables_were_written_completes_the_rest() {
    with_database(async |analytics| {
        let database = analytics.database().to_owned();
        let rows = RangeRows { usage: two_months(&mut Random(3), 1_000), ..RangeRows::default() };
        let range = range(3, 0, 1_000);
        analytics.insert_range(&range, &rows).await.unwrap();
        let not_written = [
            "credit_usage_log DROP PARTITION 202611",
            "credit_usage_hourly DROP PARTITION 202611",
            "credit_usage_daily DROP PARTITION 202610",
            "credit_usage_daily DROP PARTITION 202611",
            "admitted_events DROP PARTITION tuple()",
        ];
        for chosen in 1..1 << not_written.len() {
            for (index, drop) in not_written.iter().enumerate() {
                if chosen & 1 << index != 0 {
                    query(&analytics, &format!("ALTER TABLE {database}.{drop}")).await;
                }
            }
            analytics.insert_range(&range, &rows).await.unwrap();
            counts_once(&analytics, &rows.usage).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_retry_after_a_view_failed_completes_every_table() {
    with_database(async |analytics| {
        let database = analytics.database().to_owned();
        let rows = RangeRows { usage: two_months(&mut Random(4), 1_000), ..RangeRows::default() };
        let range = range(3, 0, 1_000);
        // A view that fails for the later month, whenever its turn comes.
        query(&analytics, &format!("CREATE TABLE {database}.sink (x UInt8) ENGINE = Null")).await;
        let fails = "throwIf(toMonth(occurred_at) = 11, 'on purpose')";
        query(
            &analytics,
            &format!(
                "CREATE MATERIALIZED VIEW {database}.mv_fails TO {database}.sink AS SELECT {fails} AS x \
                 FROM {database}.credit_usage_log"
            ),
        )
        .await;
        let error = analytics.insert_range(&range, &rows).await.unwrap_err();
        assert!(error.to_string().contains("on purpose") && error.is_transient(), "{error}");
        let tables = ["credit_usage_log", "admitted_events", "credit_usage_hourly", "credit_usage_daily"];
        for table in tables {
            let left = number(&analytics, &format!("SELECT toInt64(count()) FROM {table}")).await;
            println!("left behind in {table}: {left} rows");
        }
        query(&analytics, &format!("DROP VIEW {database}.mv_fails")).await;
        analytics.insert_range(&range, &rows).await.unwrap();
        counts_once(&analytics, &rows.usage).await;
    })
    .await;
}

#[tokio::test]
async fn different_ranges_with_equal_rows_are_different_inserts() {
    with_database(async |analytics| {
        let rows = RangeRows { usage: two_months(&mut Random(5), 10), ..RangeRows::default() };
        analytics.insert_range(&range(3, 0, 10), &rows).await.unwrap();
        analytics.insert_range(&range(3, 10, 20), &rows).await.unwrap();
        assert_eq!(analytics.sums_by_org().await.unwrap()[0].events, 20);
    })
    .await;
}

#[tokio::test]
async fn rollups_equal_the_raw_log_for_random_rows() {
    with_database(async |analytics| {
        let mut random = Random(6);
        let mut all = Vec::new();
        for batch in 0..20 {
            let start = batch * 500;
            let days = ["2026-09-30", "2026-10-31", "2026-11-01", "2026-11-22"];
            let rows: Vec<UsageAt> = (start..start + 500)
                .map(|offset| {
                    let org = format!("org-{}", random.below(7));
                    let day = days[usize::try_from(random.below(4)).unwrap()];
                    let occurred_at = format!("{day}T{:02}:59:30Z", random.below(24));
                    usage(&mut random, offset, &org, &occurred_at)
                })
                .collect();
            all.extend(rows.clone());
            let rows = RangeRows { usage: rows, ..RangeRows::default() };
            analytics.insert_range(&range(0, start, start + 500), &rows).await.unwrap();
        }
        let sums = analytics.sums_by_org().await.unwrap();
        assert_eq!(sums.len(), 7);
        for org in &sums {
            let of_org: Vec<_> = all.iter().filter(|at| at.usage.event.org_id == org.org).cloned().collect();
            assert_eq!(org.credits_raw, credits(&of_org));
            assert!(org.agree(), "{org:?}");
        }
        // The other sums, the keys of the rollups and the views, in one look each.
        for (view, bucket) in [("v_usage_hourly", "toStartOfHour(occurred_at)"), ("v_usage_daily", "toDate(occurred_at)")] {
            let bucket_name = if view == "v_usage_hourly" { "hour" } else { "day" };
            let columns = "org_id, user_id, team_id, module, feature, provider, model";
            let differences = format!(
                "SELECT toInt64(count()) FROM (SELECT {bucket_name} AS b, {columns}, events, unpriced_events, input_tokens, \
                 cache_read_input_tokens, output_tokens, cost_usd, credits FROM {view} EXCEPT SELECT {bucket} AS b, \
                 {columns}, toInt64(count()), toInt64(countIf(charge_status = 'partial')), sum(input_tokens), \
                 sum(cache_read_input_tokens), sum(output_tokens), sum(cost_usd), sum(credits) FROM credit_usage_log \
                 GROUP BY b, {columns})"
            );
            assert_eq!(number(&analytics, &differences).await, 0, "{view}");
        }
        for view in ["v_usage_by_model", "v_org_spend"] {
            let sql = format!("SELECT toInt64(sum(events)) FROM {view}");
            assert_eq!(number(&analytics, &sql).await, 10_000, "{view}");
        }
        let p50 = "SELECT toInt64(count()) FROM v_usage_by_model WHERE latency_p50_ms BETWEEN 1000 AND 2000";
        assert!(number(&analytics, p50).await > 0);
    })
    .await;
}
