//! Configuration: the defaults, then a TOML file (`--config` or `FLUXORI_CONFIG`), then the
//! environment.
//!
//! One file, or one environment, serves all services: [`Config`] holds every section, and a service
//! asks for the ones that it cannot do without ([`Config::require_postgres`] and its like). A key
//! `section.key` is `FLUXORI__SECTION__KEY` in the environment; `KAFKA_BROKERS`, `DATABASE_URL` and
//! `CLICKHOUSE_URL` stand for `kafka.brokers`, `postgres.url` and `clickhouse.url` and rank below the
//! `FLUXORI__` form. `FLUXORI__API_KEYS` is a JSON array of objects with the fields of
//! [`ApiKeyConfig`]. Empty variables count as unset. Unknown keys are errors, and all problems are
//! reported at once.

mod callers;
mod layers;
mod sections;
mod values;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use callers::{
    ApiKeyConfig, CloudEventsConfig, CloudEventsRule, HttpConfig, ProducerConfig, SpoolDurability,
    WhenSpoolFull,
};
pub use layers::Sources;
pub use sections::{
    AnalyticsConfig, CliConfig, ClickHouseConfig, EdgeConfig, KafkaConfig, LedgerConfig, LogConfig,
    LogFormat, PostgresConfig, SchedulerConfig, TelemetryConfig,
};
pub use values::{Secret, Sha256Digest};

/// The configuration of all services; each section has its defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// The brokers and the log's topic.
    pub kafka: KafkaConfig,
    /// The ledger's database.
    pub postgres: PostgresConfig,
    /// The analysts' database.
    pub clickhouse: ClickHouseConfig,
    /// Which log this is.
    pub log: LogConfig,
    /// Log lines.
    pub telemetry: TelemetryConfig,
    /// Connections and bodies of every service that is called over HTTP.
    pub http: HttpConfig,
    /// The HTTP front of the log.
    pub producer: ProducerConfig,
    /// How CloudEvents are read as usage.
    pub cloudevents: CloudEventsConfig,
    /// The ledger consumer.
    pub ledger: LedgerConfig,
    /// The analytics consumer.
    pub analytics: AnalyticsConfig,
    /// The expiry scheduler.
    pub scheduler: SchedulerConfig,
    /// The REST edge.
    pub edge: EdgeConfig,
    /// The operators' tool.
    pub cli: CliConfig,
    /// Who may call the HTTP services.
    pub api_keys: Vec<ApiKeyConfig>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Unknown keys and wrong values, all that were found.
    #[error("the configuration has {}:\n  - {}", count(.0.len()), .0.join("\n  - "))]
    Refused(Vec<String>),
    /// A service needs a value that has no default.
    #[error("{key} is not set; {remedy}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How to set it.
        remedy: &'static str,
    },
}

/// Reads the configuration from its sources and checks all of it.
///
/// # Errors
/// [`ConfigError::Refused`] with every unknown key and wrong value, and how to mend each.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    // The serialized defaults are the list of keys there are.
    let known = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut builder = config::Config::builder();
    if let Some(path) = &sources.file {
        builder = builder.add_source(layers::from_file(path, &known, &mut problems));
    }
    for layer in layers::from_env(&sources.env, &known, &mut problems) {
        builder = builder.add_source(layer);
    }
    let merged = builder.build().map_err(|error| ConfigError::Refused(vec![error.to_string()]))?;
    let config = Config {
        kafka: section(&merged, "kafka", &mut problems),
        postgres: section(&merged, "postgres", &mut problems),
        clickhouse: section(&merged, "clickhouse", &mut problems),
        log: section(&merged, "log", &mut problems),
        telemetry: section(&merged, "telemetry", &mut problems),
        http: section(&merged, "http", &mut problems),
        producer: section(&merged, "producer", &mut problems),
        cloudevents: section(&merged, "cloudevents", &mut problems),
        ledger: section(&merged, "ledger", &mut problems),
        analytics: section(&merged, "analytics", &mut problems),
        scheduler: section(&merged, "scheduler", &mut problems),
        edge: section(&merged, "edge", &mut problems),
        cli: section(&merged, "cli", &mut problems),
        api_keys: section(&merged, "api_keys", &mut problems),
    };
    config.validate(&mut problems);
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Refused(problems)) }
}

