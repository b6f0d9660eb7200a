//! `credits log trim`: deletes from the log what a verified archive holds and nobody needs there any more.
//!
//! The log must go on to say which log it is, so it is cut off just before a copy of its genesis, which `trim` publishes
//! into every partition first; the ledger counts it as a duplicate. What lies behind that copy stays: the last record
//! that the ledger applied, which every take-over compares, and all that the analytics consumer has yet to read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use fluxori_archive::Archive;
use fluxori_core::id::GLOBAL_KEY;
use fluxori_ledger::Checkpoint;
use fluxori_stream::{Range, committed_offsets, delete_before};
use serde::Serialize;

use crate::archive::{extend, verify};
use crate::error::CliError;
use crate::output::table;
use crate::session::{Session, watermarks};

/// How long the consumers may take to come to the copies of the genesis.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct TrimArguments {
    /// The folder of the archive; what it lacks is added first
    #[arg(long, value_name = "FOLDER")]
    archive: PathBuf,
    /// Only say what could be deleted
    #[arg(long)]
    dry_run: bool,
    /// Keep what a rebuild from this checkpoint reads, so that it needs no archive
    #[arg(long, value_name = "FOLDER")]
    checkpoint: Vec<PathBuf>,
    /// There is no analytics consumer that could need the records
    #[arg(long)]
    without_analytics: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    dry_run: bool,
    deleted: i64,
    partitions: Vec<PartitionAnswer>,
}

#[derive(Debug, Serialize)]
struct PartitionAnswer {
    partition: i32,
    /// Where the log began before.
    began_at: i64,
    /// Where it begins now, or would at most.
    begins_at: i64,
    deleted: i64,
    /// What keeps later records in the log.
    kept_for: &'static str,
}

/// What must stay in the log of one partition, and for whom.
#[derive(Debug, Clone, Copy)]
struct Needed {
    offset: i64,
    by: &'static str,
}

pub(crate) async fn run(session: &Session, arguments: &TrimArguments) -> Result<(), CliError> {
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let partitions: BTreeSet<i32> = (0..reader.partitions().await?).collect();
    let archive = Archive::open_of_log(&arguments.archive, log.digest)?;
    let archive = if arguments.dry_run {
        archive
    } else {
        let copies = publish_copies(session, &archive, &partitions).await?;
        wait_until_passed(session, arguments, &copies).await?;
        extend(&arguments.archive, log.digest, &reader, &partitions, i64::MAX).await?.0
    };
    let needed = needed(session, arguments, &partitions).await?;
    let verified = verify(&archive, &partitions, &reader).await?;
    let mut answer = Answer { dry_run: arguments.dry_run, deleted: 0, partitions: Vec::new() };
    let mut cuts = BTreeMap::new();
    for partition in verified {
        let began_at = watermarks(&reader, partition.partition).await?.low;
        let Some(Needed { offset, by }) = needed.get(&partition.partition).copied() else { continue };
        // What a dry run would publish comes behind everything, so all that is not needed could go.
        let cut = if arguments.dry_run { Some(offset.min(partition.end_offset)) } else { None };
        let cut = cut.or_else(|| partition.beginnings.iter().copied().filter(|copy| *copy <= offset).max());
        let begins_at = cut.unwrap_or_default().max(began_at);
        let deleted = begins_at - began_at;
        if deleted > 0 {
            cuts.insert(partition.partition, begins_at);
        }
        answer.deleted += deleted;
        let partition = partition.partition;
        answer.partitions.push(PartitionAnswer { partition, began_at, begins_at, deleted, kept_for: by });
    }
    if !arguments.dry_run && !cuts.is_empty() {
        let kafka = session.kafka()?;
        delete_before(&kafka.brokers, &kafka.topic, &cuts).await?;
    }
    session.output.print(&answer, text)
}

/// Publishes a copy of the genesis into every partition, and says where they lie.
async fn publish_copies(
    session: &Session,
    archive: &Archive,
    partitions: &BTreeSet<i32>,
) -> Result<BTreeMap<i32, i64>, CliError> {
    let publisher = session.publisher()?;
    let mut copies = BTreeMap::new();
    for partition in partitions.iter().copied() {
        let genesis = genesis(archive, partition).await?;
        let position = publisher.publish(partition, GLOBAL_KEY.as_bytes(), &genesis).await?;
        copies.insert(position.partition, position.offset);
    }
    Ok(copies)
}

