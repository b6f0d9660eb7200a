//! The tables and views, from `migrations/*.sql` in the order of their numbers.
//!
//! Every statement can be repeated (`IF NOT EXISTS`), so a migration that was cut short, or that two services run at
//! once, is completed by the next run. An applied file never changes; later ones expand, then contract.

use clickhouse::Row;
use fluxori_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::{Analytics, AnalyticsError};

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 5] = [
    Migration { version: 1, name: "usage_log", sql: include_str!("../migrations/0001_usage_log.sql") },
    Migration {
        version: 2,
        name: "admission_records",
        sql: include_str!("../migrations/0002_admission_records.sql"),
    },
    Migration { version: 3, name: "rollups", sql: include_str!("../migrations/0003_rollups.sql") },
    Migration { version: 4, name: "views", sql: include_str!("../migrations/0004_views.sql") },
    Migration { version: 5, name: "producers", sql: include_str!("../migrations/0005_producers.sql") },
];

const SCHEMA_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32 COMMENT 'Number of the migration',
    name String COMMENT 'Its name',
    digest String COMMENT 'SHA-256 of its text, in hexadecimal',
    applied_at DateTime('UTC') DEFAULT now() COMMENT 'When it was applied'
)
ENGINE = ReplacingMergeTree
ORDER BY version
COMMENT 'Migrations that were applied to this database'";

#[derive(Row, Deserialize)]
struct AppliedRow {
    version: u32,
    name: String,
    digest: String,
}

#[derive(Row, Serialize)]
struct NewRow<'a> {
    version: u32,
    name: &'a str,
    digest: &'a str,
}

impl Analytics {
    /// Creates the database, its tables and views as far as they are missing.
    ///
    /// # Errors
    /// [`AnalyticsError::MigrationChanged`] or [`AnalyticsError::DatabaseTooNew`] if the database is another build's;
    /// [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn migrate(&self) -> Result<(), AnalyticsError> {
        let server = self.client.clone().with_database("default");
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", self.database);
        self.answer("create the database", server.query_raw(&create).execute()).await?;
        self.execute("create schema_migrations", SCHEMA_MIGRATIONS).await?;
        let applied = self.applied().await?;
        let newest = applied.iter().map(|row| row.version).max().unwrap_or_default();
        let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
        if newest > known {
            return Err(AnalyticsError::DatabaseTooNew {
                database: self.database.clone(),
                found: newest,
                known,
            });
        }
        for migration in &MIGRATIONS {
            let digest = Digest::of(migration.sql.as_bytes()).to_string();
            match applied.iter().find(|row| row.version == migration.version) {
                Some(row) if row.digest == digest => {}
                Some(row) => {
                    return Err(AnalyticsError::MigrationChanged {
                        version: row.version,
                        name: row.name.clone(),
                        database: self.database.clone(),
                    });
                }
                None => self.apply(migration, &digest).await?,
            }
        }
        Ok(())
    }

    /// Drops the database with all that is in it, if it is there: for tests and demonstrations.
    ///
    /// # Errors
    /// [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn drop_database(&self) -> Result<(), AnalyticsError> {
        let server = self.client.clone().with_database("default");
        let drop = format!("DROP DATABASE IF EXISTS {}", self.database);
        self.answer("drop the database", server.query_raw(&drop).execute()).await
    }

    async fn applied(&self) -> Result<Vec<AppliedRow>, AnalyticsError> {
        let query = self.client.query(
            "SELECT version, any(name) AS name, any(digest) AS digest FROM schema_migrations \
             GROUP BY version ORDER BY version",
        );
        self.answer("read the migrations", query.fetch_all()).await
    }

    async fn apply(&self, migration: &Migration, digest: &str) -> Result<(), AnalyticsError> {
        let action = format!("apply migration {} ({})", migration.version, migration.name);
        for statement in statements(migration.sql) {
            self.execute(&action, statement).await?;
        }
        let insert = async {
            let client = self.client.clone().with_setting("async_insert", "0");
            let mut insert = client.insert::<NewRow<'_>>("schema_migrations").await?;
            insert.write(&NewRow { version: migration.version, name: migration.name, digest }).await?;
            insert.end().await
        };
        self.answer(&action, insert).await?;
        tracing::info!(
            database = self.database,
            version = migration.version,
            "applied migration {}",
            migration.name
        );
        Ok(())
    }

    pub(crate) async fn execute(&self, action: &str, statement: &str) -> Result<(), AnalyticsError> {
        self.answer(action, self.client.query_raw(statement).execute()).await
    }
}

/// The statements of a file: each ends with a semicolon at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    let has_content =
        |text: &&str| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--"));
    sql.split(";\n").filter(has_content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_can_be_repeated() {
        for migration in &MIGRATIONS {
            assert!(statements(migration.sql).count() > 0);
            for statement in statements(migration.sql) {
                assert!(statement.contains("IF NOT EXISTS"), "{}: {statement}", migration.name);
            }
        }
    }

    #[test]
    fn versions_count_from_one() {
        let versions: Vec<u32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=u32::try_from(MIGRATIONS.len()).unwrap()).collect::<Vec<_>>());
    }
}
