//! Pure: the fold of one partition, over the states of its orgs.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt as _};

use super::admit::{Admission, AdmittedCommand, AdmittedUsage, Duplicate, Quarantined, Rejection};
use super::allocation::Allocation;
use super::burn::{Book, BurnError};
use super::context::{Context, Halt};
use super::past::Past;
use super::state::OrgState;
use crate::command::{CommandBody, CommandKind, Policy};
use crate::digest::{Canonical, Digest};
use crate::id::{CommandId, EventId, OrgId};
use crate::posting::{Entry, Posting};
use crate::record::{Body, QuarantineReason, Record, RecordKey};
use crate::time::Timestamp;

const BEYOND: &str = "the org's totals leave the range of amounts (10^16 credits)";

/// How many records of a partition became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records read.
    pub records: i64,
    /// Usage events debited.
    pub debited: i64,
    /// Commands carried out.
    pub commands: i64,
    /// Commands rejected.
    pub rejected: i64,
    /// Events and commands that were known already.
    pub duplicates: i64,
    /// Records put into the quarantine.
    pub quarantined: i64,
    /// Events released from the quarantine, when their org was opened or by name.
    pub released: i64,
    /// Events of revision 2 that took the place of their revision 1.
    pub superseded: i64,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A debit, and the correction that waited for it, if one did.
    Debited,
    /// Usage took the place of an uncertain event.
    Superseded,
    /// A command of an org: carried out, or rejected.
    Command {
        /// Whose.
        org: OrgId,
        /// Which.
        command_id: CommandId,
        /// Of which kind.
        kind: CommandKind,
        /// Digest of its payload.
        payload_digest: Digest,
        /// Why it was not carried out, if so.
        rejection: Option<Rejection>,
        /// Whether it opened the org.
        opened: bool,
        /// Events that had waited for the opening, or were released by name, and were applied.
        released: Vec<(EventId, Digest)>,
        /// Whether it is a correction that waits for its event.
        waits: bool,
    },
    /// A global command.
    Global(super::admit::GlobalOutcome),
    /// A tick.
    Tick,
    /// Known already.
    Duplicate(Duplicate),
    /// Not applied.
    Quarantined(Quarantined),
}

/// A record's outcome and postings.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// What became of the record.
    pub outcome: Outcome,
    /// The postings it made, in order, of one org or, for a tick, of several.
    pub postings: Vec<Posting>,
}

/// Why a record could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An org's state was not loaded.
    #[error("the state of org {0} was not loaded")]
    NotLoaded(OrgId),
    /// The partition cannot go on.
    #[error(transparent)]
    Halt(#[from] Halt),
}

/// The fold of one partition.
#[derive(Debug, Clone)]
pub struct PartitionFold {
    context: Context,
    orgs: HashMap<OrgId, OrgState>,
    schedule: BTreeSet<(Timestamp, OrgId)>,
    /// Orgs whose states are marked as touched.
    touched: Vec<OrgId>,
    /// What the charges of watched events took, in order.
    splits: Splits,
    counters: Counters,
    outcomes: Digest,
}

impl PartitionFold {
    /// A fold that goes on from a context, counters and the digest of outcomes so far.
    #[must_use]
    pub fn new(context: Context, counters: Counters, outcomes: Digest) -> Self {
        Self {
            context,
            orgs: HashMap::new(),
            schedule: BTreeSet::new(),
            touched: Vec::new(),
            splits: HashMap::new(),
            counters,
            outcomes,
        }
    }

    /// The context.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Lets the log's time go on by a record that is left out: a fold of one org leaves out those of others.
    pub fn leave_out(&mut self, append_time: Timestamp) {
        self.context.resume_at(append_time);
    }

    /// The counters so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Digest over the outcome of every record so far.
    #[must_use]
    pub const fn outcomes(&self) -> Digest {
        self.outcomes
    }

    /// The loaded orgs.
    pub fn orgs(&self) -> impl Iterator<Item = &OrgState> {
        self.orgs.values()
    }

