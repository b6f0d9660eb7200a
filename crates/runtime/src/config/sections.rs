use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::values::{Secret, Sha256Digest};

/// What a section finds wrong with itself: one text per problem, each with the key and the remedy.
pub(super) type Problems = Vec<String>;

/// `[kafka]`: the brokers and the topic that is the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas. Also from `KAFKA_BROKERS`.
    pub brokers: String,
    /// The log's topic.
    pub topic: String,
    /// After how long without a heartbeat the group takes a member for dead, in milliseconds.
    pub session_timeout_ms: u64,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self { brokers: String::new(), topic: "credits.events.v1".into(), session_timeout_ms: 45_000 }
    }
}

impl KafkaConfig {
    /// The session timeout as a duration.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let has_port = |broker: &str| {
            let after_scheme = broker.rsplit_once("://").map_or(broker, |(_, rest)| rest);
            let parsed = after_scheme.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            matches!(parsed, Some((host, Ok(port))) if !host.is_empty() && port > 0)
        };
        if !self.brokers.is_empty() && !self.brokers.split(',').all(|broker| has_port(broker.trim())) {
            problems.push(format!(
                "kafka.brokers = {:?} is no list of brokers; write host:port, several separated by commas",
                self.brokers
            ));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.topic.is_empty() || self.topic.len() > 249 || !self.topic.chars().all(legal) {
            problems.push(format!(
                "kafka.topic = {:?} is no topic name; use 1 to 249 letters, digits, dots, underscores and dashes",
                self.topic
            ));
        }
        between(problems, "kafka.session_timeout_ms", self.session_timeout_ms, 6_000, 1_800_000);
    }
}

/// `[postgres]`: the ledger's database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`. Also from `DATABASE_URL`.
    pub url: Secret,
    /// The same database for the owner of its schemas, a role that may create; `credits ledger migrate` alone uses it.
    /// None = `url`.
    pub migrate_url: Option<Secret>,
    /// How many connections one service may hold.
    pub max_connections: u32,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self { url: Secret::default(), migrate_url: None, max_connections: 8 }
    }
}

impl PostgresConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let urls = [
            ("postgres.url (or DATABASE_URL)", Some(&self.url)),
            ("postgres.migrate_url", self.migrate_url.as_ref()),
        ];
        for (key, url) in urls {
            let url = url.map(Secret::expose).unwrap_or_default();
            if !url.is_empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                problems.push(format!(
                    "{key} is no address of a Postgres; write postgres://user:password@host:port/database"
                ));
            }
        }
        between(problems, "postgres.max_connections", self.max_connections.into(), 1, 1_000);
    }
}

/// `[clickhouse]`: the analysts' database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClickHouseConfig {
    /// `http://host:port`. Also from `CLICKHOUSE_URL`.
    pub url: String,
    /// The database that holds our tables.
    pub database: String,
    /// Who we are to the server; none = its default user.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<Secret>,
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self { url: String::new(), database: "fluxori".into(), user: None, password: None }
    }
}

impl ClickHouseConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        if !self.url.is_empty() && !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            problems.push(
                "clickhouse.url (or CLICKHOUSE_URL) is no address of ClickHouse's HTTP interface; \
                           write http://host:port"
                    .into(),
            );
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.database.is_empty() || !self.database.chars().all(legal) {
            problems.push(format!(
                "clickhouse.database = {:?} is no database name; use letters, digits and underscores",
                self.database
            ));
        }
    }
}

/// `[log]`: which log this is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// Digest of the log's genesis record as `credits log init` printed it; any other log is refused.
    pub genesis: Option<Sha256Digest>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is no format of log lines; choose auto, pretty or json")),
        }
    }
}

/// `[telemetry]`: log lines on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TelemetryConfig {
    /// Levels by target, such as `info,fluxori_stream=debug`.
    pub filter: String,
    /// `auto`, `pretty` or `json`.
    pub format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto }
    }
}

/// `[ledger]`: the ledger consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerConfig {
    /// Where health and metrics are served.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// The consumer group.
    pub group: String,
    /// At most so many records in one transaction.
    pub batch_max_records: usize,
    /// How long a batch waits for more records, in milliseconds.
    pub batch_linger_ms: u64,
    /// About how many orgs are kept in memory between batches, over all partitions; about 1.5 KB each.
    pub max_orgs_in_memory: usize,
    /// About how many ids of events are kept in memory between batches, over all partitions; about 200 bytes each.
    pub max_events_in_memory: usize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8082),
            group: "fluxori-ledger".into(),
            batch_max_records: 5_000,
            batch_linger_ms: 20,
            max_orgs_in_memory: 50_000,
            max_events_in_memory: 200_000,
        }
    }
}

