//! Reads of the ledger.

use crate::LedgerError;

impl LedgerError {
    /// Whether Postgres could not be reached, or not in time: the same call may succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let Self::Database(error) = self else { return false };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // Class 08: connection exceptions; 57P: the server is shut down or starts up.
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
            }
            _ => false,
        }
    }

    /// Whether the database has no ledger in it: its schema was not created yet.
    #[must_use]
    pub fn is_missing_schema(&self) -> bool {
        // 42P01 undefined_table, 3F000 invalid_schema_name.
        matches!(self, Self::Database(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P01" | "3F000")))
    }
}