    /// Whether the state of an org is loaded.
    #[must_use]
    pub fn is_loaded(&self, org: &OrgId) -> bool {
        self.orgs.contains_key(org)
    }

    /// Puts the state of an org in place.
    pub fn load(&mut self, state: OrgState) {
        debug_assert!(self.context.is_here(state.org()), "an org is folded in its own partition alone");
        self.schedule.extend(state.next_boundary().map(|at| (at, state.org().clone())));
        self.orgs.insert(state.org().clone(), state);
    }

    /// Notes when the next boundary of an org is due whose state is not loaded.
    pub fn expect_boundary(&mut self, at: Timestamp, org: OrgId) {
        self.schedule.insert((at, org));
    }

    /// The orgs whose boundaries are due at `now`: their states must be loaded before a tick of that time is applied.
    pub fn due_orgs(&self, now: Timestamp) -> impl Iterator<Item = &OrgId> {
        self.schedule.iter().take_while(move |(at, _)| *at <= now).map(|(_, org)| org)
    }

    /// Shows the states that changed since the last call, in the order of their ids.
    pub fn drain_touched(&mut self, mut see: impl FnMut(&mut OrgState)) {
        self.touched.sort_unstable();
        for org in self.touched.drain(..) {
            if let Some(state) = self.orgs.get_mut(&org) {
                state.touched = false;
                see(state);
            }
        }
    }

    /// Forgets the state of an org, unless it has changes that are still to be taken; it must be loaded again before it
    /// is needed.
    pub fn forget_org(&mut self, org: &OrgId) {
        if self.orgs.get(org).is_some_and(|state| !state.touched) {
            self.orgs.remove(org);
        }
    }

    /// Keeps what a batch needs of an event that one of its records corrects, reprices, supersedes or releases. What is stored of
    /// it is to be loaded then: [`Past::add_charged`], [`Past::add_quarantined`] and [`PartitionFold::load_split`], and
    /// the closed allocations that it took from or that repaid its org's overdraft.
    pub fn watch(&mut self, past: &mut Past, org: &OrgId, event: EventId) {
        past.watch(org, event);
        self.splits.entry((org.clone(), event)).or_default();
    }

    /// What the charge of a watched event took, in order, as its last correction left it.
    pub fn load_split(&mut self, org: OrgId, event: EventId, split: Vec<Entry>) {
        self.splits.insert((org, event), split);
    }

    /// Takes in closed allocations that a correction may give credits back to.
    pub fn remember_closed(&mut self, allocations: impl IntoIterator<Item = (OrgId, Allocation)>) {
        for (org, allocation) in allocations {
            if let Some(state) = self.orgs.get_mut(&org) {
                state.remember_closed([allocation]);
            }
        }
    }

    /// Forgets what was watched, once its batch is folded.
    pub fn forget_watched(&mut self, past: &mut Past) {
        past.forget_watched();
        for ((org, _), _) in self.splits.drain() {
            if let Some(state) = self.orgs.get_mut(&org) {
                state.forget_closed();
            }
        }
    }

    /// Applies one record: what is due by its append time is booked first.
    ///
    /// # Errors
    /// A state that is needed was not loaded, or the partition cannot go on. After an error the fold must be thrown
    /// away.
    pub fn apply(&mut self, past: &mut Past, record: &Record) -> Result<Applied, FoldError> {
        let admission = self.context.admit(past, record)?;
        let mut postings = Vec::new();
        let mut book = Book { now: self.context.now(), postings: &mut postings };
        let outcome = match admission {
            Admission::Usage(usage) => self.use_up(past, usage, &mut book)?,
            Admission::Command(admitted) => self.carry_out(past, *admitted, &mut book)?,
            Admission::Tick => {
                let due: Vec<OrgId> = self.due_orgs(book.now).cloned().collect();
                for org in due {
                    self.with_org(&org, &mut book, |_, _, _| Ok(()))?;
                }
                Outcome::Tick
            }
            Admission::Global(outcome) => Outcome::Global(outcome),
            Admission::Duplicate(duplicate) => Outcome::Duplicate(duplicate),
            Admission::Quarantined(quarantined) => Outcome::Quarantined(quarantined),
        };
        self.count(record, &outcome);
        Ok(Applied { outcome, postings })
    }

