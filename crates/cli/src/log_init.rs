//! `credits log init`: begins a log, and brings one to its end that was begun.
//!
//! Keys and the genesis are saved in the folder of keys before anything is published, and everything else follows
//! from them, so that a run that died half-way is finished by the next with the same bytes.

mod keys;

use std::path::PathBuf;

use clap::Args;
use fluxori_core::digest::Digest;
use fluxori_core::id::GLOBAL_KEY;
use fluxori_stream::{Created, Delivery, LogReader, Range, StreamError, TopicSpec, Watermarks};
use serde::Serialize;

use crate::error::CliError;
use crate::session::{Session, identify, watermarks};
use keys::Beginning;

/// Partitions of a new log, unless asked for otherwise: chosen once, generously.
const PARTITIONS: i32 = 64;
/// Issuers' keys are looked for among so many first records of a partition.
const BEGINNING: i64 = 64;

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// Partitions of the topic, chosen once [default: 64, or those that the topic has]
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=4096))]
    partitions: Option<i32>,
    /// Folder for the private keys of root, CLI, edge and scheduler; made if it is missing
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    keys: PathBuf,
    /// Also write a configuration file (TOML) for the services, with the genesis and the key files; never over another
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
    /// Brokers on which each partition lies; 3 where there are three brokers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=16))]
    replication_factor: i32,
}

#[derive(Debug, Serialize)]
struct Answer {
    topic: String,
    log_id: String,
    genesis: Digest,
    partitions: i32,
    status: Status,
    records_published: usize,
    keys: Vec<KeyAnswer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Initialised,
    Completed,
    AlreadyInitialised,
}

#[derive(Debug, Serialize)]
struct KeyAnswer {
    issuer: String,
    key_id: String,
    file: String,
}

pub(crate) async fn run(session: &Session, arguments: &InitArguments) -> Result<(), CliError> {
    let kafka = session.kafka()?;
    let reader = session.reader()?;
    let partitions = match (arguments.partitions, reader.partitions().await) {
        (Some(partitions), Ok(_) | Err(StreamError::NoTopic { .. })) => partitions,
        (None, Ok(found)) => found,
        (None, Err(StreamError::NoTopic { .. })) => PARTITIONS,
        (_, Err(error)) => return Err(error.into()),
    };
    let replication = arguments.replication_factor;
    let spec = TopicSpec {
        name: kafka.topic.clone(),
        partitions,
        replication,
        min_insync_replicas: (replication - 1).max(1),
    };
    let created = spec.create(&kafka.brokers).await?;
    let begun = begun_partitions(&reader, &kafka.topic, partitions).await?;
    if let (None, Some(found)) = (Beginning::find(&arguments.keys)?, begun.digest) {
        return Err(CliError::Refused(format!(
            "topic {} is a log already (genesis {found}), and folder {} has no keys of it; name the folder that has \
             them with --keys, or another topic with FLUXORI__KAFKA__TOPIC",
            kafka.topic,
            arguments.keys.display(),
        )));
    }
    let beginning = Beginning::find_or_make(&arguments.keys, partitions)?;
    check(session, &beginning, begun.digest, arguments)?;
    let published = publish(session, &reader, &beginning, &begun.missing).await?;
    let status = match (created, published) {
        (_, 0) => Status::AlreadyInitialised,
        (Created::New, _) => Status::Initialised,
        (Created::AlreadyThere, _) if begun.digest.is_none() => Status::Initialised,
        (Created::AlreadyThere, _) => Status::Completed,
    };
    let answer = Answer {
        topic: kafka.topic.clone(),
        log_id: beginning.genesis.log_id.to_string(),
        genesis: beginning.digest,
        partitions,
        status,
        records_published: published,
        keys: beginning.issuers().map(|(issuer, file)| key_answer(issuer, &file)).collect(),
    };
    if let Some(path) = &arguments.write_config {
        write_config(path, &answer)?;
    }
    session.output.print(&answer, text)
}

/// Writes what every service has to be told of the log, or finds just that in the file.
fn write_config(path: &std::path::Path, answer: &Answer) -> Result<(), CliError> {
    let refused = |problem: String| CliError::Refused(format!("{}: {problem}", path.display()));
    let key = |issuer: &str| -> Result<String, CliError> {
        let key = answer.keys.iter().find(|key| key.issuer == issuer);
        let file = key.map(|key| std::path::absolute(&key.file));
        match file {
            Some(Ok(file)) => Ok(file.display().to_string()),
            Some(Err(error)) => Err(refused(error.to_string())),
            None => Err(refused(format!("there is no key of {issuer}"))),
        }
    };
    let config = format!(
        "[log]\ngenesis = \"{}\"\n\n[scheduler]\nissuer_key_file = {:?}\n\n[edge]\nissuer_key_file = {:?}\n\n\
         [cli]\nissuer_key_file = {:?}\n",
        answer.genesis,
        key("scheduler")?,
        key("edge")?,
        key("cli")?,
    );
    match std::fs::read_to_string(path) {
        Ok(present) if present == config => Ok(()),
        Ok(_) => {
            Err(refused("holds something else; name another file, or put the keys in by hand".to_owned()))
        }
        Err(_) => std::fs::write(path, config).map_err(|error| refused(error.to_string())),
    }
}

