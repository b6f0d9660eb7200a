//! One batch: what it needs of the past, and what folding it changes. No I/O.

mod memory;

use std::borrow::Cow;

use fluxori_core::command::CommandBody;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, FoldError, Outcome, PartitionFold, Past};
use fluxori_core::record::{Body, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{BatchWrite, CommandRow, Cursor, GlobalRecord, PostingRow, QuarantineRow};
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
        self.records.iter().any(|record| Past::to_watch(record).is_some())
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
    let mut revisions = fold.context().rates().revisions().len();
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
        postings: Vec::with_capacity(records.len()),
        orgs: Vec::new(),
        plans: Vec::new(),
        allocations: Vec::new(),
        commands: Vec::new(),
        quarantine: Vec::new(),
        released: Vec::new(),
        dismissed: Vec::new(),
        waiting_corrections: Vec::new(),
        corrected: Vec::new(),
        globals: Vec::new(),
        tiers: Vec::new(),
    };
    for (raw, record) in batch.iter().zip(records) {
        let applied = fold.apply(&mut memory.past, record)?;
        let offset = raw.offset;
        let recorded_at = fold.context().now();
        write.postings.extend(applied.postings.into_iter().map(|posting| PostingRow { offset, posting }));
        write.commands.extend(CommandRow::of(record, &applied.outcome, offset, recorded_at));
        match applied.outcome {
            Outcome::Command { org, released, waits, rejection, .. } => {
                let released = released.into_iter();
                write.released.extend(released.map(|(event, digest)| (org.clone(), event, digest)));
                if rejection.is_none() {
                    settle_quarantine_and_corrections(&mut write, record, raw.value, offset, waits);
                }
            }
            Outcome::Global(_) => {
                debug_assert_eq!(record.key, RecordKey::Global, "global commands lie under the reserved key");
                write.globals.push(GlobalRecord {
                    offset,
                    append_time: record.append_time,
                    value: raw.value.unwrap_or_default().to_vec(),
                });
            }
            Outcome::Quarantined(quarantined) => write.quarantine.push(QuarantineRow {
                offset,
                append_time: record.append_time,
                key: raw.key.map(<[u8]>::to_vec),
                value: raw.value.map(<[u8]>::to_vec),
                quarantined,
            }),
            Outcome::Debited | Outcome::Superseded | Outcome::Tick | Outcome::Duplicate(_) => {}
        }
        // At every seal, not once a batch: a later revision may replace prices that postings name.
        if fold.context().rates().revisions().len() != revisions {
            revisions = fold.context().rates().revisions().len();
            write.tiers.extend(fold.context().rates().tiers());
        }
    }
    fold.drain_touched(|state| {
        let changed = state.take_changed();
        write.allocations.extend(changed.into_iter().map(|allocation| (state.org().clone(), allocation)));
        if state.take_plan_change() {
            write.plans.push((state.org().clone(), state.record.plan.clone()));
        }
        write.orgs.push(state.clone());
    });
    write.corrected = fluxori_ledger::corrected(&write.postings);
    fold.forget_watched(&mut memory.past);
    write.cursor.log_time = fold.context().now();
    write.cursor.outcomes = fold.outcomes();
    write.cursor.counters = fold.counters();
    memory.learn(&write);
    Ok(write)
}

/// What commands that were carried out do beside their postings.
fn settle_quarantine_and_corrections(
    write: &mut BatchWrite,
    record: &Record,
    value: Option<&[u8]>,
    offset: i64,
    waits: bool,
) {
    let Body::Command(signed) = &record.body else { return };
    match &signed.command.body {
        CommandBody::Dismiss(org, dismiss) => write.dismissed.push((org.clone(), dismiss.offset)),
        CommandBody::Correct(org, correct) if waits => {
            let value = value.unwrap_or_default().to_vec();
            write.waiting_corrections.push((org.clone(), correct.event_id, offset, value));
        }
        _ => {}
    }
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
