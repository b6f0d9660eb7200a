//! The fold in batches, with all that it knows going through its stored form between them, as the consumer does it.

use std::collections::BTreeMap;

use fluxori_core::command::Command;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{
    Allocation, AllocationStatus, Applied, ChargedUsage, KnownEvent, OrgRecord, OrgState, Outcome,
    PartitionFold, Past,
};
use fluxori_core::id::{AllocationId, CommandId, EventId, OrgId};
use fluxori_core::posting::{Cause, Entry, Posting};
use fluxori_core::record::{Body, QuarantineReason, Record};
use fluxori_core::usage::UsageEvent;

use crate::compare::new_fold;

type Of<T> = (OrgId, T);

/// What the tables hold.
#[derive(Default)]
struct Stored {
    orgs: BTreeMap<OrgId, OrgRecord>,
    allocations: BTreeMap<Of<AllocationId>, Allocation>,
    events: Vec<(OrgId, EventId, KnownEvent)>,
    commands: BTreeMap<Of<CommandId>, Digest>,
    charges: BTreeMap<Of<EventId>, (ChargedUsage, Vec<Entry>)>,
    quarantine: Vec<(QuarantineReason, UsageEvent)>,
    waiting_corrections: BTreeMap<Of<EventId>, (Command, Digest)>,
}

/// A log folded in batches.
pub(crate) struct Batched {
    pub(crate) fold: PartitionFold,
    pub(crate) postings: Vec<Posting>,
    past: Past,
    stored: Stored,
}

/// How many records the next batch has, and whether everything in memory is dropped before it.
pub(crate) type Batch = (usize, bool);

impl Batched {
    pub(crate) fn of(records: &[Record], batches: &[Batch]) -> Self {
        let mut batched =
            Self { fold: new_fold(), postings: Vec::new(), past: Past::default(), stored: Stored::default() };
        let mut rest = records;
        for (size, dropped) in batches.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            if *dropped {
                batched.drop_all();
            }
            batched.load_watched(batch);
            for record in batch {
                let applied = batched.fold.apply(&mut batched.past, record).unwrap();
                batched.stored.keep(record, &applied);
                batched.postings.extend(applied.postings);
            }
            batched.store_states();
            batched.fold.forget_watched(&mut batched.past);
        }
        batched
    }

    /// Begins anew with what is stored. The context alone stays: its stored form is the log's global records.
    fn drop_all(&mut self) {
        let (context, counters) = (self.fold.context().clone(), self.fold.counters());
        self.fold = PartitionFold::new(context, counters, self.fold.outcomes());
        self.past = Past::default();
        let stored = &self.stored;
        for (org, record) in &stored.orgs {
            let live = stored.allocations_of(org).filter(|a| a.status != AllocationStatus::Closed);
            self.fold.load(OrgState::restore(record.clone(), live.cloned().collect()));
            self.past.add_open_org(org.clone());
        }
        for (org, event, known) in &stored.events {
            self.past.add_event(org.clone(), *event, *known);
        }
        for ((org, command), digest) in &stored.commands {
            self.past.add_command(org.clone(), *command, *digest);
        }
        for (reason, event) in &stored.quarantine {
            if *reason == QuarantineReason::OrgNotOpen && !stored.orgs.contains_key(&event.org_id) {
                self.past.add_waiting(event.clone().into());
            }
        }
        for (command, digest) in stored.waiting_corrections.values() {
            self.past.add_waiting_correction(command.clone(), *digest);
        }
    }

    /// Loads what the records of a batch correct, supersede or release.
    fn load_watched(&mut self, batch: &[Record]) {
        for (org, event) in batch.iter().flat_map(Past::to_watch) {
            self.fold.watch(&mut self.past, org, event);
        }
        let mut named: Vec<_> = batch.iter().flat_map(Past::to_watch).collect();
        named.sort();
        named.dedup();
        for (org, event) in named {
            let stored = &self.stored;
            for (_, held) in &stored.quarantine {
                if held.org_id == *org && held.event_id == event {
                    self.past.add_quarantined(held.clone().into());
                }
            }
            let Some((charged, split)) = stored.charges.get(&(org.clone(), event)) else { continue };
            self.past.add_charged(org.clone(), event, charged.clone());
            self.fold.load_split(org.clone(), event, split.clone());
            let took_from = |a: &&Allocation| {
                let from = |entry: &Entry| entry.target == fluxori_core::posting::Target::Allocation(a.id);
                a.repaid.is_positive() || split.iter().any(from)
            };
            let closed = stored.allocations_of(org).filter(|a| a.status == AllocationStatus::Closed);
            let needed = closed.filter(took_from).map(|allocation| (org.clone(), allocation.clone()));
            self.fold.remember_closed(needed);
        }
    }

    fn store_states(&mut self) {
        let stored = &mut self.stored;
        self.fold.drain_touched(|state| {
            stored.orgs.insert(state.org().clone(), state.record.clone());
            for allocation in state.take_changed() {
                stored.allocations.insert((state.org().clone(), allocation.id), allocation);
            }
        });
    }
}

impl Stored {
    fn allocations_of<'stored>(
        &'stored self,
        org: &'stored OrgId,
    ) -> impl Iterator<Item = &'stored Allocation> {
        self.allocations.iter().filter(move |((of, _), _)| of == org).map(|(_, allocation)| allocation)
    }

    fn keep(&mut self, record: &Record, applied: &Applied) {
        match (&applied.outcome, &record.body) {
            (Outcome::Quarantined(quarantined), Body::Usage(event)) if quarantined.event.is_some() => {
                self.quarantine.push((quarantined.reason, (**event).clone()));
            }
            (
                Outcome::Command { org, command_id, payload_digest, released, waits, .. },
                Body::Command(signed),
            ) => {
                self.commands.insert((org.clone(), *command_id), *payload_digest);
                for (id, digest) in released {
                    self.quarantine.retain(|(_, event)| {
                        (&event.org_id, event.event_id, event.billing_digest()) != (org, *id, *digest)
                    });
                }
                if let (true, fluxori_core::command::CommandBody::Correct(org, correct)) =
                    (waits, &signed.command.body)
                {
                    let waiting = (signed.command.clone(), *payload_digest);
                    self.waiting_corrections.insert((org.clone(), correct.event_id), waiting);
                }
            }
            _ => {}
        }
        for posting in &applied.postings {
            self.keep_posting(posting);
        }
    }

    fn keep_posting(&mut self, posting: &Posting) {
        let org = posting.org.clone();
        match &posting.cause {
            Cause::Usage(usage) => {
                let id = usage.event.event_id;
                let known =
                    KnownEvent { billing_digest: usage.billing_digest, revision: usage.event.revision };
                self.events.push((org.clone(), id, known));
                self.waiting_corrections.remove(&(org.clone(), id));
                let charged = ChargedUsage::of(&usage.event, &usage.charge);
                self.charges.insert((org, id), (charged, posting.entries.clone()));
            }
            Cause::Correction(correction, split) => {
                if let fluxori_core::fold::CorrectedBy::Usage(event, billing_digest) = &correction.by {
                    let known = KnownEvent { billing_digest: *billing_digest, revision: event.revision };
                    self.events.push((org.clone(), event.event_id, known));
                }
                self.charges.insert((org, correction.event_id), (correction.after.clone(), split.clone()));
            }
            Cause::Command(..) | Cause::Boundary => {}
        }
    }
}
