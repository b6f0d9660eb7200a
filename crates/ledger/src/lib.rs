//! Postgres shell of the ledger: take a partition over, load what the fold needs, commit a batch, read.
//!
//! The phases of a batch are load -> fold -> write. Loading and folding change nothing; all writes of a batch, the
//! cursor and the check of the epoch are one transaction ([`Ledger::commit`]).

mod commit;
mod content;
mod error;
mod load;
mod read;
mod rows;
mod take_over;

use std::time::Duration;

use sqlx::migrate::MigrateDatabase;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

pub use commit::{BatchWrite, CommandRow, Cursor, GlobalRecord, PostingRow, QuarantineRow};
pub use content::{ColumnDifference, Contents, RowKey, RowText, posting_text};
pub use error::LedgerError;
pub use load::{Loaded, Needed, WaitingRecord};
pub use read::*;
pub use take_over::TakenOver;

/// The `org_id` of global commands in tables.
pub const GLOBAL_ORG: &str = fluxori_core::id::GLOBAL_KEY;

/// A client that has a transaction open and says nothing for so long loses it: a consumer that is frozen in the middle
/// of a commit must not keep its partition's epoch locked against its successor.
const IDLE_IN_TRANSACTION: &str = "5s";

fn connect_options(url: &str) -> Result<PgConnectOptions, LedgerError> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION)]))
}

/// A pool of connections to the ledger's database.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// Connects; waits at most five seconds for a connection.
    ///
    /// # Errors
    /// The address is wrong, or no server answers there.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, LedgerError> {
        let options = connect_options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    /// Connects, makes the database if the server has none of that name, and brings the schema up to date. Safe to
    /// call from several processes at once.
    pub async fn prepare(url: &str, max_connections: u32) -> Result<Self, LedgerError> {
        if !Postgres::database_exists(url).await? {
            match Postgres::create_database(url).await {
                Err(error) if !Postgres::database_exists(url).await? => return Err(error.into()),
                // Another process may have made it meanwhile.
                _ => tracing::info!("made the ledger's database"),
            }
        }
        let ledger = Self::connect(url, max_connections).await?;
        sqlx::migrate!("./migrations").run(&ledger.pool).await?;
        Ok(ledger)
    }
}
