//! What callers of the HTTP services have to do with: connections and bodies, the gateway, CloudEvents, API keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use super::sections::{Problems, between, listen_address, loopback};
use super::values::Sha256Digest;

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
