//! Pure: from the records of a range to what is stored of it, by the same admission as the ledger's.

use std::collections::BTreeMap;

use fluxori_analytics::{KeptKind, KeptRecord, KnownEvent, RangeRows, UsageAt};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Admission, AdmittedCommand, Context, Halt, KnownEvent as AdmittedEvent, Past};
use fluxori_core::id::{EventId, LogId};
use fluxori_core::record::{Body, QuarantineReason, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_stream::Batch;

/// Decides what the records of one partition are. What it says of a record depends on the log before it alone.
#[derive(Debug, Clone)]
pub struct Admitter {
    partition: i32,
    context: Context,
    past: Past,
}

/// How many records became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Usage admitted at once.
    pub usage: u64,
    /// Usage that had waited and was released.
    pub released: u64,
    /// Commands of orgs, rejected ones among them.
    pub commands: u64,
    /// Global commands and ticks.
    pub global: u64,
    /// Events and commands that were known already.
    pub duplicates: u64,
    /// Usage that waits for its org to be opened.
    pub waiting: u64,
    /// Everything else in the quarantine.
    pub quarantined: u64,
}

/// What was kept does not give a context.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log is not the one that is pinned, or too new.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// A kept record is not what it was kept as.
    #[error(
        "the record at offset {offset} of partition {partition} in admission_records is not what it was kept as"
    )]
    Changed {
        /// The partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// The group is further than the tables.
    #[error(
        "the group is at offset {start} of partition {partition}, but the tables hold nothing from before it: was the \
         database dropped, or is clickhouse.database wrong? To fill it anew, take another analytics.group"
    )]
    NothingKept {
        /// The partition.
        partition: i32,
        /// Where the group is.
        start: i64,
    },
}

impl Admitter {
    /// Goes on at offset `start`, where the running time is `now`, with the records kept of all before it. `pinned` is
    /// the digest of the log's genesis.
    ///
    /// # Errors
    /// The kept records are not a log's: see [`RestoreError`].
    pub fn restore(
        partition: i32,
        pinned: Digest,
        start: i64,
        now: Timestamp,
        kept: &[KeptRecord],
    ) -> Result<Self, RestoreError> {
        let mut admitter =
            Self { partition, context: Context::new(partition, Some(pinned)), past: Past::default() };
        for kept in kept {
            admitter.restore_one(kept)?;
        }
        if start > 0 && admitter.context.log().is_none() {
            return Err(RestoreError::NothingKept { partition, start });
        }
        admitter.context.resume_at(now);
        Ok(admitter)
    }

    fn restore_one(&mut self, kept: &KeptRecord) -> Result<(), RestoreError> {
        let changed = || RestoreError::Changed { partition: self.partition, offset: kept.offset };
        let record = fluxori_wire::decode(Some(&kept.key), Some(&kept.value), kept.append_time);
        match (kept.kind, &record.key, record.body) {
            (KeptKind::Global, key, body) => {
                let record = Record { key: key.clone(), append_time: kept.append_time, body };
                let admission = self.context.admit(&mut self.past, &record)?;
                matches!(admission, Admission::Global(_)).then_some(()).ok_or_else(changed)
            }
            (KeptKind::Opening, RecordKey::Org(org), _) => {
                self.past.add_open_org(org.clone());
                Ok(())
            }
            (KeptKind::Waiting, RecordKey::Org(_), Body::Usage(event)) => {
                self.past.add_waiting(*event);
                Ok(())
            }
            (KeptKind::Rejected, RecordKey::Org(org), Body::Command(signed)) => {
                self.past.add_command(org.clone(), signed.command.command_id, Digest::of(&signed.payload));
                Ok(())
            }
            _ => Err(changed()),
        }
    }

    /// The log's time: the latest append time so far.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// The log, once its genesis has been read.
    #[must_use]
    pub fn log_id(&self) -> Option<LogId> {
        self.context.log().map(|log| log.genesis.log_id)
    }

