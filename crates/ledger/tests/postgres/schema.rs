//! Schemas: which one is meant, and whether it is as it should be.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use fluxori_ledger::{Ledger, LedgerError, Schema};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{database, write};

/// What belongs to a partition or to everyone, and so to no org.
const OF_NO_ORG: [(&str, &str); 4] = [
    ("partition_cursors", "one row per partition of the log"),
    ("global_records", "genesis, keys and rates are in every partition, for all orgs in it"),
    ("credit_pricing_tiers", "prices are in force for everyone"),
    ("_sqlx_migrations", "what the owner has applied; no data of anyone"),
];

#[tokio::test]
async fn every_key_and_index_of_the_ledger_contains_org_id() -> Result<()> {
    let url = database()?;
    Ledger::prepare(&url, 1).await?;
    let pool = PgPool::connect(&url).await?;
    let indexes: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT t.relname::text, i.relname::text, EXISTS (
             SELECT FROM pg_attribute a
             WHERE a.attrelid = t.oid AND a.attname = 'org_id' AND a.attnum = ANY(x.indkey)
         )
         FROM pg_index x
         JOIN pg_class i ON i.oid = x.indexrelid
         JOIN pg_class t ON t.oid = x.indrelid
         WHERE t.relnamespace = 'ledger'::regnamespace
         ORDER BY 1, 2",
    )
    .fetch_all(&pool)
    .await?;
    assert!(indexes.iter().any(|(_, index, _)| index == "organizations_due"), "{indexes:?}");
    let excepted = |table: &str| OF_NO_ORG.iter().any(|(name, _)| *name == table);
    for (table, index, contains) in &indexes {
        assert!(*contains || excepted(table), "index {index} of {table} does not contain org_id");
        assert!(!*contains || !excepted(table), "{table} has an org_id and needs no exception");
    }
    // A table without a key would be found by no index at all.
    let tables: BTreeSet<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'ledger'")
            .fetch_all(&pool)
            .await?
            .into_iter()
            .collect();
    assert_eq!(tables, indexes.into_iter().map(|(table, ..)| table).collect());
    Ok(())
}

#[tokio::test]
async fn ledgers_lie_side_by_side_and_neither_fences_the_other() -> Result<()> {
    let url = database()?;
    let live = Ledger::prepare(&url, 2).await?;
    let schema = Schema::new("rebuilt")?;
    Ledger::migrate(&url, &schema).await?;
    let rebuilt = Ledger::connect_to(&url, &schema, 2).await?;
    rebuilt.check_schema().await?;
    let epoch = live.take_over(3, "live").await?.epoch;
    live.commit(&write(epoch, 0, 10)).await?;
    assert_eq!((live.cursors().await?.len(), rebuilt.cursors().await?.len()), (1, 0));
    let taken = rebuilt.take_over(3, "rebuild").await?;
    assert!(taken.cursor.is_none());
    live.commit(&write(epoch, 10, 20)).await?;
    rebuilt.take_over(3, "another rebuild").await?;
    let fenced = rebuilt.commit(&write(taken.epoch, 0, 10)).await;
    assert!(matches!(fenced, Err(LedgerError::Fenced { partition: 3, .. })), "{fenced:?}");
    Ok(())
}

#[tokio::test]
async fn statements_that_are_prepared_follow_a_schema_that_is_renamed() -> Result<()> {
    let url = database()?;
    // One connection: the statements of the second commit are those that the first has prepared.
    let live = Ledger::prepare(&url, 1).await?;
    let schema = Schema::new("rebuilt")?;
    Ledger::migrate(&url, &schema).await?;
    let rebuilt = Ledger::connect_to(&url, &schema, 1).await?;
    let epoch = live.take_over(3, "live").await?.epoch;
    for offset in 0..10 {
        live.commit(&write(epoch, offset, offset + 1)).await?;
    }
    let its_epoch = rebuilt.take_over(3, "rebuild").await?.epoch;
    rebuilt.commit(&write(its_epoch, 0, 10)).await?;
    let swap = "BEGIN; ALTER SCHEMA ledger RENAME TO retired; ALTER SCHEMA rebuilt RENAME TO ledger; COMMIT";
    sqlx::raw_sql(swap).execute(&PgPool::connect(&url).await?).await?;
    live.commit(&write(epoch, 10, 25)).await?;
    let retired = Ledger::connect_to(&url, &Schema::new("retired")?, 1).await?;
    let offset =
        |cursors: Vec<fluxori_ledger::PartitionCursor>| cursors.first().map(|c| c.cursor.next_offset);
    assert_eq!(offset(retired.cursors().await?), Some(10));
    assert_eq!(offset(live.cursors().await?), Some(25));
    Ok(())
}

#[tokio::test]
async fn a_schema_that_is_missing_behind_ahead_or_altered_is_named_with_the_remedy() -> Result<()> {
    let url = database()?;
    let missing = Ledger::connect(&url, 1).await.err().context("there is a database")?;
    assert!(matches!(missing, LedgerError::NoDatabase(_)), "{missing:?}");
    assert!(missing.is_unavailable() && missing.to_string().contains("credits ledger migrate"), "{missing}");

    Ledger::prepare(&url, 1).await?.check_schema().await?;
    let pool = PgPool::connect(&url).await?;
    let says = async |change: &str, wanted: &str| -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(change.to_owned())).execute(&pool).await?;
        let found = Ledger::connect(&url, 1).await?.check_schema().await;
        let text = found.err().context(change.to_owned())?.to_string();
        assert!(text.contains(wanted), "{change}: {text}");
        Ok(())
    };
    let ahead = "INSERT INTO ledger._sqlx_migrations SELECT 9999, '', now(), true, '', 0";
    says(ahead, "migration 9999, which this build does not know: upgrade me").await?;
    let refused = Ledger::prepare(&url, 1).await;
    assert!(matches!(refused, Err(LedgerError::SchemaAhead { version: 9999, .. })), "{refused:?}");
    says("DELETE FROM ledger._sqlx_migrations", "run `credits ledger migrate`").await?;
    says("DROP SCHEMA ledger CASCADE", "schema ledger is not as this build needs it").await?;
    Ledger::prepare(&url, 1).await?.check_schema().await?;
    says(
        "UPDATE control._sqlx_migrations SET checksum = 'x'",
        "migration 1 of schema control is another one",
    )
    .await?;
    let refused = Ledger::prepare(&url, 1).await;
    assert!(matches!(refused, Err(LedgerError::SchemaAltered { version: 1, .. })), "{refused:?}");
    Ok(())
}
