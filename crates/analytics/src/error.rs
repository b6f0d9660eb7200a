/// What can go wrong between us and ClickHouse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalyticsError {
    /// The address makes no sense.
    #[error(
        "clickhouse.url (or CLICKHOUSE_URL) {0}; write http://host:port or http://user:password@host:port"
    )]
    Url(String),
    /// Nobody answers, or not in time.
    #[error("ClickHouse at {url} does not answer ({reason}); is it up, and is clickhouse.url right?")]
    Unreachable {
        /// The address, without credentials.
        url: String,
        /// What the client library said.
        reason: String,
    },
    /// The server refused.
    #[error("ClickHouse refused to {action}: {reason}")]
    Refused {
        /// What was tried.
        action: String,
        /// What the server or the client library said.
        reason: String,
    },
    /// A migration that was applied is not the one in this build.
    #[error(
        "migration {version} ({name}) was applied to database {database} with another text: use the build that \
         applied it, or another database (clickhouse.database)"
    )]
    MigrationChanged {
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
        /// The database.
        database: String,
    },
    /// The database was made by a newer build.
    #[error("database {database} has migration {found}, this build knows up to {known}: upgrade it")]
    DatabaseTooNew {
        /// The database.
        database: String,
        /// The newest migration applied.
        found: u32,
        /// The newest migration known.
        known: u32,
    },
    /// A row that holds what it cannot hold.
    #[error("table {table} holds a row that cannot be ({reason}): was it changed by hand?")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl AnalyticsError {
    /// True if the same call may succeed later: the server is away, or an operator can mend what it refuses.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. })
    }
}