    /// The records of a batch, decoded.
    #[must_use]
    pub fn decode(batch: &Batch) -> Vec<Record> {
        let decode = |record: fluxori_stream::Record<'_>| {
            fluxori_wire::decode(record.key, record.value, Timestamp::from_millis(record.append_time_ms))
        };
        batch.iter().map(decode).collect()
    }

    /// The events whose ids decide what these records are: they must be looked up first. Those that wait for their org
    /// are known from the kept records.
    pub fn ids(records: &[Record]) -> impl Iterator<Item = EventId> {
        records.iter().filter_map(|record| match &record.body {
            Body::Usage(event) => Some(event.event_id),
            Body::Command(_) | Body::Tick | Body::Unreadable(..) => None,
        })
    }

    /// Admits the records of a batch. `known` are those events among [`Self::ids`] that were admitted before the batch.
    ///
    /// # Errors
    /// The partition cannot go on; the admitter must then be thrown away.
    pub fn admit(
        &mut self,
        batch: &Batch,
        records: &[Record],
        known: Vec<KnownEvent>,
    ) -> Result<(RangeRows, Tally), Halt> {
        self.past.forget_events();
        for event in known {
            let known = AdmittedEvent { billing_digest: event.billing_digest, revision: event.revision };
            self.past.add_event(event.org, event.event, known);
        }
        let mut out = Output::default();
        for (raw, record) in batch.iter().zip(records) {
            let admission = self.context.admit(&mut self.past, record)?;
            out.take(&self.past, &raw, record.append_time, admission);
        }
        Ok((out.rows, out.tally))
    }
}

#[derive(Default)]
struct Output {
    rows: RangeRows,
    tally: Tally,
}

impl Output {
    fn take(
        &mut self,
        past: &Past,
        raw: &fluxori_stream::Record<'_>,
        append_time: Timestamp,
        admission: Admission,
    ) {
        let tally = &mut self.tally;
        match admission {
            Admission::Usage(usage, _) => {
                tally.usage += 1;
                self.rows.usage.push(UsageAt { offset: raw.offset, append_time, usage: *usage });
            }
            Admission::Superseding(_) => tally.usage += 1,
            Admission::Command(command) => {
                tally.commands += 1;
                self.take_command(past, raw, append_time, *command);
            }
            Admission::Global(_) => {
                tally.global += 1;
                self.keep(KeptKind::Global, raw, append_time);
            }
            Admission::Tick => tally.global += 1,
            Admission::Duplicate(_) => tally.duplicates += 1,
            Admission::Quarantined(quarantined) if quarantined.reason == QuarantineReason::OrgNotOpen => {
                tally.waiting += 1;
                self.keep(KeptKind::Waiting, raw, append_time);
            }
            Admission::Quarantined(_) => tally.quarantined += 1,
        }
    }

    fn take_command(
        &mut self,
        past: &Past,
        raw: &fluxori_stream::Record<'_>,
        append_time: Timestamp,
        command: AdmittedCommand,
    ) {
        if command.opens {
            self.keep(KeptKind::Opening, raw, append_time);
        } else if !past.is_open(&command.org) {
            // Its id is taken, so that another command under it cannot open the org. Once an org is open, no command
            // has a bearing on usage any more.
            self.keep(KeptKind::Rejected, raw, append_time);
        }
        for released in command.released {
            match released {
                Admission::Usage(usage, _) => {
                    self.tally.released += 1;
                    self.rows.usage.push(UsageAt { offset: raw.offset, append_time, usage: *usage });
                }
                // What cannot be priced stays in the quarantine.
                _ => self.tally.quarantined += 1,
            }
        }
    }

    fn keep(&mut self, kind: KeptKind, raw: &fluxori_stream::Record<'_>, append_time: Timestamp) {
        let bytes = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
        self.rows.kept.push(KeptRecord {
            offset: raw.offset,
            append_time,
            kind,
            key: bytes(raw.key),
            value: if kind == KeptKind::Opening { Vec::new() } else { bytes(raw.value) },
        });
    }
}

impl Tally {
    /// Names and counts, for metrics.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("usage", self.usage),
            ("released", self.released),
            ("command", self.commands),
            ("global", self.global),
            ("duplicate", self.duplicates),
            ("waiting", self.waiting),
            ("quarantined", self.quarantined),
        ])
    }
}
