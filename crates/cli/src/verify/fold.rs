//! The whole log, folded in memory.

use std::collections::BTreeMap;

use fluxori_archive::{Source, SourceScan};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, FoldError, PartitionFold, Past};
use fluxori_core::id::{GLOBAL_KEY, OrgId};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Changes, Contents, PartitionCursor, RawRecord};
use fluxori_stream::{Batch, Range, Record};
use indicatif::ProgressBar;

use crate::error::CliError;
use crate::progress;

/// Records in one batch of the scan.
const BATCH: usize = 5_000;

/// What the log folds to.
#[derive(Default)]
pub(super) struct Folds {
    /// Each partition's fold.
    pub(super) partitions: BTreeMap<i32, PartitionFold>,
    /// What the rows of the ledger must hold.
    pub(super) contents: Contents,
}

/// Folds every partition from its first record up to its cursor; of one org only, if it is named.
pub(super) async fn fold(
    source: &Source,
    pinned: Option<Digest>,
    cursors: &[PartitionCursor],
    only: Option<&OrgId>,
) -> Result<Folds, CliError> {
    let mut folds = Folds::default();
    let mut folding = Folding::begin(source, pinned, cursors, only).await?;
    while let Some((partition, changes)) = folding.next().await? {
        folds.contents.add(partition, &changes)?;
    }
    let folded = folding.partitions.into_iter();
    folds.partitions = folded.map(|(partition, folded)| (partition, folded.fold)).collect();
    Ok(folds)
}

/// A fold under way, batch by batch.
pub(super) struct Folding {
    scan: SourceScan,
    partitions: BTreeMap<i32, Folded>,
    progress: ProgressBar,
}

/// One partition's fold and all that it knows of the past.
struct Folded {
    fold: PartitionFold,
    past: Past,
    /// The org whose records are folded, if not all are.
    only: Option<OrgId>,
}

impl Folding {
    pub(super) async fn begin(
        source: &Source,
        pinned: Option<Digest>,
        cursors: &[PartitionCursor],
        only: Option<&OrgId>,
    ) -> Result<Self, CliError> {
        let mut partitions = BTreeMap::new();
        let mut ranges = Vec::new();
        for cursor in cursors {
            let context = Context::new(cursor.partition, pinned);
            let fold = PartitionFold::new(context, Counters::default(), Digest::default());
            let folded = Folded { fold, past: Past::default(), only: only.cloned() };
            partitions.insert(cursor.partition, folded);
            ranges.push(Range { partition: cursor.partition, start: 0, end: cursor.cursor.next_offset });
        }
        let total = ranges.iter().map(|range| range.end - range.start).sum();
        let progress = progress::records("looking for corrections", total);
        let mut scan = source.scan(&ranges, BATCH).await?;
        while let Some(batch) = scan.next().await? {
            let Some(folded) = partitions.get_mut(&batch.partition()) else { continue };
            folded.watch(&batch);
            progress.inc(progress::count(batch.len()));
        }
        progress.finish_and_clear();
        let progress = progress::records("folding the log", total);
        Ok(Self { progress, scan: source.scan(&ranges, BATCH).await?, partitions })
    }

    /// Folds the next batch of any partition; none if all are at their cursors.
    pub(super) async fn next(&mut self) -> Result<Option<(i32, Changes)>, CliError> {
        while let Some(batch) = self.scan.next().await? {
            let Some(folded) = self.partitions.get_mut(&batch.partition()) else { continue };
            let changes = folded.apply(&batch)?;
            self.progress.inc(u64::try_from(batch.len()).unwrap_or_default());
            return Ok(Some((batch.partition(), changes)));
        }
        self.progress.finish_and_clear();
        Ok(None)
    }
}

/// Whether a record counts where only those of one org are folded: its own, and what holds for every org.
fn is_folded(only: Option<&OrgId>, raw: &Record<'_>) -> bool {
    only.is_none_or(|org| {
        raw.key.is_some_and(|key| key == org.as_str().as_bytes() || key == GLOBAL_KEY.as_bytes())
    })
}

impl Folded {
    /// Notes which events later records correct, supersede or release: of them all is kept, of the others the id.
    fn watch(&mut self, batch: &Batch) {
        for raw in batch.iter().filter(|raw| is_folded(self.only.as_ref(), raw)) {
            let append_time = Timestamp::from_millis(raw.append_time_ms);
            let record = fluxori_wire::decode(raw.key, raw.value, append_time);
            for (org, event) in Past::to_watch(&record) {
                self.fold.watch(&mut self.past, org, event);
            }
        }
    }

    fn apply(&mut self, batch: &Batch) -> Result<Changes, CliError> {
        let mut changes = Changes::default();
        for raw in batch.iter() {
            let offset = raw.offset;
            let append_time = Timestamp::from_millis(raw.append_time_ms);
            if !is_folded(self.only.as_ref(), &raw) {
                self.fold.leave_out(append_time);
                continue;
            }
            let record = fluxori_wire::decode(raw.key, raw.value, append_time);
            let applied = self.fold.apply(&mut self.past, &record).map_err(|error| match error {
                FoldError::Halt(halt) => CliError::from(halt),
                FoldError::NotLoaded(_) => {
                    CliError::Refused(format!("partition {} offset {offset}: {error}", batch.partition()))
                }
            })?;
            let raw = RawRecord { offset, key: raw.key, value: raw.value };
            changes.add(raw, &record, applied, self.fold.context());
        }
        self.fold.drain_touched(|state| changes.add_state(state));
        Ok(changes)
    }
}
