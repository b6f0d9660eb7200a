//! Where the services answer.

use serde::{Deserialize, Serialize};

/// Where the three services answer, in the form that our services read from the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Kafka's bootstrap servers, `host:port` separated by commas. `KAFKA_BROKERS`.
    pub kafka_brokers: String,
    /// A Postgres URL of a user that may create databases. `DATABASE_URL`.
    pub database_url: String,
    /// ClickHouse's HTTP interface. `CLICKHOUSE_URL`.
    pub clickhouse_url: String,
}

impl Endpoints {
    /// The environment variables that name these services, and their values.
    pub fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("KAFKA_BROKERS", &self.kafka_brokers),
            ("DATABASE_URL", &self.database_url),
            ("CLICKHOUSE_URL", &self.clickhouse_url),
        ]
    }
}

/// Endpoints of which some are known: those that the environment names, or those that a run has started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartialEndpoints {
    pub(crate) kafka_brokers: Option<String>,
    pub(crate) database_url: Option<String>,
    pub(crate) clickhouse_url: Option<String>,
}

impl PartialEndpoints {
    /// What the environment names; an empty value names nothing.
    pub(crate) fn from_environment() -> Self {
        let named = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            kafka_brokers: named("KAFKA_BROKERS"),
            database_url: named("DATABASE_URL"),
            clickhouse_url: named("CLICKHOUSE_URL"),
        }
    }

    /// These endpoints, with `other` where they are unknown.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            kafka_brokers: self.kafka_brokers.or(other.kafka_brokers),
            database_url: self.database_url.or(other.database_url),
            clickhouse_url: self.clickhouse_url.or(other.clickhouse_url),
        }
    }

    /// All three, if all are known.
    pub(crate) fn complete(self) -> Option<Endpoints> {
        Some(Endpoints {
            kafka_brokers: self.kafka_brokers?,
            database_url: self.database_url?,
            clickhouse_url: self.clickhouse_url?,
        })
    }
}
