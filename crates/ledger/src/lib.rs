//! Postgres shell of the ledger: take a partition over, load what the fold needs, commit a batch, read.
//!
//! The phases of a batch are load -> fold -> write. Loading and folding change nothing; all writes of a batch, the
//! cursor and the check of the epoch are one transaction ([`Ledger::commit`]).

mod checkpoint;
mod commit;
mod content;
mod error;
mod load;
mod migrate;
mod promote;
mod read;
mod roles;
mod rows;
mod schema;
mod take_over;

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use checkpoint::Checkpoint;
pub use commit::{
    BatchWrite, Changes, CommandRow, Cursor, EncodedPostings, GlobalRecord, OrgRow, PostingRow,
    QuarantineRow, RawRecord,
};
pub use content::{ColumnDifference, Contents, RowKey, RowText, posting_text};
pub use error::LedgerError;
pub use load::{Loaded, Needed, StoredCharge, WaitingRecord};
pub use migrate::Migrated;
pub use promote::{Comparison, Promoted, Promotion, RebuildLock};
pub use read::*;
pub use roles::{LEDGER_ROLE, READER_ROLE};
pub use schema::Schema;
pub use take_over::TakenOver;

/// The `org_id` of global commands in tables.
pub const GLOBAL_ORG: &str = fluxori_core::id::GLOBAL_KEY;

/// A client that has a transaction open and says nothing for so long loses it: a consumer that is frozen in the middle
/// of a commit must not keep its partition's epoch locked against its successor.
const IDLE_IN_TRANSACTION: &str = "5s";

/// The search path says which schema the statements mean. They name none, because a name that was renamed by a promotion
/// would still mean the old schema where a statement is prepared, and the search path is looked up anew.
fn connect_options(url: &str, schema: &Schema) -> Result<PgConnectOptions, LedgerError> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.options([
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ("search_path", schema.as_str()),
    ]))
}

/// A pool of connections to a ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: PgPool,
    schema: Schema,
}

impl Ledger {
    /// Connects to the ledger; waits at most five seconds for a connection. Makes nothing: `credits ledger migrate`
    /// does ([`Ledger::migrate`]).
    ///
    /// # Errors
    /// The address is wrong, no server answers there, or it has no such database (`NoDatabase`).
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, LedgerError> {
        Self::connect_to(url, &Schema::default(), max_connections).await
    }

    /// Connects to the ledger in a schema of choice; else as [`Ledger::connect`].
    ///
    /// # Errors
    /// As [`Ledger::connect`].
    pub async fn connect_to(url: &str, schema: &Schema, max_connections: u32) -> Result<Self, LedgerError> {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(connect_options(url, schema)?)
            .await
            .map_err(|error| {
                // 3D000 invalid_catalog_name.
                let code = error.as_database_error().and_then(|error| error.code());
                if code.as_deref() == Some("3D000") {
                    LedgerError::NoDatabase(error)
                } else {
                    LedgerError::Database(error)
                }
            })?;
        Ok(Self { pool, schema: schema.clone() })
    }

    /// A pool that connects when it is first used, for services that start while Postgres is away. A query waits at
    /// most `patience` for a connection.
    ///
    /// # Errors
    /// The address is wrong.
    pub fn connect_lazily(url: &str, max_connections: u32, patience: Duration) -> Result<Self, LedgerError> {
        let schema = Schema::default();
        let options = PgPoolOptions::new().max_connections(max_connections).acquire_timeout(patience);
        Ok(Self { pool: options.connect_lazy_with(connect_options(url, &schema)?), schema })
    }

    /// The schema that this ledger lies in.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}
