//! Who may do what, with roles that really log in.

use anyhow::{Context, Result};
use fluxori_ledger::{LEDGER_ROLE, Ledger, LedgerError, PostingRow, READER_ROLE, Schema};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool};
use uuid::Uuid;

use crate::support::{database, org_row, posting, write};

/// The address of `url` for a new login role that is a member of `group`, or of none.
async fn member(url: &str, group: Option<&str>) -> Result<String> {
    let options: PgConnectOptions = url.parse()?;
    let name = format!("member_{}", Uuid::now_v7().simple());
    let membership = group.map_or_else(String::new, |group| format!("IN ROLE {group}"));
    let create = format!("CREATE ROLE {name} LOGIN PASSWORD 'member' {membership}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut options.connect().await?).await?;
    let (before, place) = url.split_once('@').context("DATABASE_URL names no user")?;
    let (scheme, _) = before.split_once("://").context("DATABASE_URL has no scheme")?;
    Ok(format!("{scheme}://{name}:member@{place}"))
}

/// A pool whose names without a schema are the ledger's.
async fn pool(url: &str) -> Result<PgPool> {
    let options = url.parse::<PgConnectOptions>()?.options([("search_path", "ledger")]);
    Ok(PgPoolOptions::new().connect_with(options).await?)
}

/// All tables of a schema.
async fn tables(pool: &PgPool, schema: &str) -> Result<Vec<String>> {
    let query = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1";
    Ok(sqlx::query_scalar(query).bind(schema).fetch_all(pool).await?)
}

/// Fails unless a statement is refused for want of a privilege, whatever it would do.
async fn assert_refused(pool: &PgPool, statement: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await;
    let code = done.as_ref().err().and_then(|error| error.as_database_error()?.code());
    assert_eq!(code.as_deref(), Some("42501"), "{statement}: {done:?}");
}

async fn assert_no_ddl(pool: &PgPool, tables: &[String]) {
    for table in tables {
        for statement in [
            format!("TRUNCATE {table}"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {table} ADD COLUMN x int"),
            format!("CREATE INDEX ON {table} ((1))"),
        ] {
            assert_refused(pool, &statement).await;
        }
    }
    for statement in [
        "CREATE TABLE ledger.x ()",
        "CREATE TABLE control.x ()",
        "CREATE SCHEMA x",
        "DROP SCHEMA ledger CASCADE",
        "ALTER SCHEMA ledger RENAME TO x",
    ] {
        assert_refused(pool, statement).await;
    }
}

#[tokio::test]
async fn only_the_ledger_consumers_role_writes_the_ledger() -> Result<()> {
    let url = database()?;
    let owner = Ledger::prepare(&url, 1).await?;
    let all = tables(&PgPool::connect(&url).await?, "ledger").await?;
    assert!(all.len() > 8, "{all:?}");

    let consumer = member(&url, Some(LEDGER_ROLE)).await?;
    let ledger = Ledger::connect(&consumer, 2).await?;
    ledger.check_schema().await?;
    let mut batch = write(ledger.take_over(3, "test").await?.epoch, 0, 10);
    batch.orgs.push(org_row());
    batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
    ledger.commit(&batch).await?;
    let writer = pool(&consumer).await?;
    assert_no_ddl(&writer, &all).await;
    for table in all.iter().filter(|table| *table != "_sqlx_migrations") {
        let touch =
            format!("BEGIN; DELETE FROM {table} WHERE false; SELECT 1 FROM {table} LIMIT 1; ROLLBACK");
        sqlx::raw_sql(AssertSqlSafe(touch)).execute(&writer).await.context(table.clone())?;
    }
    for forbidden in [
        "DELETE FROM _sqlx_migrations",
        "DELETE FROM control.partition_epochs",
        "DELETE FROM control._sqlx_migrations",
    ] {
        assert_refused(&writer, forbidden).await;
    }

    let reader = member(&url, Some(READER_ROLE)).await?;
    let ledger = Ledger::connect(&reader, 2).await?;
    assert_eq!(ledger.cursors().await?, owner.cursors().await?);
    assert_eq!(ledger.sums().await?.len(), 1);
    let pool = pool(&reader).await?;
    assert_no_ddl(&pool, &all).await;
    for table in &all {
        let (column,): (String,) = sqlx::query_as(
            "SELECT column_name::text FROM information_schema.columns
             WHERE table_schema = 'ledger' AND table_name = $1 AND ordinal_position = 1",
        )
        .bind(table)
        .fetch_one(&pool)
        .await?;
        for statement in [
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("INSERT INTO {table} SELECT * FROM {table} WHERE false"),
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("SELECT * FROM {table} FOR UPDATE"),
        ] {
            assert_refused(&pool, &statement).await;
        }
    }
    let refused = ledger.take_over(3, "reader").await;
    assert!(refused.is_err(), "{refused:?}");
    let refused = ledger.check_schema().await;
    assert!(
        matches!(&refused, Err(LedgerError::NotAMember { schema, .. }) if schema == "control"),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_role_of_no_group_is_told_which_one_it_needs() -> Result<()> {
    let url = database()?;
    Ledger::prepare(&url, 1).await?;
    let stranger = Ledger::connect(&member(&url, None).await?, 1).await?;
    assert!(stranger.cursors().await.is_err_and(|error| error.is_missing_schema()));
    let text = stranger.check_schema().await.err().context("a stranger passed")?.to_string();
    assert!(text.contains("GRANT fluxori_ledger TO member_"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_owner_need_not_be_a_superuser() -> Result<()> {
    let url = database()?;
    let (server, name) = url.rsplit_once('/').context("no database")?;
    let owner = member(&format!("{server}/postgres"), None).await?;
    let (owner, _) = owner.rsplit_once('/').context("no database")?;
    let user = owner.split("://").nth(1).and_then(|rest| rest.split(':').next()).context("no user")?;
    let admin = PgPool::connect(&format!("{server}/postgres")).await?;
    let refused = Ledger::prepare(&format!("{owner}/{name}"), 1).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("permission denied to create database")));
    sqlx::raw_sql(AssertSqlSafe(format!("ALTER ROLE {user} CREATEDB"))).execute(&admin).await?;
    let migrated = Ledger::migrate(&format!("{owner}/{name}"), &Schema::default()).await?;
    assert!(migrated.is_new_database && migrated.applied > 0, "{migrated:?}");
    let again = Ledger::migrate(&format!("{owner}/{name}"), &Schema::default()).await?;
    assert_eq!((again.is_new_database, again.applied), (false, 0));
    Ledger::connect(&member(&url, Some(LEDGER_ROLE)).await?, 1).await?.check_schema().await?;
    Ok(())
}
