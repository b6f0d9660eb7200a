//! One batch: what it needs of the past, and what folding it changes. No I/O.

mod memory;

use std::borrow::Cow;

use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, FoldError, Halt, PartitionFold, Past};
use fluxori_core::record::Record;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{BatchWrite, Changes, Cursor, OrgRow, RawRecord};
use fluxori_stream::Batch;

pub use memory::Bounds;
pub(crate) use memory::{BatchNumber, Memory};

/// A batch with its records decoded.
pub(crate) struct Decoded {
    pub(crate) batch: Batch,
    records: Vec<Record>,
}

impl Decoded {
    pub(crate) fn new(batch: Batch) -> Self {
        let records = batch
            .iter()
            .map(|raw| fluxori_wire::decode(raw.key, raw.value, Timestamp::from_millis(raw.append_time_ms)))
            .collect();
        Self { batch, records }
    }

    /// The latest append time.
    pub(crate) fn latest(&self) -> Timestamp {
        self.records.iter().map(|record| record.append_time).max().unwrap_or(Timestamp::MIN)
    }

    /// Whether a record of the batch corrects, supersedes or releases an event.
    pub(crate) fn watches(&self) -> bool {
        self.records.iter().any(|record| Past::to_watch(record).next().is_some())
    }

    /// The context in which the batch is read; of a log's first batch, after its genesis.
    fn context<'fold>(&self, fold: &'fold PartitionFold) -> Cow<'fold, Context> {
        let mut context = Cow::Borrowed(fold.context());
        if let (None, Some(genesis)) = (context.log(), self.records.first()) {
            // Where the genesis is no genesis, folding says so.
            _ = context.to_mut().admit(&mut Past::default(), genesis);
        }
        context
    }
}

/// Folds a batch whose needs are loaded.
///
/// # Errors
/// The partition cannot go on; the fold must be thrown away.
pub(crate) fn fold(
    fold: &mut PartitionFold,
    memory: &mut Memory,
    decoded: &Decoded,
    epoch: i64,
) -> Result<BatchWrite, FoldError> {
    let Decoded { batch, records } = decoded;
    let mut write = BatchWrite {
        partition: batch.partition(),
        epoch,
        start_offset: batch.start(),
        cursor: Cursor {
            next_offset: batch.end(),
            log_time: Timestamp::MIN,
            last_append_time: records.last().map_or(Timestamp::MIN, |record| record.append_time),
            last_record_digest: last_record_digest(batch),
            outcomes: Digest::default(),
            counters: fold.counters(),
        },
        orgs: Vec::new(),
        changes: Changes { postings: Vec::with_capacity(records.len()), ..Changes::default() },
    };
    for (raw, record) in batch.iter().zip(records) {
        let applied = fold.apply(&mut memory.past, record)?;
        let raw = RawRecord { offset: raw.offset, key: raw.key, value: raw.value };
        write.changes.add(raw, record, applied, fold.context());
    }
    let mut beyond = None;
    fold.drain_touched(|state| {
        write.changes.add_state(state);
        state.forget_closed();
        match OrgRow::of(state) {
            Ok(row) => write.orgs.push(row),
            Err(_) => beyond = Some(state.org().to_string()),
        }
    });
    if let Some(org) = beyond {
        return Err(Halt::OutOfRange { org }.into());
    }
    fold.forget_watched(&mut memory.past);
    write.cursor.log_time = fold.context().now();
    write.cursor.outcomes = fold.outcomes();
    write.cursor.counters = fold.counters();
    memory.learn(&write);
    Ok(write)
}

/// Digest over key and value of the last record of a batch.
pub(crate) fn last_record_digest(batch: &Batch) -> Digest {
    batch.iter().last().map_or_else(Digest::default, |record| record_digest(record.key, record.value))
}

fn record_digest(key: Option<&[u8]>, value: Option<&[u8]>) -> Digest {
    fluxori_core::digest::Canonical::new("fluxori.record.v1")
        .bytes(key.unwrap_or_default())
        .bytes(value.unwrap_or_default())
        .digest()
}

#[cfg(test)]
mod tests;
