//! `credits log archive`: the log in files, and whether these are what the log held.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use fluxori_archive::{Archive, Archiver, VerifiedPartition};
use fluxori_core::digest::Digest;
use fluxori_stream::{LogReader, Range, Watermarks};
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::progress;
use crate::session::{Session, watermarks};

/// Records in one batch of the scan.
const BATCH: usize = 5_000;

#[derive(Debug, Args)]
pub(crate) struct ArchiveArguments {
    /// Add to the archive in this folder what the log holds and it lacks; made if it is missing
    #[arg(long, value_name = "FOLDER", required_unless_present = "verify")]
    to: Option<PathBuf>,
    /// Read the archive in this folder back, and compare it with the log where that still holds the records
    #[arg(long, value_name = "FOLDER", conflicts_with = "to")]
    verify: Option<PathBuf>,
    /// Only these partitions [default: all]
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    partition: Vec<i32>,
    /// Archive records before this offset only [default: all that the log holds now]
    #[arg(long, value_name = "OFFSET", conflicts_with = "verify")]
    until: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Answer {
    folder: String,
    genesis: Digest,
    /// Records added by this run, or read back.
    records: i64,
    partitions: Vec<PartitionAnswer>,
}

#[derive(Debug, Serialize)]
struct PartitionAnswer {
    partition: i32,
    /// Records that this run added.
    added: i64,
    end_offset: i64,
    files: usize,
    digest: Digest,
    /// Records that the log still holds and holds alike; only of a verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<i64>,
}

pub(crate) async fn run(session: &Session, arguments: &ArchiveArguments) -> Result<(), CliError> {
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let all = 0..reader.partitions().await?;
    if let Some(unknown) = arguments.partition.iter().find(|partition| !all.contains(partition)) {
        return Err(CliError::Refused(format!(
            "there is no partition {unknown}: the log has partitions 0 to {}",
            all.end - 1
        )));
    }
    let wanted: BTreeSet<i32> = if arguments.partition.is_empty() {
        all.collect()
    } else {
        arguments.partition.iter().copied().collect()
    };
    if let Some(folder) = &arguments.verify {
        let archive = Archive::open_of_log(folder, log.digest)?;
        let verified = verify(&archive, &wanted, &reader).await?;
        let answer = Answer {
            folder: folder.display().to_string(),
            genesis: log.digest,
            records: verified.iter().map(|partition| partition.end_offset).sum(),
            partitions: verified.iter().map(|partition| verified_answer(&archive, partition)).collect(),
        };
        return session.output.print(&answer, verified_text);
    }
    let Some(folder) = &arguments.to else { return Ok(()) };
    let (archive, added) =
        extend(folder, log.digest, &reader, &wanted, arguments.until.unwrap_or(i64::MAX)).await?;
    let partitions: Vec<_> = added.iter().map(|range| added_answer(&archive, range)).collect();
    let answer = Answer {
        folder: folder.display().to_string(),
        genesis: log.digest,
        records: partitions.iter().map(|partition| partition.added).sum(),
        partitions,
    };
    session.output.print(&answer, added_text)
}

/// Adds what the log holds now and the archive lacks, of some partitions and before an offset; says what it was.
pub(crate) async fn extend(
    folder: &Path,
    genesis: Digest,
    reader: &LogReader,
    partitions: &BTreeSet<i32>,
    until: i64,
) -> Result<(Archive, Vec<Range>), CliError> {
    let mut archiver = Archiver::open(folder, genesis)?;
    let ranges = lacking(folder, &archiver.archive(), reader, partitions, until).await?;
    let bar = progress::records("archiving", ranges.iter().map(|range| range.end - range.start).sum());
    let mut scan = reader.scan(&ranges, BATCH)?;
    while let Some(batch) = scan.next().await? {
        archiver.append(&batch)?;
        bar.inc(progress::count(batch.len()));
    }
    let archive = archiver.finish()?;
    bar.finish_and_clear();
    Ok((archive, ranges))
}

/// What the log holds now and the archive lacks, of some partitions and before an offset; refuses an archive that cannot go on where it ends.
pub(crate) async fn lacking(
    folder: &Path,
    archive: &Archive,
    reader: &LogReader,
    partitions: &BTreeSet<i32>,
    until: i64,
) -> Result<Vec<Range>, CliError> {
    let mut ranges = Vec::new();
    for partition in partitions.iter().copied() {
        let start = archive.end(partition);
        let Watermarks { low, high } = watermarks(reader, partition).await?;
        let end = high.min(until).max(start);
        if start < low && start < end {
            return Err(CliError::Refused(format!(
                "partition {partition}: the archive in {} ends before offset {start} and the log begins at {low}: offsets \
                 {start} to {} are in another archive, or lost; go on with the archive that ends at {low} or later",
                folder.display(),
                low - 1
            )));
        }
        ranges.push(Range { partition, start, end });
    }
    Ok(ranges)
}

/// Reads partitions of an archive back and compares them with the log.
pub(crate) async fn verify(
    archive: &Archive,
    partitions: &BTreeSet<i32>,
    reader: &LogReader,
) -> Result<Vec<VerifiedPartition>, CliError> {
    let wanted: Vec<i32> = archive.partitions().filter(|partition| partitions.contains(partition)).collect();
    let bar = progress::records(
        "reading the archive",
        wanted.iter().map(|partition| archive.end(*partition)).sum(),
    );
    let mut verified = Vec::new();
    for partition in wanted {
        let seen = |records| bar.inc(progress::count(records));
        verified.push(fluxori_archive::verify(archive, partition, Some(reader), seen).await?);
    }
    bar.finish_and_clear();
    Ok(verified)
}

fn added_answer(archive: &Archive, range: &Range) -> PartitionAnswer {
    PartitionAnswer {
        partition: range.partition,
        added: range.end - range.start,
        end_offset: archive.end(range.partition),
        files: archive.files(range.partition),
        digest: archive.digest(range.partition),
        compared: None,
    }
}

fn verified_answer(archive: &Archive, verified: &VerifiedPartition) -> PartitionAnswer {
    PartitionAnswer {
        partition: verified.partition,
        added: 0,
        end_offset: verified.end_offset,
        files: archive.files(verified.partition),
        digest: verified.digest,
        compared: Some(verified.compared),
    }
}

fn added_text(answer: &Answer) -> String {
    let rows = answer.partitions.iter().map(|partition| {
        [
            partition.partition.to_string(),
            partition.added.to_string(),
            partition.end_offset.to_string(),
            partition.files.to_string(),
        ]
    });
    let partitions = table(["partition", "added", "ends before", "files"], &[0, 1, 2, 3], rows);
    format!("{partitions}\n\n{} records were added to the archive in {}.", answer.records, answer.folder)
}

fn verified_text(answer: &Answer) -> String {
    let rows = answer.partitions.iter().map(|partition| {
        [
            partition.partition.to_string(),
            partition.end_offset.to_string(),
            partition.compared.unwrap_or_default().to_string(),
            partition.files.to_string(),
        ]
    });
    let partitions = table(["partition", "records", "in the log, too", "files"], &[0, 1, 2, 3], rows);
    format!(
        "{partitions}\n\nThe archive in {} is whole: {} records from the genesis on, every digest right, and equal to the \
         log where that still holds them.",
        answer.folder, answer.records
    )
}