    /// Debits usage, or books the difference that superseding usage makes.
    fn use_up(
        &mut self,
        past: &mut Past,
        usage: AdmittedUsage,
        book: &mut Book<'_>,
    ) -> Result<Outcome, FoldError> {
        let (org, event_id, billing_digest) = usage.identity();
        let org = org.clone();
        let superseding = matches!(usage, AdmittedUsage::Superseding(..));
        let refused = self.with_org(&org, book, |state, splits, book| {
            if !state.fits(&usage) {
                return Ok(Some(usage));
            }
            use_admitted(state, splits, usage, book).map(|()| None)
        })?;
        let Some(refused) = refused else {
            return Ok(if superseding { Outcome::Superseded } else { Outcome::Debited });
        };
        past.take_back(refused);
        let detail = format!("with it {BEYOND}");
        let reason = QuarantineReason::AmountOutOfRange;
        let (org, event) = (Some(org), Some((event_id, billing_digest)));
        Ok(Outcome::Quarantined(Quarantined { reason, detail, org, event }))
    }

    fn carry_out(
        &mut self,
        past: &mut Past,
        mut admitted: AdmittedCommand,
        book: &mut Book<'_>,
    ) -> Result<Outcome, FoldError> {
        let org = admitted.org.clone();
        if admitted.opens {
            self.orgs.insert(org.clone(), OrgState::new(org.clone(), Policy::default()));
        }
        let mut released = Vec::new();
        let usages = std::mem::take(&mut admitted.released);
        let mut refused = Vec::new();
        let mut rejection = admitted.rejection.clone();
        if rejection.is_none() {
            rejection = self.with_org(&org, book, |state, splits, book| {
                // Usage that is released by name.
                let released_alone = matches!(admitted.command.body, CommandBody::Release(..));
                if released_alone && usages.iter().any(|usage| !state.fits(usage)) {
                    refused = usages;
                    return Ok(Some(Rejection(format!("with it {BEYOND}"))));
                }
                let carried_out = state.carry_out(&admitted, splits, book)?;
                state.book_due(book)?;
                for usage in usages {
                    if !state.fits(&usage) {
                        refused.push(usage);
                        continue;
                    }
                    let (_, event_id, billing_digest) = usage.identity();
                    use_admitted(state, splits, usage, book)?;
                    released.push((event_id, billing_digest));
                }
                Ok(carried_out.err())
            })?;
        }
        refused.into_iter().for_each(|usage| past.take_back(usage));
        if rejection.is_some() {
            for correction in &admitted.corrections {
                past.add_charged(org.clone(), correction.event_id, correction.before.clone());
            }
        }
        let kind = admitted.command.body.kind();
        let waits = kind == CommandKind::Correct && rejection.is_none() && admitted.corrections.is_empty();
        Ok(Outcome::Command {
            org,
            command_id: admitted.command.command_id,
            kind,
            payload_digest: admitted.payload_digest,
            rejection,
            opened: admitted.opens,
            released,
            waits,
        })
    }

