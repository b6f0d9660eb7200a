/// What can go wrong between the fold and Postgres.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Postgres failed or could not be reached; whether a commit took place is unknown.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
    /// The server has no database of that name.
    #[error("{0}; run `credits ledger migrate`, which makes it")]
    NoDatabase(sqlx::Error),
    /// The schema is not there, or lacks migrations of this build.
    #[error(
        "schema {schema} is not as this build needs it; run `credits ledger migrate`, of this build, as its owner"
    )]
    SchemaBehind {
        /// The schema.
        schema: String,
    },
    /// The schema has migrations that this build does not know.
    #[error("schema {schema} has migration {version}, which this build does not know: upgrade me")]
    SchemaAhead {
        /// The schema.
        schema: String,
        /// The first migration that is unknown.
        version: i64,
    },
    /// The schema was made by a migration that reads otherwise in this build.
    #[error(
        "migration {version} of schema {schema} is another one than this build's: run the build that made the schema, \
         or rebuild the ledger from the log"
    )]
    SchemaAltered {
        /// The schema.
        schema: String,
        /// The first migration that differs.
        version: i64,
    },
    /// A role that may not work with a schema.
    #[error(
        "role {user} may not use schema {schema}; as an administrator: GRANT fluxori_ledger TO {user} for the ledger \
         consumer, GRANT fluxori_reader TO {user} for everybody else"
    )]
    NotAMember {
        /// Who we are.
        user: String,
        /// The schema.
        schema: String,
    },
    /// A group role is missing and may not be created.
    #[error(
        "role {role} is missing and {user} may not create it; as an administrator: CREATE ROLE fluxori_ledger; \
         CREATE ROLE fluxori_reader; or ALTER ROLE {user} CREATEROLE"
    )]
    MissingRole {
        /// The role.
        role: &'static str,
        /// Who we are.
        user: String,
    },
    /// A schema's name that cannot be a ledger's.
    #[error(
        "{name:?} cannot be the name of a ledger's schema; take 1 to 63 lower-case letters, digits and underscores, \
         and none of Postgres' own names"
    )]
    SchemaName {
        /// The name.
        name: String,
    },
    /// The schema could not be brought up to date.
    #[error("migrating the ledger's schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A rebuilt ledger cannot take the live one's place.
    #[error("not promoted: {reason}")]
    NotPromoted {
        /// Why.
        reason: String,
    },
    /// Two rebuilds of one schema.
    #[error(
        "another process is rebuilding schema {schema}; wait until it has ended, or rebuild into another one"
    )]
    RebuildUnderWay {
        /// The schema.
        schema: String,
    },
    /// A checkpoint that cannot be written, read or restored.
    #[error("checkpoint {}: {problem}", folder.display())]
    Checkpoint {
        /// Its folder.
        folder: std::path::PathBuf,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// Somebody else has taken the partition over.
    #[error("partition {partition} was taken over by another consumer (epoch {found}, ours is {ours})")]
    Fenced {
        /// The partition.
        partition: i32,
        /// The epoch that we took.
        ours: i64,
        /// The epoch in force.
        found: i64,
    },
    /// The cursor is not where the batch begins.
    #[error("partition {partition}: the cursor is not at offset {expected}, where the batch begins")]
    UnexpectedCursor {
        /// The partition.
        partition: i32,
        /// Where the batch begins.
        expected: i64,
    },
    /// A stored value that this build cannot read.
    #[error("the ledger holds {what}, which this build cannot read")]
    Unreadable {
        /// What it is.
        what: String,
    },
}