impl LedgerConfig {
    /// The linger as a duration.
    #[must_use]
    pub fn batch_linger(&self) -> Duration {
        Duration::from_millis(self.batch_linger_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_batches(problems, "ledger", &self.group, self.batch_max_records, self.batch_linger_ms);
        for (key, value) in [
            ("ledger.max_orgs_in_memory", self.max_orgs_in_memory),
            ("ledger.max_events_in_memory", self.max_events_in_memory),
        ] {
            between(problems, key, u64::try_from(value).unwrap_or(u64::MAX), 0, 100_000_000);
        }
    }
}

/// `[analytics]`: the analytics consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnalyticsConfig {
    /// Where health and metrics are served.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// The consumer group.
    pub group: String,
    /// At most so many records in one insert.
    pub batch_max_records: usize,
    /// How long a batch waits for more records, in milliseconds.
    pub batch_linger_ms: u64,
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8083),
            group: "fluxori-analytics".into(),
            batch_max_records: 50_000,
            batch_linger_ms: 250,
        }
    }
}

impl AnalyticsConfig {
    /// The linger as a duration.
    #[must_use]
    pub fn batch_linger(&self) -> Duration {
        Duration::from_millis(self.batch_linger_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_batches(problems, "analytics", &self.group, self.batch_max_records, self.batch_linger_ms);
    }
}

/// `[scheduler]`: the expiry scheduler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// Where health and metrics are served.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// How often every partition gets a tick, in milliseconds.
    pub tick_interval_ms: u64,
    /// How often plans are looked at for periods to be published, in milliseconds.
    pub plan_interval_ms: u64,
    /// Periods are published so many hours before they begin.
    pub plan_horizon_hours: u64,
    /// File with the scheduler's issuer key, which signs the grants of periods; readable by its owner only. None, or no
    /// `postgres.url`: no periods are published.
    pub issuer_key_file: Option<PathBuf>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8084),
            tick_interval_ms: 10_000,
            plan_interval_ms: 60_000,
            plan_horizon_hours: 8 * 24,
            issuer_key_file: None,
        }
    }
}

impl SchedulerConfig {
    /// The interval as a duration.
    #[must_use]
    pub fn tick_interval(&self) -> Duration {
        Duration::from_millis(self.tick_interval_ms)
    }

    /// The interval between two looks at the plans as a duration.
    #[must_use]
    pub fn plan_interval(&self) -> Duration {
        Duration::from_millis(self.plan_interval_ms)
    }

    /// The horizon as a duration.
    #[must_use]
    pub fn plan_horizon(&self) -> Duration {
        Duration::from_hours(self.plan_horizon_hours)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        between(problems, "scheduler.tick_interval_ms", self.tick_interval_ms, 100, 3_600_000);
        between(problems, "scheduler.plan_interval_ms", self.plan_interval_ms, 100, 3_600_000);
        between(problems, "scheduler.plan_horizon_hours", self.plan_horizon_hours, 1, 8_784);
    }
}

/// `[edge]`: the REST edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeConfig {
    /// Where the API, health and metrics are served.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// File with the edge's issuer key, which signs its commands; readable by its owner only.
    pub issuer_key_file: Option<PathBuf>,
    /// How long a read waits for the ledger to pass `at_least`, in milliseconds.
    pub at_least_timeout_ms: u64,
    /// Requests per second that one API key may send on average.
    pub rate_limit_per_second: u32,
    /// Requests that one API key may send at once.
    pub rate_limit_burst: u32,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            issuer_key_file: None,
            at_least_timeout_ms: 5_000,
            rate_limit_per_second: 200,
            rate_limit_burst: 400,
        }
    }
}

impl EdgeConfig {
    /// The bound on waiting as a duration.
    #[must_use]
    pub fn at_least_timeout(&self) -> Duration {
        Duration::from_millis(self.at_least_timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        between(problems, "edge.at_least_timeout_ms", self.at_least_timeout_ms, 0, 60_000);
        between(problems, "edge.rate_limit_per_second", self.rate_limit_per_second.into(), 1, 1_000_000);
        between(problems, "edge.rate_limit_burst", self.rate_limit_burst.into(), 1, 1_000_000);
    }
}

/// `[cli]`: the operators' tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CliConfig {
    /// File with the key that signs the tool's commands; readable by its owner only.
    pub issuer_key_file: PathBuf,
}

impl Default for CliConfig {
    fn default() -> Self {
        Self { issuer_key_file: "keys/cli.key".into() }
    }
}

pub(super) fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address to listen on; write an IP address and a port, such as 127.0.0.1:8080"
        ))
    })
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(super) fn between(problems: &mut Problems, key: &str, value: u64, low: u64, high: u64) {
    if !(low..=high).contains(&value) {
        problems.push(format!("{key} = {value} is out of range; choose {low} to {high}"));
    }
}

fn validate_batches(problems: &mut Problems, section: &str, group: &str, records: usize, linger_ms: u64) {
    if group.is_empty() {
        problems.push(format!("{section}.group is empty; name the consumer group"));
    }
    let records = u64::try_from(records).unwrap_or(u64::MAX);
    between(problems, &format!("{section}.batch_max_records"), records, 1, 1_000_000);
    between(problems, &format!("{section}.batch_linger_ms"), linger_ms, 0, 60_000);
}