    /// Books what is due for an org, then lets `act` work on its state.
    fn with_org<T>(
        &mut self,
        org: &OrgId,
        book: &mut Book<'_>,
        act: impl FnOnce(&mut OrgState, &mut Splits, &mut Book<'_>) -> Result<T, BurnError>,
    ) -> Result<T, FoldError> {
        let state = self.orgs.get_mut(org).ok_or_else(|| FoldError::NotLoaded(org.clone()))?;
        let before = state.next_boundary();
        let number = state.record.number;
        let failed = |error| match error {
            BurnError::OutOfRange => FoldError::Halt(Halt::OutOfRange { org: org.to_string() }),
            BurnError::NotLoaded => FoldError::NotLoaded(org.clone()),
        };
        state.book_due(book).map_err(failed)?;
        let result = act(state, &mut self.splits, book).map_err(failed)?;
        let after = state.next_boundary();
        if before != after {
            before.map(|at| self.schedule.remove(&(at, org.clone())));
            self.schedule.extend(after.map(|at| (at, org.clone())));
        }
        if state.record.number != number && !state.touched {
            state.touched = true;
            self.touched.push(org.clone());
        }
        Ok(result)
    }

    fn count(&mut self, record: &Record, outcome: &Outcome) {
        let counters = &mut self.counters;
        counters.records += 1;
        let mut canonical = Canonical::new("fluxori.outcome.v1");
        canonical.bytes(&self.outcomes.0);
        match &record.body {
            Body::Usage(event) => canonical.text("usage").bytes(event.event_id.0.as_bytes()),
            Body::Command(signed) => canonical.text("command").bytes(signed.command.command_id.0.as_bytes()),
            Body::Tick => canonical.text("tick"),
            Body::Unreadable(..) => canonical.text("unreadable"),
        };
        canonical.optional_text(match &record.key {
            RecordKey::Org(org) => Some(org.as_str()),
            RecordKey::Global | RecordKey::Invalid => None,
        });
        let name = match outcome {
            Outcome::Debited => {
                counters.debited += 1;
                "debited"
            }
            Outcome::Superseded => {
                counters.superseded += 1;
                "superseded"
            }
            Outcome::Command { rejection, released, .. } => {
                counters.released += i64::try_from(released.len()).unwrap_or(i64::MAX);
                counters.debited += i64::try_from(released.len()).unwrap_or(i64::MAX);
                count_command(counters, rejection.as_ref())
            }
            Outcome::Global(outcome) => count_command(counters, outcome.rejection.as_ref()),
            Outcome::Tick => "tick",
            Outcome::Duplicate(_) => {
                counters.duplicates += 1;
                "duplicate"
            }
            Outcome::Quarantined(quarantined) => {
                counters.quarantined += 1;
                match quarantined.reason {
                    // Which of the two it is, is a library's word and may change with it.
                    QuarantineReason::Malformed | QuarantineReason::Invalid => "unreadable",
                    reason => reason.as_str(),
                }
            }
        };
        self.outcomes = canonical.text(name).digest();
    }
}

/// What the charges of events took, in order.
pub(super) type Splits = HashMap<(OrgId, EventId), Vec<Entry>>;

/// Books admitted usage in the state of its org, and notes what it took where that is watched.
fn use_admitted(
    state: &mut OrgState,
    splits: &mut Splits,
    usage: AdmittedUsage,
    book: &mut Book<'_>,
) -> Result<(), BurnError> {
    match usage {
        AdmittedUsage::First(usage, correction) => {
            let event_id = usage.event.event_id;
            state.debit(usage, book)?;
            if splits.is_empty() && correction.is_none() {
                return Ok(());
            }
            let mut split = book.postings.last().map(|posting| posting.entries.clone()).unwrap_or_default();
            if let Some(correction) = correction {
                state.correct(&correction, &mut split, book)?;
            }
            if let Some(watched) = splits.get_mut(&(state.org().clone(), event_id)) {
                *watched = split;
            }
            Ok(())
        }
        AdmittedUsage::Superseding(correction, _) => {
            let split = splits.entry((correction.org.clone(), correction.event_id)).or_default();
            state.correct(&correction, split, book)
        }
    }
}

fn count_command(counters: &mut Counters, rejection: Option<&Rejection>) -> &'static str {
    if rejection.is_some() {
        counters.rejected += 1;
        "rejected"
    } else {
        counters.commands += 1;
        "carried_out"
    }
}
