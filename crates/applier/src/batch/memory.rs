//! What is known of the past without asking Postgres: exact, bounded, and forgotten oldest first.
//!
//! While a batch is committed, the next ones are loaded and folded already, so Postgres does not show yet what a batch in
//! flight has done. Therefore nothing that a batch in flight has touched is ever forgotten: its orgs, its events' ids and
//! its commands are here until its commit is known.
//!
//! An event's id must be known exactly. Native ids (UUIDv7) grow with time, so each org has a floor: *every event of the
//! org that was applied under a native id above the floor is in memory.* When an org is loaded, its floor is the highest
//! native id that was ever applied to it; when an id is forgotten, the floor rises to it. A native id above the floor that
//! is not in memory was therefore never applied, and is not looked up. All others are.

use std::collections::VecDeque;

use fluxori_core::command::{CommandBody, Release};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{KnownEvent, PartitionFold, Past};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::record::Body;
use fluxori_ledger::{BatchWrite, LedgerError, Loaded, Needed, WaitingRecord};
use foldhash::{HashMap, HashMapExt as _};
use uuid::Uuid;

use super::Decoded;

/// Batches of a partition, counted from its take-over.
pub(crate) type BatchNumber = u64;

/// The most that one partition keeps in memory between batches; what is in flight may go over.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Orgs whose state is kept.
    pub orgs: usize,
    /// Events whose ids are kept.
    pub events: usize,
}

/// What admission knows of the past.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) past: Past,
    orgs: HashMap<OrgId, KnownOrg>,
    /// And the batch that applied them.
    events: HashMap<(OrgId, EventId), (BatchNumber, KnownEvent)>,
    /// In the order in which they were applied.
    order: VecDeque<(BatchNumber, OrgId, EventId)>,
    commands: VecDeque<(BatchNumber, OrgId, CommandId, Digest)>,
    /// The batch that is worked on.
    batch: BatchNumber,
}

/// An org whose state, or that it is not open, is in memory.
#[derive(Debug)]
struct KnownOrg {
    floor: EventId,
    used: BatchNumber,
}

/// Below every other.
const NO_EVENT: EventId = EventId(Uuid::nil());

