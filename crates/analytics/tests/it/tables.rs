//! Tables and views: set up again and again, and commented throughout.

use crate::common::{number, query, with_database};

#[tokio::test]
async fn setting_up_twice_changes_nothing_and_every_table_and_column_has_a_comment() {
    with_database(async |analytics| {
        let database = analytics.database().to_owned();
        analytics.migrate().await.unwrap();
        let (a, b) = tokio::join!(analytics.migrate(), analytics.migrate());
        a.and(b).unwrap();
        assert_eq!(number(&analytics, "SELECT toInt64(uniq(version)) FROM schema_migrations").await, 4);
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
