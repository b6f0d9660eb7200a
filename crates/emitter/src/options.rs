use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use fluxori_core::digest::Digest;
use fluxori_core::id::ProducerId;
use fluxori_wire::DEFAULT_TOPIC;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use uuid::Uuid;

use crate::EmitError;
use crate::spool::{MIN_SPOOL_BYTES, Settings};

/// What the largest record may take: 1 MiB of value, its key and the frame around them; as the log's topic has it.
const MAX_RECORD_BYTES: &str = "2097152";
/// The client library's own queue, in KiB and in messages: more than is ever in flight.
const QUEUE_KBYTES: &str = "65536";
const QUEUE_MESSAGES: &str = "200000";

/// How an emitter emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitterOptions {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// The log's topic.
    pub topic: String,
    /// Digest of the log's genesis record, as `credits log init` printed it: nothing is sent to another log. None = whatever log the
    /// topic holds.
    pub genesis: Option<Digest>,
    /// Where events wait for the broker.
    pub spool: SpoolOptions,
    /// How long an event waits for others to travel with.
    pub linger: Duration,
    /// Names this producer; none = what its spool was named when it was made, or else the host and a new UUID.
    pub producer_id: Option<ProducerId>,
}

/// Where events wait for the broker, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The folder, one for each log; processes may share it, each has a slot of its own there. None = memory.
    pub folder: Option<PathBuf>,
    /// What a spooled event outlives.
    pub durability: Durability,
    /// How many bytes may wait; on disk they are taken in segments of a sixteenth of it, at most 8 MiB each.
    pub max_bytes: u64,
    /// What happens when they do.
    pub when_full: WhenFull,
}

/// What an event in the spool on disk outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The process, however it ends: the event is in the kernel's pages.
    #[default]
    Process,
    /// The machine's power: the event is on the disk, after a sync that it shares with others.
    Power,
}

/// What happens to an event for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It is given back.
    #[default]
    Reject,
    /// The oldest events go, a segment at a time, and are counted.
    DropOldest,
}

impl SpoolOptions {
    /// In memory: 64 MiB, and as much again in the client library at most; an event is accepted when the broker has it, and lost with the process before.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self {
            folder: None,
            durability: Durability::Process,
            max_bytes: 64 << 20,
            when_full: WhenFull::Reject,
        }
    }

    /// On disk: 1 GiB, which is some three million events; an event is accepted when it outlives the process.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), max_bytes: 1 << 30, ..Self::in_memory() }
    }

    pub(crate) fn settings(&self) -> Result<Settings, EmitError> {
        if self.max_bytes < MIN_SPOOL_BYTES {
            return Err(EmitError::Setup(format!(
                "{} bytes are too few for the events that wait; allow at least {MIN_SPOOL_BYTES}",
                self.max_bytes
            )));
        }
        Ok(Settings { max_bytes: self.max_bytes, when_full: self.when_full, durability: self.durability })
    }
}

impl EmitterOptions {
    /// The default topic, 5 ms of linger, events waiting in memory.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: DEFAULT_TOPIC.to_owned(),
            genesis: None,
            spool: SpoolOptions::in_memory(),
            linger: Duration::from_millis(5),
            producer_id: None,
        }
    }

    /// What the environment says:
    ///
    /// | variable | default |
    /// |---|---|
    /// | `FLUXORI__KAFKA__BROKERS`, or else `KAFKA_BROKERS` | none: an error |
    /// | `FLUXORI__KAFKA__TOPIC` | `credits.events.v1` |
    /// | `FLUXORI__LOG__GENESIS`: digest of the log's genesis record | any log |
    /// | `FLUXORI__EMITTER__SPOOL`: a folder, or `memory` | `fluxori/spool` in `XDG_STATE_HOME`, or else in `~/.local/state` |
    /// | `FLUXORI__EMITTER__DURABILITY`: `process` or `power` | `process` |
    /// | `FLUXORI__EMITTER__MAX_BYTES` | 1 GiB on disk, 64 MiB in memory |
    /// | `FLUXORI__EMITTER__WHEN_FULL`: `reject` or `drop_oldest` | `reject` |
    ///
    /// # Errors
    /// [`EmitError::Setup`], which names the variable.
    pub fn from_env() -> Result<Self, EmitError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EmitError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let brokers = variable("FLUXORI__KAFKA__BROKERS").or_else(|| variable("KAFKA_BROKERS"));
        let mut options = Self::new(brokers.ok_or_else(no_brokers)?);
        if let Some(topic) = variable("FLUXORI__KAFKA__TOPIC") {
            options.topic = topic;
        }
        if let Some(text) = variable("FLUXORI__LOG__GENESIS") {
            options.genesis = Some(text.parse().map_err(|error| {
                EmitError::Setup(format!("FLUXORI__LOG__GENESIS: {text:?} is no digest: {error}"))
            })?);
        }
        options.spool = match variable("FLUXORI__EMITTER__SPOOL") {
            Some(word) if word == "memory" => SpoolOptions::in_memory(),
            Some(folder) => SpoolOptions::in_folder(folder),
            None => {
                let state = variable("XDG_STATE_HOME").map(PathBuf::from);
                let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
                let state = state.filter(|path| path.is_absolute()).or_else(home).ok_or_else(|| {
                    let what = "there is no home to keep a spool in; name a folder, or `memory`";
                    EmitError::Setup(format!("{what}, with FLUXORI__EMITTER__SPOOL"))
                })?;
                SpoolOptions::in_folder(state.join("fluxori/spool"))
            }
        };
        let spool = &mut options.spool;
        parse(variable, "FLUXORI__EMITTER__DURABILITY", &mut spool.durability)?;
        if let Some(text) = variable("FLUXORI__EMITTER__MAX_BYTES") {
            spool.max_bytes = text.parse().map_err(|_| {
                EmitError::Setup(format!("FLUXORI__EMITTER__MAX_BYTES: {text:?} is no number of bytes"))
            })?;
        }
        parse(variable, "FLUXORI__EMITTER__WHEN_FULL", &mut spool.when_full)?;
        Ok(options)
    }

    /// The producer's configuration: idempotent, so that a retry after a lost answer does not append twice; and patient, because the
    /// spool has its own bound.
    pub(crate) fn producer_config(&self) -> ClientConfig {
        let mut config = base_config(&self.brokers);
        config
            .set("enable.idempotence", "true")
            // What fails is sent again before anything behind it.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("queue.buffering.max.messages", QUEUE_MESSAGES)
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES);
        config
    }
}

