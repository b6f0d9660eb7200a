//! `credits log trim`: deletes from the log what a verified archive holds and nobody needs there any more.
//!
//! The log must go on to say which log it is, so it is cut off just before a copy of its genesis, which `trim` publishes
//! into every partition first; the ledger counts it as a duplicate. What lies behind that copy stays: the last record
//! that the ledger applied, which every take-over compares, and all that the analytics consumer has yet to read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use fluxori_archive::{Archive, VerifiedPartition};
use fluxori_core::id::GLOBAL_KEY;
use fluxori_ledger::Checkpoint;
use fluxori_stream::{LogReader, Range, committed_offsets, delete_before};
use serde::Serialize;

use crate::archive::{extend, lacking, verify};
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
    /// Only say what would be deleted
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
    /// Where it begins now, or would.
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
    let geneses = geneses(&archive, &partitions).await?;
    let cuts = if arguments.dry_run {
        lacking(&arguments.archive, &archive, &reader, &partitions, i64::MAX).await?;
        let verified = verify(&archive, &partitions, &reader).await?;
        foreseen(&reader, &geneses, verified, &checkpoints(&arguments.checkpoint)?).await?
    } else {
        let copies = publish_copies(session, &geneses).await?;
        wait_until_passed(session, arguments, &copies).await?;
        let archive = extend(&arguments.archive, log.digest, &reader, &partitions, i64::MAX).await?.0;
        let needed = needed(session, arguments, &partitions).await?;
        let verified = verify(&archive, &partitions, &reader).await?;
        verified.iter().filter_map(|found| Some(cut(found, *needed.get(&found.partition)?))).collect()
    };
    let mut answer = Answer { dry_run: arguments.dry_run, deleted: 0, partitions: Vec::new() };
    let mut before = BTreeMap::new();
    for Cut { partition, at, kept_for } in cuts {
        let began_at = watermarks(&reader, partition).await?.low;
        let begins_at = at.max(began_at);
        let deleted = begins_at - began_at;
        if deleted > 0 {
            before.insert(partition, begins_at);
        }
        answer.deleted += deleted;
        answer.partitions.push(PartitionAnswer { partition, began_at, begins_at, deleted, kept_for });
    }
    if !arguments.dry_run && !before.is_empty() {
        let kafka = session.kafka()?;
        delete_before(&kafka.brokers, &kafka.topic, &before).await?;
    }
    session.output.print(&answer, text)
}

/// Where the log of a partition is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    partition: i32,
    at: i64,
    kept_for: &'static str,
}

/// The last beginning behind which lies all that is needed.
fn cut(found: &VerifiedPartition, needed: Needed) -> Cut {
    let beginnings = found.beginnings.iter().copied();
    let at = beginnings.filter(|copy| *copy <= needed.offset).max().unwrap_or_default();
    Cut { partition: found.partition, at, kept_for: needed.by }
}

/// The cuts as they would be: a copy of the genesis at the end of each partition, to which ledger and analytics have come,
/// and the archive extended beyond it.
async fn foreseen(
    reader: &LogReader,
    geneses: &BTreeMap<i32, Vec<u8>>,
    verified: Vec<VerifiedPartition>,
    checkpoints: &[Checkpoint],
) -> Result<Vec<Cut>, CliError> {
    let mut cuts = Vec::new();
    for mut found in verified {
        let partition = found.partition;
        let end = watermarks(reader, partition).await?.high;
        let checkpoint = checkpoints.iter().map(|checkpoint| needed_by(checkpoint, partition)).min();
        let needed = match checkpoint {
            Some(offset) if offset < end => Needed { offset, by: CHECKPOINT },
            _ => Needed { offset: end, by: LEDGER },
        };
        // Copies that an earlier trim published and that are not in the archive yet.
        let range =
            Range { partition, start: found.end_offset, end: needed.offset.saturating_add(1).min(end) };
        if needed.by == CHECKPOINT && range.start < range.end {
            let genesis = geneses.get(&partition).map(Vec::as_slice);
            let mut scan = reader.scan(&[range], 5_000)?;
            while let Some(batch) = scan.next().await? {
                let copies = batch
                    .iter()
                    .filter(|record| record.key == Some(GLOBAL_KEY.as_bytes()) && record.value == genesis);
                found.beginnings.extend(copies.map(|record| record.offset));
            }
        }
        found.beginnings.push(end);
        cuts.push(cut(&found, needed));
    }
    Ok(cuts)
}

/// Publishes a copy of the genesis into every partition, and says where they lie.
async fn publish_copies(
    session: &Session,
    geneses: &BTreeMap<i32, Vec<u8>>,
) -> Result<BTreeMap<i32, i64>, CliError> {
    let publisher = session.publisher()?;
    let mut copies = BTreeMap::new();
    for (partition, genesis) in geneses {
        let position = publisher.publish(*partition, GLOBAL_KEY.as_bytes(), genesis).await?;
        copies.insert(position.partition, position.offset);
    }
    Ok(copies)
}

/// The values of the partitions' first records.
async fn geneses(archive: &Archive, partitions: &BTreeSet<i32>) -> Result<BTreeMap<i32, Vec<u8>>, CliError> {
    let mut geneses = BTreeMap::new();
    for partition in partitions.iter().copied() {
        let first = archive.scan(&[Range { partition, start: 0, end: 1 }], 1).next().await?;
        let value = first.as_ref().and_then(|batch| batch.iter().next()).and_then(|record| record.value);
        let value = value.ok_or_else(|| {
            CliError::Refused(format!(
                "the archive has no records of partition {partition}; run `credits log archive --to` for all partitions"
            ))
        })?;
        geneses.insert(partition, value.to_vec());
    }
    Ok(geneses)
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
    let checkpoints = checkpoints(&arguments.checkpoint)?;
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
            let offset = needed_by(checkpoint, partition);
            if offset < least.offset {
                least = Needed { offset, by: CHECKPOINT };
            }
        }
        needed.insert(partition, least);
    }
    Ok(needed)
}

fn checkpoints(folders: &[PathBuf]) -> Result<Vec<Checkpoint>, CliError> {
    Ok(folders.iter().map(|folder| Checkpoint::open(folder)).collect::<Result<_, _>>()?)
}

/// The first offset that a rebuild from a checkpoint reads.
fn needed_by(checkpoint: &Checkpoint, partition: i32) -> i64 {
    checkpoint.cursors().get(&partition).copied().unwrap_or(0).saturating_sub(1).max(0)
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
        format!(
            "{} records would be archived where they are not yet, and deleted from the log for good, once the ledger and the \
             analytics consumer have come to its end. Nothing was done.",
            answer.deleted
        )
    } else {
        format!("{} records were deleted from the log; the archive has them.", answer.deleted)
    };
    format!("{partitions}\n\n{done}")
}

#[cfg(test)]
mod tests {
    use fluxori_core::digest::Digest;

    use super::*;

    #[test]
    fn a_log_is_cut_off_before_the_last_copy_of_its_genesis_that_all_who_need_it_have_passed() {
        let found = VerifiedPartition {
            partition: 3,
            end_offset: 200,
            digest: Digest::default(),
            compared: 200,
            beginnings: vec![0, 90, 150],
        };
        let at = |offset| cut(&found, Needed { offset, by: LEDGER }).at;
        assert_eq!([89, 90, 149, 150, 500].map(at), [0, 90, 90, 150, 150]);
    }
}
