//! Which schema is the ledger, and whether it is as this build needs it.

use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;

use crate::error::LedgerError;
use crate::{Ledger, migrate};

/// The schema of the epochs, which outlive every ledger.
pub(crate) const CONTROL: &str = "control";

/// The name of a schema that holds a ledger: `ledger`, or another one beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(String);

impl Default for Schema {
    fn default() -> Self {
        Self("ledger".to_owned())
    }
}

impl Schema {
    /// A name of 1 to 63 lower-case letters, digits and underscores, not beginning with a digit.
    ///
    /// # Errors
    /// It is another one, or one that is taken for something else.
    pub fn new(name: &str) -> Result<Self, LedgerError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let reserved = matches!(name, CONTROL | "public" | "information_schema") || name.starts_with("pg_");
        if !(1..=63).contains(&name.len())
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(legal)
            || reserved
        {
            return Err(LedgerError::SchemaName { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name, which needs no quotes in SQL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ledger {
    /// Checks that the schemas hold exactly the migrations of this build, and that this role may read them.
    ///
    /// # Errors
    /// `SchemaBehind` until `credits ledger migrate` has run, `NotAMember` until the role may work here;
    /// `SchemaAhead` and `SchemaAltered` where only another build helps. `Database` if Postgres failed.
    pub async fn check_schema(&self) -> Result<(), LedgerError> {
        self.check_migrations(CONTROL, &migrate::CONTROL).await?;
        self.check_migrations(self.schema.as_str(), &migrate::LEDGER).await
    }

    /// As [`Ledger::check_schema`], for those who only read the ledger.
    ///
    /// # Errors
    /// As [`Ledger::check_schema`].
    pub async fn check_tables(&self) -> Result<(), LedgerError> {
        self.check_migrations(self.schema.as_str(), &migrate::LEDGER).await
    }

    async fn check_migrations(&self, schema: &str, wanted: &Migrator) -> Result<(), LedgerError> {
        let behind = || LedgerError::SchemaBehind { schema: schema.to_owned() };
        let found: Option<(bool, bool, String)> = sqlx::query_as(
            "SELECT has_schema_privilege(n.oid, 'USAGE'), EXISTS (
                 SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = '_sqlx_migrations'
             ), current_user::text
             FROM pg_namespace n WHERE n.nspname = $1",
        )
        .bind(schema)
        .fetch_optional(&self.pool)
        .await?;
        let (is_permitted, has_migrations, user) = found.ok_or_else(behind)?;
        if !is_permitted {
            return Err(LedgerError::NotAMember { user, schema: schema.to_owned() });
        }
        if !has_migrations {
            return Err(behind());
        }
        let query = format!("SELECT version, checksum FROM {schema}._sqlx_migrations ORDER BY version");
        let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(&self.pool).await?;
        for (version, checksum) in &applied {
            let Some(known) = wanted.iter().find(|migration| migration.version == *version) else {
                return Err(LedgerError::SchemaAhead { schema: schema.to_owned(), version: *version });
            };
            if *known.checksum != **checksum {
                return Err(LedgerError::SchemaAltered { schema: schema.to_owned(), version: *version });
            }
        }
        let is_applied = |version| applied.iter().any(|(known, _)| *known == version);
        if wanted.iter().all(|migration| is_applied(migration.version)) { Ok(()) } else { Err(behind()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_named_so_that_it_needs_no_quotes() {
        for name in ["ledger", "ledger_2026_11", "_a"] {
            assert_eq!(Schema::new(name).unwrap().as_str(), name);
        }
        for name in
            ["", "Ledger", "2nd", "a b", "a;drop", "a\"b", "control", "public", "pg_ledger", &"a".repeat(64)]
        {
            assert!(Schema::new(name).is_err(), "{name}");
        }
    }
}
