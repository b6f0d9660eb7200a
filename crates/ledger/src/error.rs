/// What can go wrong between the fold and Postgres.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Postgres failed or could not be reached; whether a commit took place is unknown.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migrating the ledger's schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
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