fn parse<T: FromStr<Err = String>>(
    variable: impl Fn(&str) -> Option<String>,
    name: &str,
    to: &mut T,
) -> Result<(), EmitError> {
    if let Some(text) = variable(name) {
        *to = text.parse().map_err(|problem| EmitError::Setup(format!("{name}: {problem}")))?;
    }
    Ok(())
}

pub(crate) fn no_brokers() -> EmitError {
    EmitError::Setup("no brokers are named; set KAFKA_BROKERS=host:port".to_owned())
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "process" => Ok(Self::Process),
            "power" => Ok(Self::Power),
            _ => Err(format!("{text:?} is no durability; choose process or power")),
        }
    }
}

impl FromStr for WhenFull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reject" => Ok(Self::Reject),
            "drop_oldest" => Ok(Self::DropOldest),
            _ => Err(format!("{text:?} is no policy for a full spool; choose reject or drop_oldest")),
        }
    }
}

/// What all clients of this crate share.
pub(crate) fn base_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "fluxori-emitter")
        .set("allow.auto.create.topics", "false")
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "5000")
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A name for a producer: its host, for people, and a UUID, because hosts are cloned.
pub(crate) fn new_producer_id() -> Result<ProducerId, EmitError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
    let host = if host.is_empty() { "host" } else { &host };
    ProducerId::new(&format!("{host}-{}", Uuid::now_v7().simple()))
        .map_err(|error| EmitError::Setup(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<EmitterOptions, String> {
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        EmitterOptions::from_variables(find).map_err(|error| error.to_string())
    }

    #[test]
    fn brokers_and_a_home_are_enough_and_events_then_outlive_the_process() {
        let options = of(&[("KAFKA_BROKERS", "a:1"), ("HOME", "/home/u")]).unwrap();
        assert_eq!(options.spool, SpoolOptions::in_folder("/home/u/.local/state/fluxori/spool"));
        assert_eq!(options.spool.durability, Durability::Process);
        let elsewhere = of(&[("KAFKA_BROKERS", "a:1"), ("HOME", "/home/u"), ("XDG_STATE_HOME", "/state")]);
        assert_eq!(elsewhere.unwrap().spool.folder.unwrap(), PathBuf::from("/state/fluxori/spool"));
    }

    #[test]
    fn every_variable_is_read_and_a_wrong_one_is_named() {
        let all = [
            ("FLUXORI__KAFKA__BROKERS", "b:2"),
            ("KAFKA_BROKERS", "a:1"),
            ("FLUXORI__KAFKA__TOPIC", "t"),
            ("FLUXORI__EMITTER__SPOOL", "/spool"),
            ("FLUXORI__EMITTER__DURABILITY", "power"),
            ("FLUXORI__EMITTER__MAX_BYTES", "5000000"),
            ("FLUXORI__EMITTER__WHEN_FULL", "drop_oldest"),
        ];
        let options = of(&all).unwrap();
        assert_eq!((options.brokers.as_str(), options.topic.as_str()), ("b:2", "t"));
        let spool = SpoolOptions {
            folder: Some("/spool".into()),
            durability: Durability::Power,
            max_bytes: 5_000_000,
            when_full: WhenFull::DropOldest,
        };
        assert_eq!(options.spool, spool);
        for name in
            ["FLUXORI__EMITTER__DURABILITY", "FLUXORI__EMITTER__MAX_BYTES", "FLUXORI__EMITTER__WHEN_FULL"]
        {
            let wrong = of(&[("KAFKA_BROKERS", "a:1"), ("HOME", "/h"), (name, "much")]).unwrap_err();
            assert!(wrong.contains(name) && wrong.contains("much"), "{wrong}");
        }
        assert!(of(&[]).unwrap_err().contains("KAFKA_BROKERS"));
        assert!(of(&[("KAFKA_BROKERS", "a:1")]).unwrap_err().contains("FLUXORI__EMITTER__SPOOL"));
        let memory = of(&[("KAFKA_BROKERS", "a:1"), ("FLUXORI__EMITTER__SPOOL", "memory")]).unwrap();
        assert_eq!(memory.spool, SpoolOptions::in_memory());
    }
}
