use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
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

/// `[http]`: connections and bodies of every service that is called over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpConfig {
    /// Connections that one service keeps open at once; further ones wait.
    pub max_connections: u32,
    /// A connection that sends no head of a request for so long is closed, in milliseconds.
    pub header_timeout_ms: u64,
    /// A body that has not ended after so long is answered with 408, in milliseconds.
    pub body_timeout_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { max_connections: 1_000, header_timeout_ms: 15_000, body_timeout_ms: 15_000 }
    }
}

impl HttpConfig {
    /// The cap on connections as a number of things.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        usize::try_from(self.max_connections).unwrap_or(usize::MAX)
    }

    /// The bound on waiting for a head as a duration.
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// The bound on reading a body as a duration.
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        between(problems, "http.max_connections", self.max_connections.into(), 1, 1_000_000);
        between(problems, "http.header_timeout_ms", self.header_timeout_ms, 100, 600_000);
        between(problems, "http.body_timeout_ms", self.body_timeout_ms, 100, 600_000);
    }
}

/// What an event that is answered as spooled outlives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SpoolDurability {
    /// Nothing: events wait in memory, and are answered when the broker has them.
    None,
    /// The process.
    Process,
    /// The machine's power.
    #[default]
    Power,
}

impl TryFrom<String> for SpoolDurability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "none" => Ok(Self::None),
            "process" => Ok(Self::Process),
            "power" => Ok(Self::Power),
            _ => Err(format!("{text:?} is no durability; choose power, process or none")),
        }
    }
}

/// What happens to an event when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum WhenSpoolFull {
    /// It is answered with 503.
    #[default]
    Reject,
    /// The oldest are dropped, and counted.
    DropOldest,
}

impl TryFrom<String> for WhenSpoolFull {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "reject" => Ok(Self::Reject),
            "drop_oldest" => Ok(Self::DropOldest),
            _ => Err(format!("{text:?} is no policy for a full spool; choose reject or drop_oldest")),
        }
    }
}

/// `[producer]`: the HTTP front of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerConfig {
    /// Where events, health and metrics are served.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Largest body of a request, in bytes, as it comes and decompressed.
    pub max_body_bytes: u64,
    /// Most items of a request.
    pub max_items: u64,
    /// Requests per second that one API key may send on average.
    pub rate_limit_per_second: u32,
    /// Requests that one API key may send at once.
    pub rate_limit_burst: u32,
    /// The folder in which events wait for the broker; none = they wait in memory, and so do their callers.
    pub spool_dir: Option<PathBuf>,
    /// What an event in the folder outlives when it is answered as spooled: `power`, `process`, or `none` for no folder.
    pub durability: SpoolDurability,
    /// How many bytes may wait in the folder.
    pub spool_max_bytes: u64,
    /// What happens when they do: `reject`, or `drop_oldest`.
    pub when_spool_full: WhenSpoolFull,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8081),
            max_body_bytes: 8 << 20,
            max_items: 10_000,
            rate_limit_per_second: 1_000,
            rate_limit_burst: 2_000,
            spool_dir: None,
            durability: SpoolDurability::Power,
            spool_max_bytes: 1 << 30,
            when_spool_full: WhenSpoolFull::Reject,
        }
    }
}

impl ProducerConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        between(problems, "producer.max_body_bytes", self.max_body_bytes, 1 << 10, 64 << 20);
        between(problems, "producer.max_items", self.max_items, 1, 100_000);
        between(problems, "producer.spool_max_bytes", self.spool_max_bytes, 32 << 20, 1 << 44);
        between(problems, "producer.rate_limit_per_second", self.rate_limit_per_second.into(), 1, 1_000_000);
        between(problems, "producer.rate_limit_burst", self.rate_limit_burst.into(), 1, 1_000_000);
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

/// `[cloudevents]`: how CloudEvents are read as usage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudEventsConfig {
    /// The first rule that is for an event reads it; what none is for is read by the rules that are built in.
    pub rules: Vec<CloudEventsRule>,
}

/// One of `[[cloudevents.rules]]`. A path is an attribute or extension (`subject`), or `data` and names inside it
/// (`data.usage.total`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudEventsRule {
    /// Which events it is for: by path, a value or several; one that ends in `*` stands for all that begin so.
    #[serde(deserialize_with = "lists")]
    pub when: BTreeMap<String, Vec<String>>,
    /// By field of the usage event, the path that it comes from, or several, of which the first that holds something counts.
    #[serde(deserialize_with = "lists")]
    pub fields: BTreeMap<String, Vec<String>>,
    /// By field, what it is where no path holds anything.
    pub defaults: BTreeMap<String, String>,
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

/// One of `[[api_keys]]`: who may call, known by the digest of the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Who this is; appears in logs and as the actor of commands.
    pub name: String,
    /// SHA-256 of the key, in hexadecimal.
    pub sha256: Sha256Digest,
    /// The orgs this key may see and change; `["*"]` = all.
    pub orgs: Vec<String>,
    /// The modules that it may post events of; absent = all.
    #[serde(default)]
    pub modules: Option<Vec<String>>,
    /// The sources that it may post events of; absent = all.
    #[serde(default)]
    pub sources: Option<Vec<String>>,
    /// From when on it holds no longer; absent = never.
    #[serde(default, deserialize_with = "instant")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl ApiKeyConfig {
    /// A key for some orgs, and for all modules and sources, that never expires.
    #[must_use]
    pub fn new(name: &str, sha256: Sha256Digest, orgs: &[&str]) -> Self {
        let orgs = orgs.iter().map(|org| (*org).to_owned()).collect();
        Self { name: name.to_owned(), sha256, orgs, modules: None, sources: None, expires_at: None }
    }
}

pub(super) fn validate_api_keys(keys: &[ApiKeyConfig], problems: &mut Problems) {
    for (index, key) in keys.iter().enumerate() {
        if key.name.is_empty() {
            problems.push(format!("api_keys[{index}].name is empty; say who holds the key"));
        }
        if key.orgs.is_empty() {
            problems.push(format!("api_keys[{index}].orgs is empty; list org ids, or [\"*\"] for all"));
        }
        for (field, names) in [("modules", &key.modules), ("sources", &key.sources)] {
            if names.as_ref().is_some_and(Vec::is_empty) {
                problems
                    .push(format!("api_keys[{index}].{field} is empty; list names, or leave it out for all"));
            }
        }
        if keys.iter().take(index).any(|earlier| earlier.sha256 == key.sha256) {
            problems.push(format!(
                "api_keys[{index}] has the digest of an earlier key; give each caller its own"
            ));
        }
    }
}

fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address to listen on; write an IP address and a port, such as 127.0.0.1:8080"
        ))
    })
}

/// Values that may be one text or a list of them.
fn lists<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Several(Vec<String>),
    }
    let texts = BTreeMap::<String, Texts>::deserialize(deserializer)?;
    let list = |texts| match texts {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    };
    Ok(texts.into_iter().map(|(name, texts)| (name, list(texts))).collect())
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(&text).map_err(|_| {
        serde::de::Error::custom(format!("{text:?} is no time; write one such as 2027-01-31T00:00:00Z"))
    })?;
    Ok(Some(time.to_utc()))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn between(problems: &mut Problems, key: &str, value: u64, low: u64, high: u64) {
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