impl Config {
    /// The Kafka section, for a service that cannot do without it.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] if no brokers are named.
    pub fn require_kafka(&self) -> Result<&KafkaConfig, ConfigError> {
        let remedy = "set KAFKA_BROKERS=host:port, or brokers under [kafka] in the configuration file";
        if self.kafka.brokers.is_empty() {
            return Err(ConfigError::Missing { key: "kafka.brokers", remedy });
        }
        Ok(&self.kafka)
    }

    /// The Postgres section, for a service that cannot do without it.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] if no database is named.
    pub fn require_postgres(&self) -> Result<&PostgresConfig, ConfigError> {
        let remedy = "set DATABASE_URL=postgres://user:password@host:port/database, or url under [postgres] in \
                      the configuration file";
        if self.postgres.url.is_empty() {
            return Err(ConfigError::Missing { key: "postgres.url", remedy });
        }
        Ok(&self.postgres)
    }

    /// The ClickHouse section, for a service that cannot do without it.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] if no server is named.
    pub fn require_clickhouse(&self) -> Result<&ClickHouseConfig, ConfigError> {
        let remedy =
            "set CLICKHOUSE_URL=http://host:port, or url under [clickhouse] in the configuration file";
        if self.clickhouse.url.is_empty() {
            return Err(ConfigError::Missing { key: "clickhouse.url", remedy });
        }
        Ok(&self.clickhouse)
    }

    /// The digest of the log's genesis record, for a service that must not follow any other log.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] if it is not pinned.
    pub fn require_genesis(&self) -> Result<[u8; 32], ConfigError> {
        let remedy = "set FLUXORI__LOG__GENESIS, or genesis under [log] in the configuration file, to the digest \
                      that `credits log init` printed";
        let genesis = self.log.genesis.ok_or(ConfigError::Missing { key: "log.genesis", remedy })?;
        Ok(*genesis.bytes())
    }

    /// The file with the edge's issuer key.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] if none is named.
    pub fn require_issuer_key_file(&self) -> Result<&std::path::Path, ConfigError> {
        let remedy = "set FLUXORI__EDGE__ISSUER_KEY_FILE, or issuer_key_file under [edge] in the configuration \
                      file, to the key file that `credits log init` wrote for the edge";
        let file = self.edge.issuer_key_file.as_deref();
        file.ok_or(ConfigError::Missing { key: "edge.issuer_key_file", remedy })
    }

    fn validate(&self, problems: &mut sections::Problems) {
        self.kafka.validate(problems);
        self.postgres.validate(problems);
        self.clickhouse.validate(problems);
        self.http.validate(problems);
        self.producer.validate(problems);
        self.ledger.validate(problems);
        self.analytics.validate(problems);
        self.scheduler.validate(problems);
        self.edge.validate(problems);
        callers::validate_api_keys(&self.api_keys, problems);
    }
}

fn section<T: DeserializeOwned + Default>(
    merged: &config::Config,
    name: &str,
    problems: &mut sections::Problems,
) -> T {
    let error = match merged.get(name) {
        Ok(section) => return section,
        Err(config::ConfigError::NotFound(key)) if key == name => return T::default(),
        Err(error) => error,
    };
    // One key at a time, because serde stops at the first wrong value and does not always say where.
    let before = problems.len();
    for (key, value) in merged.get_table(name).unwrap_or_default() {
        let origin = value.origin().map(|origin| format!(" ({origin})")).unwrap_or_default();
        let alone = config::Value::new(None, config::Map::from_iter([(key.clone(), value)]));
        if let Err(error) = alone.try_deserialize::<T>() {
            problems.push(format!("{name}.{key}{origin}: {}", plain(&error)));
        }
    }
    if problems.len() == before {
        problems.push(format!("{name}: {}", plain(&error)));
    }
    T::default()
}

/// What is wrong with a value, without where it is.
fn plain(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => plain(error),
        config::ConfigError::Type { unexpected, expected, .. } => format!("{unexpected} is not {expected}"),
        other => other.to_string(),
    }
}

fn count(problems: usize) -> String {
    if problems == 1 { "a problem".into() } else { format!("{problems} problems") }
}

#[cfg(test)]
mod tests;
