//! Pure: from the records of a range to what is stored of it, by the same admission as the ledger's.

use std::sync::Arc;

use fluxori_analytics::{AnalyticsError, Arrival, KeptKind, KeptRecord, Loaded, Needed, RangeRows};
use fluxori_core::command::CommandBody;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Admission, Context, Halt, KnownEvent, Past};
use fluxori_core::id::{EventId, LogId, OrgId};
use fluxori_core::rates::SharedRates;
use fluxori_core::record::{Body, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::Violation;
use fluxori_stream::Batch;

use crate::Tally;
use crate::charges::CountedUsage;
use crate::output::{Output, Watched};

/// Decides what the records of one partition are. What it says of a record depends on the log before it alone.
#[derive(Debug, Clone)]
pub struct Admitter {
    partition: i32,
    context: Context,
    past: Past,
}

/// A batch could not be admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The partition cannot go on.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// What was stored of the past is not what it was stored as.
    #[error(transparent)]
    Stored(#[from] AnalyticsError),
    /// A kept record is not what it was kept as.
    #[error(transparent)]
    Kept(#[from] RestoreError),
    /// A correction of usage that was not looked up.
    #[error("the rows of event {event} of org {org} were not looked up before its charge was corrected")]
    NotLoaded {
        /// Whose.
        org: OrgId,
        /// Which.
        event: EventId,
    },
    /// A correction with quantities that no event can have.
    #[error("a correction says what cannot be: {0}")]
    Quantities(#[from] Violation),
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
        shared: &Arc<SharedRates>,
    ) -> Result<Self, RestoreError> {
        let context = Context::new(partition, Some(pinned)).sharing(shared);
        let mut admitter = Self { partition, context, past: Past::default() };
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
                self.past.add_waiting(event);
                Ok(())
            }
            (KeptKind::WaitingCorrection, RecordKey::Org(_), Body::Command(signed)) => {
                self.past.add_waiting_correction(signed.command, Digest::of(&signed.payload));
                Ok(())
            }
            (KeptKind::Quarantined, RecordKey::Org(_), Body::Usage(event)) => {
                self.past.add_quarantined(event);
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

    /// What decides what these records are, and must be looked up first. Usage that waits for its org and corrections
    /// that wait for their event are known from the kept records.
    #[must_use]
    pub fn needed(records: &[Record]) -> Needed {
        let mut needed = Needed::default();
        for record in records {
            for (_, event) in Past::to_watch(record) {
                needed.watched.insert(event);
                needed.events.insert(event);
            }
            match &record.body {
                Body::Usage(event) => _ = needed.events.insert(event.event_id),
                Body::Command(signed) if signed.command.body.org().is_some() => {
                    needed.commands.insert(signed.command.command_id);
                    if let CommandBody::Release(_, release) = &signed.command.body {
                        needed.released.insert(release.event_id);
                    }
                }
                Body::Command(_) | Body::Tick | Body::Unreadable(..) => {}
            }
        }
        needed
    }

    /// Admits the records of a batch. `loaded` is what was found of [`Self::needed`] in rows from before the batch.
    ///
    /// # Errors
    /// The partition cannot go on; the admitter must then be thrown away.
    pub fn admit(
        &mut self,
        batch: &Batch,
        records: &[Record],
        loaded: Loaded,
    ) -> Result<(RangeRows, Tally), AdmitError> {
        let watched = self.remember(records, loaded)?;
        let mut out = Output::new(watched);
        for (raw, record) in batch.iter().zip(records) {
            out.rows.arrivals.extend(arrival(&raw, record));
            let admission = self.context.admit(&mut self.past, record)?;
            out.take(&raw, record.append_time, admission)?;
        }
        Ok((out.rows, out.tally))
    }

    /// Takes in what was looked up for a batch, and forgets what was for the one before. Returns what the usage log
    /// counts of the events that the batch watches.
    fn remember(&mut self, records: &[Record], loaded: Loaded) -> Result<Watched, AdmitError> {
        self.past.forget_events();
        self.past.forget_commands();
        self.past.forget_watched();
        let mut watched = Watched::new();
        for (org, event) in records.iter().flat_map(Past::to_watch) {
            self.past.watch(org, event);
            watched.insert((org.clone(), event), None);
        }
        for event in loaded.events {
            let known = KnownEvent { billing_digest: event.billing_digest, revision: event.revision };
            self.past.add_event(event.org, event.event, known);
        }
        for command in loaded.commands {
            self.past.add_command(command.org, command.command, command.payload_digest);
        }
        for stored in loaded.usage {
            let event = (stored.event.org_id.clone(), stored.event.event_id);
            if let Some(counted) = watched.get_mut(&event) {
                let usage = CountedUsage::read(stored, self.context.rates())?;
                self.past.add_charged(event.0, event.1, usage.charged());
                *counted = Some(usage);
            }
        }
        for kept in loaded.quarantined {
            // Usage that waited for its org and could not be priced when that was opened lies in the quarantine since.
            self.restore_one(&KeptRecord { kind: KeptKind::Quarantined, ..kept })?;
        }
        Ok(watched)
    }
}

/// Usage that came, whatever it turns out to be: a duplicate and what lands in the quarantine are not missing.
fn arrival(raw: &fluxori_stream::Record<'_>, record: &Record) -> Option<Arrival> {
    let (producer, number) = match &record.body {
        Body::Usage(event) => (event.producer_id.clone(), event.producer_seq),
        Body::Unreadable(..) => fluxori_wire::producer_of(raw.value.unwrap_or_default())?,
        Body::Command(_) | Body::Tick => return None,
    };
    Some(Arrival { append_time: record.append_time, producer, number })
}
