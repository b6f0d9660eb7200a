//! One batch: what it needs of the past, and what folding it changes. No I/O.

use std::borrow::Cow;
use std::collections::BTreeSet;

use fluxori_core::digest::Digest;
use fluxori_core::fold::{FoldError, Outcome, PartitionFold, Past};
use fluxori_core::id::OrgId;
use fluxori_core::record::{Body, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{
    BatchWrite, CommandRow, Cursor, GlobalRecord, Loaded, Needed, PostingRow, QuarantineRow, WaitingRecord,
};
use fluxori_stream::Batch;

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

    /// What must be loaded before the batch can be folded. `is_known` says of which orgs the state, or that they are
    /// not open, is in memory. Only orgs whose records these are count: a misplaced record must not bring another
    /// partition's org in here.
    pub(crate) fn needed(&self, fold: &PartitionFold, is_known: impl Fn(&OrgId) -> bool) -> Needed {
        let mut needed = Needed::default();
        let mut context = Cow::Borrowed(fold.context());
        if let (None, Some(genesis)) = (context.log(), self.records.first()) {
            // Where the genesis is no genesis, folding says so.
            _ = context.to_mut().admit(&mut Past::default(), genesis);
        }
        for record in &self.records {
            let Some(org) = context.owner(record) else { continue };
            match &record.body {
                Body::Usage(event) => needed.events.push((org.clone(), event.event_id)),
                Body::Command(signed) => needed.commands.push((org.clone(), signed.command.command_id)),
                Body::Tick | Body::Unreadable(..) => {}
            }
            needed.orgs.insert(org.clone());
        }
        if self.records.iter().any(|record| record.body == Body::Tick) {
            needed.orgs.extend(fold.due_orgs(self.latest().max(fold.context().now())).cloned());
        }
        needed.orgs.retain(|org| !is_known(org));
        needed
    }
}

/// What admission knows of the past, and which orgs are known not to be open.
pub(crate) struct Memory {
    past: Past,
    unopened: BTreeSet<OrgId>,
    bounds: Bounds,
}

/// More orgs or ids than this in memory, and all are forgotten and loaded again as they are needed.
#[derive(Clone, Copy)]
struct Bounds {
    orgs: usize,
    events: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::bounded(Bounds { orgs: 50_000, events: 500_000 })
    }
}

impl Memory {
    fn bounded(bounds: Bounds) -> Self {
        Self { past: Past::default(), unopened: BTreeSet::new(), bounds }
    }

    pub(crate) fn knows(&self, fold: &PartitionFold, org: &OrgId) -> bool {
        fold.is_loaded(org) || self.unopened.contains(org)
    }

    /// Takes in what was loaded.
    pub(crate) fn remember(&mut self, fold: &mut PartitionFold, needed: &Needed, loaded: Loaded) {
        self.unopened.extend(needed.orgs.iter().cloned());
        for state in loaded.orgs {
            self.unopened.remove(&state.org);
            self.past.add_open_org(state.org.clone());
            fold.load(state);
        }
        for WaitingRecord { append_time, key, value } in loaded.waiting {
            let record = fluxori_wire::decode(key.as_deref(), value.as_deref(), append_time);
            if let Body::Usage(event) = record.body
                && self.unopened.contains(&event.org_id)
            {
                self.past.add_waiting(*event);
            }
        }
        for (org, event, digest) in loaded.events {
            self.past.add_event(org, event, digest);
        }
        for (org, command, digest) in loaded.commands {
            self.past.add_command(org, command, digest);
        }
    }

    /// Keeps memory within bounds, between batches.
    pub(crate) fn trim(&mut self, fold: &mut PartitionFold) {
        if fold.orgs().count() + self.unopened.len() > self.bounds.orgs {
            fold.forget_orgs();
            *self = Self::bounded(self.bounds);
        } else if self.past.event_count() > self.bounds.events {
            self.past.forget_events();
        }
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
        allocations: Vec::new(),
        commands: Vec::new(),
        quarantine: Vec::new(),
        released: Vec::new(),
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
            Outcome::Command { org, opened, released, .. } => {
                if opened {
                    memory.unopened.remove(&org);
                }
                write.released.extend(released.into_iter().map(|event| (org.clone(), event)));
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
            Outcome::Debited | Outcome::Tick | Outcome::Duplicate(_) => {}
        }
        // At every seal, not once a batch: a later revision may replace prices that postings name.
        if fold.context().rates().revisions().len() != revisions {
            revisions = fold.context().rates().revisions().len();
            write.tiers.extend(fold.context().rates().tiers());
        }
    }
    fold.drain_touched(|state| {
        let changed = state.take_changed();
        write.allocations.extend(changed.into_iter().map(|allocation| (state.org.clone(), allocation)));
        write.orgs.push(state.clone());
    });
    write.cursor.log_time = fold.context().now();
    write.cursor.outcomes = fold.outcomes();
    write.cursor.counters = fold.counters();
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
