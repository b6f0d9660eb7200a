//! Making the database, the schemas and the roles, and bringing them up to date: the owner's part, done by
//! `credits ledger migrate` and by nobody else.

use sqlx::migrate::{MigrateDatabase, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Postgres};

use crate::error::LedgerError;
use crate::schema::{CONTROL as CONTROL_SCHEMA, Schema};
use crate::{Ledger, roles};

/// Each set notes what it has applied in the first schema of the search path.
pub(crate) static CONTROL: Migrator = sqlx::migrate!("./migrations/control");
pub(crate) static LEDGER: Migrator = sqlx::migrate!("./migrations/ledger");

/// Held while schemas are made and migrated, so that several processes may do it at once: "fluxori" as a number.
const LOCK: i64 = 0x66_6c75_786f_7269;

/// What [`Ledger::migrate`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The database.
    pub database: String,
    /// Whether the database was made.
    pub is_new_database: bool,
    /// The group roles that were made.
    pub new_roles: Vec<&'static str>,
    /// How many migrations were applied.
    pub applied: usize,
}

impl Ledger {
    /// Makes the database if the server has none of that name, the group roles, and the schemas `control` and `schema`,
    /// and brings them up to date. Changes nothing where all is as it should be. Safe to call from several processes at
    /// once. `url` is the owner's: a role that may create what is missing.
    ///
    /// # Errors
    /// `MissingRoles` if the role may not create the group roles; `SchemaAhead` and `SchemaAltered` if another build
    /// was here; `Migrate` or `Database` if Postgres refused or failed.
    pub async fn migrate(url: &str, schema: &Schema) -> Result<Migrated, LedgerError> {
        let is_new_database = make_database(url).await?;
        let options: PgConnectOptions = url.parse()?;
        let mut owner = options.connect().await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut owner).await?;
        let new_roles = roles::make_groups(&mut owner).await?;
        let before = applied(&mut owner, schema.as_str()).await?;
        run(&mut owner, CONTROL_SCHEMA, &CONTROL).await?;
        roles::grant_control(&mut owner).await?;
        run(&mut owner, schema.as_str(), &LEDGER).await?;
        roles::grant_ledger(&mut owner, schema.as_str()).await?;
        let applied = applied(&mut owner, schema.as_str()).await?.saturating_sub(before);
        let database = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut owner).await?;
        // The lock ends with the connection.
        owner.close().await?;
        Ok(Migrated { database, is_new_database, new_roles, applied })
    }

    /// Migrates the default schema ([`Ledger::migrate`]) and connects to it as its owner.
    ///
    /// # Errors
    /// As [`Ledger::migrate`] and [`Ledger::connect`].
    pub async fn prepare(url: &str, max_connections: u32) -> Result<Self, LedgerError> {
        let schema = Schema::default();
        Self::migrate(url, &schema).await?;
        Self::connect_to(url, &schema, max_connections).await
    }
}

/// Makes the database of `url` where there is none; true if it did.
async fn make_database(url: &str) -> Result<bool, LedgerError> {
    if Postgres::database_exists(url).await? {
        return Ok(false);
    }
    match Postgres::create_database(url).await {
        Ok(()) => Ok(true),
        // Another process may have made it meanwhile.
        Err(_) if Postgres::database_exists(url).await? => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn run(owner: &mut PgConnection, schema: &str, migrator: &Migrator) -> Result<(), LedgerError> {
    let search = format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}");
    sqlx::raw_sql(AssertSqlSafe(search)).execute(&mut *owner).await?;
    migrator.run(owner).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => {
            LedgerError::SchemaAhead { schema: schema.to_owned(), version }
        }
        MigrateError::VersionMismatch(version) => {
            LedgerError::SchemaAltered { schema: schema.to_owned(), version }
        }
        other => LedgerError::Migrate(other),
    })
}

/// How many migrations both schemas have.
async fn applied(owner: &mut PgConnection, schema: &str) -> Result<usize, LedgerError> {
    let mut applied = 0;
    for schema in [CONTROL_SCHEMA, schema] {
        let table = format!("{schema}._sqlx_migrations");
        let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(&table)
            .fetch_one(&mut *owner)
            .await?;
        if there {
            let count = format!("SELECT count(*) FROM {table}");
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *owner).await?;
            applied += usize::try_from(count).unwrap_or_default();
        }
    }
    Ok(applied)
}