/// The value of a partition's first record.
async fn genesis(archive: &Archive, partition: i32) -> Result<Vec<u8>, CliError> {
    let first = archive.scan(&[Range { partition, start: 0, end: 1 }], 1).next().await?;
    let value = first.as_ref().and_then(|batch| batch.iter().next()).and_then(|record| record.value);
    value.map(<[u8]>::to_vec).ok_or_else(|| {
        CliError::Refused(format!(
            "the archive has no records of partition {partition}; run `credits log archive --to` for all partitions"
        ))
    })
}

async fn wait_until_passed(
    session: &Session,
    arguments: &TrimArguments,
    copies: &BTreeMap<i32, i64>,
) -> Result<(), CliError> {
    let partitions = copies.keys().copied().collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let needed = needed(session, arguments, &partitions).await?;
        let behind = copies.iter().find_map(|(partition, copy)| {
            let needed = needed.get(partition).filter(|needed| needed.by != CHECKPOINT)?;
            (needed.offset < *copy).then_some((*partition, *needed))
        });
        let Some((partition, needed)) = behind else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(CliError::NotYet(format!(
                "partition {partition}: {} is at offset {} and has not come to the end of the log within {} s; run this \
                 again when it has (or with --without-analytics, if there is no analytics consumer)",
                needed.by,
                needed.offset,
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const LEDGER: &str = "the ledger";
const ANALYTICS: &str = "the analytics consumer";
const CHECKPOINT: &str = "a checkpoint";

/// By partition, the first offset that somebody needs in the log.
async fn needed(
    session: &Session,
    arguments: &TrimArguments,
    partitions: &BTreeSet<i32>,
) -> Result<BTreeMap<i32, Needed>, CliError> {
    let cursors = session.ledger().await?.cursors().await?;
    let analytics = if arguments.without_analytics {
        None
    } else {
        let (kafka, group) = (session.kafka()?, &session.config.analytics.group);
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        Some(committed_offsets(&kafka.brokers, &kafka.topic, group, count).await?)
    };
    let checkpoints: Vec<Checkpoint> =
        arguments.checkpoint.iter().map(|folder| Checkpoint::open(folder)).collect::<Result<_, _>>()?;
    let mut needed = BTreeMap::new();
    for partition in partitions.iter().copied() {
        let cursor = cursors.iter().find(|cursor| cursor.partition == partition);
        // The last record applied is compared at every take-over.
        let ledger = cursor.map_or(0, |cursor| cursor.cursor.next_offset.saturating_sub(1));
        let mut least = Needed { offset: ledger, by: LEDGER };
        if let Some(analytics) = &analytics {
            let offset = analytics.get(&partition).copied().unwrap_or(0);
            if offset < least.offset {
                least = Needed { offset, by: ANALYTICS };
            }
        }
        for checkpoint in &checkpoints {
            let offset = checkpoint.cursors().get(&partition).copied().unwrap_or(0).saturating_sub(1).max(0);
            if offset < least.offset {
                least = Needed { offset, by: CHECKPOINT };
            }
        }
        needed.insert(partition, least);
    }
    Ok(needed)
}

fn text(answer: &Answer) -> String {
    let rows = answer.partitions.iter().map(|partition| {
        [
            partition.partition.to_string(),
            partition.began_at.to_string(),
            partition.begins_at.to_string(),
            partition.deleted.to_string(),
            partition.kept_for.to_owned(),
        ]
    });
    let header = ["partition", "began at", "begins at", "deleted", "the rest is kept for"];
    let partitions = table(header, &[0, 1, 2, 3], rows);
    let done = if answer.dry_run {
        format!("{} records could be deleted from the log; nothing was done.", answer.deleted)
    } else {
        format!("{} records were deleted from the log; the archive has them.", answer.deleted)
    };
    format!("{partitions}\n\n{done}")
}