/// What a batch asks of the past. First the orgs and commands are loaded, then the events, whose orgs are then known.
pub(crate) struct Asked<'batch> {
    pub(crate) needed: Needed,
    events: Vec<(&'batch OrgId, EventId)>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            past: Past::default(),
            orgs: HashMap::new(),
            events: HashMap::new(),
            order: VecDeque::new(),
            commands: VecDeque::new(),
            batch: 0,
        }
    }

    /// Begins with a batch: which orgs and commands must be loaded. Only orgs whose records these are count: a misplaced
    /// record must not bring another partition's org in here.
    pub(crate) fn ask<'batch>(&mut self, fold: &PartitionFold, decoded: &'batch Decoded) -> Asked<'batch> {
        self.batch += 1;
        self.past.forget_events();
        self.past.forget_commands();
        for (_, org, command, digest) in &self.commands {
            self.past.add_command(org.clone(), *command, *digest);
        }
        let mut asked =
            Asked { needed: Needed::default(), events: Vec::with_capacity(decoded.records.len()) };
        let context = decoded.context(fold);
        for record in &decoded.records {
            let Some(org) = context.owner(record) else { continue };
            for (org, event) in Past::to_watch(record) {
                asked.needed.watched.push((org.clone(), event));
                asked.events.push((org, event));
            }
            match &record.body {
                Body::Usage(event) => asked.events.push((org, event.event_id)),
                Body::Command(signed) => {
                    let id = signed.command.command_id;
                    if let CommandBody::Release(_, Release { event_id, billing_digest }) =
                        &signed.command.body
                    {
                        asked.needed.released.push((org.clone(), *event_id, *billing_digest));
                    }
                    if !self.commands.iter().any(|(_, of, known, _)| *known == id && of == org) {
                        asked.needed.commands.push((org.clone(), id));
                    }
                }
                Body::Tick | Body::Unreadable(..) => {}
            }
            self.use_org(org, &mut asked.needed);
        }
        if decoded.records.iter().any(|record| record.body == Body::Tick) {
            let now = decoded.latest().max(fold.context().now());
            for org in fold.due_orgs(now) {
                self.use_org(org, &mut asked.needed);
            }
        }
        asked
    }

    fn use_org(&mut self, org: &OrgId, needed: &mut Needed) {
        match self.orgs.get_mut(org) {
            Some(known) => known.used = self.batch,
            None => _ = needed.orgs.insert(org.clone()),
        }
    }

    /// Takes in the orgs and commands that were loaded. Returns the events that are still to be looked up, and may
    /// have been applied before.
    ///
    /// # Errors
    /// A charge was stored with a price that the log does not know.
    pub(crate) fn remember(
        &mut self,
        fold: &mut PartitionFold,
        asked: Asked<'_>,
        loaded: Loaded,
    ) -> Result<Needed, LedgerError> {
        for org in &asked.needed.orgs {
            self.orgs.insert(org.clone(), KnownOrg { floor: NO_EVENT, used: self.batch });
        }
        for (org, newest) in loaded.newest_events {
            if let Some(known) = self.orgs.get_mut(&org) {
                known.floor = newest;
            }
        }
        for state in loaded.orgs {
            self.past.add_open_org(state.org().clone());
            fold.load(state);
        }
        for WaitingRecord { append_time, key, value } in loaded.waiting_corrections {
            let record = fluxori_wire::decode(key.as_deref(), value.as_deref(), append_time);
            if let Body::Command(signed) = record.body
                && let Some(org) = signed.command.body.org()
                && asked.needed.orgs.contains(org)
            {
                self.past.add_waiting_correction(signed.command, Digest::of(&signed.payload));
            }
        }
        for (org, event) in &asked.needed.watched {
            fold.watch(&mut self.past, org, *event);
        }
        for charge in loaded.charges {
            let usage = charge.resolve(fold.context().rates())?;
            self.past.add_charged(charge.org.clone(), charge.event, usage);
            fold.load_split(charge.org, charge.event, charge.split);
        }
        for WaitingRecord { append_time, key, value } in loaded.quarantined {
            let record = fluxori_wire::decode(key.as_deref(), value.as_deref(), append_time);
            if let Body::Usage(event) = record.body {
                self.past.add_quarantined(event);
            }
        }
        fold.remember_closed(loaded.closed);
        for WaitingRecord { append_time, key, value } in loaded.waiting {
            let record = fluxori_wire::decode(key.as_deref(), value.as_deref(), append_time);
            if let Body::Usage(event) = record.body
                && asked.needed.orgs.contains(&event.org_id)
                && !fold.is_loaded(&event.org_id)
            {
                self.past.add_waiting(event);
            }
        }
        for (org, command, digest) in loaded.commands {
            self.past.add_command(org, command, digest);
        }
        let mut needed = Needed::default();
        for (org, id) in asked.events {
            let event = (org.clone(), id);
            match self.events.get(&event) {
                Some((_, known)) => self.past.add_event(event.0, id, *known),
                None if self.was_never_applied(org, id) => {}
                None => needed.events.push(event),
            }
        }
        Ok(needed)
    }

    /// Of an id that is not in memory.
    fn was_never_applied(&self, org: &OrgId, id: EventId) -> bool {
        id.is_native() && self.orgs.get(org).is_some_and(|known| id > known.floor)
    }

    /// Takes in the events that were looked up.
    pub(crate) fn remember_events(&mut self, loaded: Loaded) {
        for (org, event, known) in loaded.events {
            self.past.add_event(org, event, known);
        }
    }

    /// Takes in what the batch has done.
    pub(super) fn learn(&mut self, write: &BatchWrite) {
        for row in &write.changes.postings {
            let Some((id, known)) = row.posting.known_event() else { continue };
            let org = &row.posting.org;
            self.events.insert((org.clone(), id), (self.batch, known));
            self.order.push_back((self.batch, org.clone(), id));
        }
        for row in &write.changes.commands {
            if let Some(org) = &row.org {
                self.commands.push_back((self.batch, org.clone(), row.command_id, row.payload_digest));
            }
        }
    }

    /// Keeps memory within bounds, between batches. Nothing is forgotten of batches after `committed`.
    pub(crate) fn trim(&mut self, fold: &mut PartitionFold, committed: BatchNumber, bounds: Bounds) {
        while self.commands.front().is_some_and(|(batch, ..)| *batch <= committed) {
            self.commands.pop_front();
        }
        while self.order.len() > bounds.events
            && self.order.front().is_some_and(|(batch, ..)| *batch <= committed)
        {
            let Some((batch, org, id)) = self.order.pop_front() else { break };
            let event = (org, id);
            // A later batch may have superseded it.
            if self.events.get(&event).is_some_and(|(latest, _)| *latest > batch) {
                continue;
            }
            if id.is_native()
                && let Some(known) = self.orgs.get_mut(&event.0)
            {
                known.floor = known.floor.max(id);
            }
            self.events.remove(&event);
        }
        if self.past.waiting() > bounds.events {
            self.forget_orgs(fold, committed, usize::MAX, |past, org| !past.is_open(org));
        }
        if self.orgs.len() > bounds.orgs {
            // Some more than must be, so that not every batch has to look for the oldest.
            let surplus = self.orgs.len() - bounds.orgs / 8 * 7;
            self.forget_orgs(fold, committed, surplus, |_, _| true);
        }
    }

    /// Forgets so many orgs that fit, those that were not used for longest first.
    fn forget_orgs(
        &mut self,
        fold: &mut PartitionFold,
        committed: BatchNumber,
        count: usize,
        fits: impl Fn(&Past, &OrgId) -> bool,
    ) {
        let idle = self.orgs.iter().filter(|(org, known)| known.used <= committed && fits(&self.past, org));
        let mut idle: Vec<(BatchNumber, OrgId)> =
            idle.map(|(org, known)| (known.used, org.clone())).collect();
        idle.sort();
        for (_, org) in idle.into_iter().take(count) {
            fold.forget_org(&org);
            self.past.forget_org(&org);
            self.orgs.remove(&org);
        }
    }

    /// What is in memory of an event.
    #[cfg(test)]
    pub(super) fn known(&self, org: &OrgId, id: EventId) -> Option<KnownEvent> {
        self.events.get(&(org.clone(), id)).map(|(_, known)| *known)
    }

    /// The batch that was asked for last.
    pub(crate) fn batch(&self) -> BatchNumber {
        self.batch
    }
}