fn key_answer(issuer: &fluxori_wire::Issuer, file: &std::path::Path) -> KeyAnswer {
    KeyAnswer {
        issuer: issuer.name().to_owned(),
        key_id: issuer.key_id().to_string(),
        file: file.display().to_string(),
    }
}

fn text(answer: &Answer) -> String {
    let first = match answer.status {
        Status::Initialised => "The log has begun",
        Status::Completed => "The log was begun before and is complete now",
        Status::AlreadyInitialised => "The log is already initialised; nothing was changed",
    };
    let mut text = format!(
        "{first}: topic {}, {} partitions, log {}.\n\nKeys, readable by their owner only:\n",
        answer.topic, answer.partitions, answer.log_id
    );
    for key in &answer.keys {
        text.push_str(&format!("  {:9} {}  {}\n", key.issuer, key.key_id, key.file));
    }
    let file = |issuer: &str| {
        let key = answer.keys.iter().find(|key| key.issuer == issuer);
        key.map(|key| key.file.as_str()).unwrap_or_default()
    };
    text.push_str(&format!(
        "The root key signs the others and nothing else; keep it safe, and keep a copy.\n\n\
         Configure every service with:\n  FLUXORI__LOG__GENESIS={}\nthe edge also with:\n  \
         FLUXORI__EDGE__ISSUER_KEY_FILE={}\nthe scheduler with:\n  \
         FLUXORI__SCHEDULER__ISSUER_KEY_FILE={}\nand this tool, if it runs elsewhere, with:\n  \
         FLUXORI__CLI__ISSUER_KEY_FILE={}",
        answer.genesis,
        file("edge"),
        file("scheduler"),
        file("cli"),
    ));
    text
}

/// What the topic holds before this run.
struct Begun {
    /// Digest of the genesis of the partitions that have one.
    digest: Option<Digest>,
    /// Partitions without a record.
    missing: Vec<i32>,
}

async fn begun_partitions(reader: &LogReader, topic: &str, partitions: i32) -> Result<Begun, CliError> {
    let mut begun = Begun { digest: None, missing: Vec::new() };
    for partition in 0..partitions {
        let Some(log) = identify(reader, partition, None).await? else {
            begun.missing.push(partition);
            continue;
        };
        if let Some(other) = begun.digest.replace(log.digest).filter(|other| *other != log.digest) {
            return Err(CliError::Refused(format!(
                "topic {topic} holds two logs: partition {partition} begins with genesis {}, an earlier one with \
                 {other}; choose another topic with FLUXORI__KAFKA__TOPIC",
                log.digest
            )));
        }
    }
    Ok(begun)
}

/// Refuses a topic or a configuration of another log.
fn check(
    session: &Session,
    beginning: &Beginning,
    found: Option<Digest>,
    arguments: &InitArguments,
) -> Result<(), CliError> {
    let ours = beginning.digest;
    if let Some(found) = found.filter(|found| *found != ours) {
        return Err(CliError::Refused(format!(
            "topic {} is another log (genesis {found}) than the keys in {} are for (genesis {ours}); name the right \
             folder with --keys, or another topic with FLUXORI__KAFKA__TOPIC",
            session.config.kafka.topic,
            arguments.keys.display(),
        )));
    }
    if let Some(pinned) = session.pinned().filter(|pinned| *pinned != ours) {
        return Err(CliError::Refused(format!(
            "the configuration pins another log: log.genesis is {pinned}, this log's is {ours}; unset \
             FLUXORI__LOG__GENESIS to begin a new log"
        )));
    }
    Ok(())
}

/// Publishes what is missing, and counts it.
async fn publish(
    session: &Session,
    reader: &LogReader,
    beginning: &Beginning,
    missing: &[i32],
) -> Result<usize, CliError> {
    let publisher = session.publisher()?;
    let keys = beginning.key_records()?;
    let (present, trimmed) = present_records(reader, beginning.genesis.partitions).await?;
    let mut deliveries: Vec<Delivery> = Vec::new();
    for partition in 0..beginning.genesis.partitions {
        let mut publish = |value: &[u8]| -> Result<(), CliError> {
            deliveries.push(publisher.enqueue(partition, GLOBAL_KEY.as_bytes(), value)?);
            Ok(())
        };
        if missing.contains(&partition) {
            publish(&beginning.record)?;
        }
        for key in &keys {
            let is_present = present.iter().any(|(found, value)| *found == partition && value == key);
            // Where the beginning was archived and deleted, it was complete before.
            if !is_present && !trimmed.contains(&partition) {
                publish(key)?;
            }
        }
    }
    let count = deliveries.len();
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(count)
}

/// The values of the first records of every partition, and the partitions whose first records are not in the log any
/// more.
async fn present_records(
    reader: &LogReader,
    partitions: i32,
) -> Result<(Vec<(i32, Vec<u8>)>, Vec<i32>), CliError> {
    let (mut ranges, mut trimmed) = (Vec::new(), Vec::new());
    for partition in 0..partitions {
        let Watermarks { low, high } = watermarks(reader, partition).await?;
        if low > 0 {
            trimmed.push(partition);
        } else {
            ranges.push(Range { partition, start: 0, end: high.min(BEGINNING) });
        }
    }
    let mut scan = reader.scan(&ranges, 1000)?;
    let mut present = Vec::new();
    while let Some(batch) = scan.next().await? {
        let values = batch.iter().filter_map(|record| record.value);
        present.extend(values.map(|value| (batch.partition(), value.to_vec())));
    }
    Ok((present, trimmed))
}
