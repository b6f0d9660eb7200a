//! The whole log, folded in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, FoldError, PartitionFold, Past};
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{PartitionCursor, digest_word};
use fluxori_stream::{Batch, LogReader, Range};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::CliError;

/// Records in one batch of the scan.
const BATCH: usize = 5_000;

/// What the log folds to.
pub(super) struct Folds {
    /// Each partition's fold.
    pub(super) partitions: BTreeMap<i32, Folded>,
    /// The digests of all postings of the org that is watched, in order.
    pub(super) digests: Vec<Digest>,
}

/// One partition's fold and all that it knows of the past.
pub(super) struct Folded {
    pub(super) fold: PartitionFold,
    /// The words of each org's postings, exclusive-or.
    pub(super) digest_words: HashMap<OrgId, i64>,
    past: Past,
}

/// Folds every partition from its first record up to its cursor; `watched` is the org whose digests are kept.
pub(super) async fn fold(
    reader: &LogReader,
    pinned: Option<Digest>,
    cursors: &[PartitionCursor],
    watched: Option<&OrgId>,
) -> Result<Folds, CliError> {
    let mut folds = Folds { partitions: BTreeMap::new(), digests: Vec::new() };
    let mut ranges = Vec::new();
    for cursor in cursors {
        let context = Context::new(cursor.partition, pinned);
        let fold = PartitionFold::new(context, Counters::default(), Digest::default());
        folds
            .partitions
            .insert(cursor.partition, Folded { fold, digest_words: HashMap::new(), past: Past::default() });
        ranges.push(Range { partition: cursor.partition, start: 0, end: cursor.cursor.next_offset });
    }
    let progress = progress(&ranges);
    let mut scan = reader.scan(&ranges, BATCH)?;
    while let Some(batch) = scan.next().await? {
        let Some(folded) = folds.partitions.get_mut(&batch.partition()) else { continue };
        apply(folded, &batch, watched, &mut folds.digests)?;
        progress.inc(u64::try_from(batch.len()).unwrap_or_default());
    }
    progress.finish_and_clear();
    Ok(folds)
}

fn apply(
    folded: &mut Folded,
    batch: &Batch,
    watched: Option<&OrgId>,
    digests: &mut Vec<Digest>,
) -> Result<(), CliError> {
    for record in batch.iter() {
        let append_time = Timestamp::from_millis(record.append_time_ms);
        let decoded = fluxori_wire::decode(record.key, record.value, append_time);
        let applied = folded.fold.apply(&mut folded.past, &decoded).map_err(|error| match error {
            FoldError::Halt(halt) => CliError::from(halt),
            FoldError::NotLoaded(_) => CliError::Refused(format!(
                "partition {} offset {}: {error}",
                batch.partition(),
                record.offset
            )),
        })?;
        for posting in &applied.postings {
            match folded.digest_words.get_mut(&posting.org) {
                Some(words) => *words ^= digest_word(posting.digest),
                None => _ = folded.digest_words.insert(posting.org.clone(), digest_word(posting.digest)),
            }
        }
        let watched = applied.postings.iter().filter(|posting| Some(&posting.org) == watched);
        digests.extend(watched.map(|posting| posting.digest));
    }
    Ok(())
}

/// A bar on standard error, if that is a terminal.
fn progress(ranges: &[Range]) -> ProgressBar {
    let total: i64 = ranges.iter().map(|range| range.end - range.start).sum();
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or_default());
    let style = "folding the log {wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
