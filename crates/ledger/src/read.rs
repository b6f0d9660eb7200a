//! Reads of the ledger: each is one statement, or one snapshot, so that what it returns belongs together.

mod charges;
mod cursors;
mod explain;
mod operator;
mod outcomes;
mod plans;
mod snapshot;
mod tiers;
mod transactions;
mod verify;

pub use charges::{ChargeFilter, ChargePlace, IncompleteUsage, ModelNames};
pub use cursors::PartitionCursor;
pub(crate) use cursors::cursors as cursors_in;
pub use explain::{MAX_POSTINGS_SINCE, PostingHistory, PostingName};
pub use operator::{FoldSnapshot, QuarantinedBytes};
pub use outcomes::{CommandOutcome, QuarantineFilter, QuarantinedRecord};
pub use snapshot::{OrgSnapshot, OrgSums, Organization};
pub use tiers::TierUsage;
pub use transactions::TransactionRecord;
pub(crate) use verify::heads as heads_in;
pub use verify::{Heads, RowSums};

use crate::LedgerError;

impl LedgerError {
    /// Whether Postgres could not be reached, or not in time: the same call may succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let error = match self {
            Self::Database(error) => error,
            Self::NoDatabase(_) => return true,
            _ => return false,
        };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // Class 08: connection exceptions; 57P: the server shuts down or starts up; 53300: too many connections;
            // 57014: a query took longer than it may;
            // 3D000: there is no such database, until `credits ledger migrate` makes it.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                code.starts_with("08")
                    || code.starts_with("57P")
                    || matches!(&*code, "53300" | "57014" | "3D000")
            }),
            _ => false,
        }
    }

    /// Whether the same call will fail in the same way for ever, whoever makes it: Postgres refuses the data themselves,
    /// or this build cannot read or write them. A partition must then halt, rather than be taken over again.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            // Class 22: data exceptions; class 23: integrity constraint violations.
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            Self::Database(
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_) | sqlx::Error::Decode(_),
            )
            | Self::Unreadable { .. } => true,
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
