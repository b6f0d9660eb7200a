//! Pure: the fold of one partition, over the states of its orgs.

use std::collections::{BTreeSet, HashMap};

use super::admit::{Admission, Duplicate, Past, Quarantined, Rejection};
use super::context::{Context, Halt};
use super::state::OrgState;
use crate::amount::AmountError;
use crate::command::{CommandKind, Policy};
use crate::digest::{Canonical, Digest};
use crate::id::{CommandId, EventId, OrgId};
use crate::posting::Posting;
use crate::record::{Body, QuarantineReason, Record, RecordKey};
use crate::time::Timestamp;

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
    /// Events released from the quarantine when their org was opened.
    pub released: i64,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A debit.
    Debited,
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
        /// Events that had waited for the opening and were debited.
        released: Vec<EventId>,
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
    touched: BTreeSet<OrgId>,
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
            touched: BTreeSet::new(),
            counters,
            outcomes,
        }
    }

    /// The context.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
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
        debug_assert!(self.context.is_here(&state.org), "an org is folded in its own partition alone");
        self.schedule.extend(state.next_boundary().map(|at| (at, state.org.clone())));
        self.orgs.insert(state.org.clone(), state);
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
        for org in std::mem::take(&mut self.touched) {
            if let Some(state) = self.orgs.get_mut(&org) {
                see(state);
            }
        }
    }

    /// Forgets the state of an org, unless it has changes that are still to be taken; it must be loaded again before it
    /// is needed.
    pub fn forget_org(&mut self, org: &OrgId) {
        if !self.touched.contains(org) {
            self.orgs.remove(org);
        }
    }

    /// Applies one record: what is due by its append time is booked first.
    ///
    /// # Errors
    /// A state that is needed was not loaded, or the partition cannot go on. After an error the fold must be thrown
    /// away.
    pub fn apply(&mut self, past: &mut Past, record: &Record) -> Result<Applied, FoldError> {
        let admission = self.context.admit(past, record)?;
        let now = self.context.now();
        let mut postings = Vec::new();
        let outcome = match admission {
            Admission::Usage(usage) => {
                let (org, event_id) = (usage.event.org_id.clone(), usage.event.event_id);
                let debited = self.with_org(&org, now, &mut postings, |state, postings| {
                    Ok(state.debit(*usage, now, postings))
                })?;
                match debited {
                    Ok(()) => Outcome::Debited,
                    Err(error) => {
                        past.remove_event(&org, event_id);
                        let detail = format!("with it the org's totals are wrong: {error}");
                        let reason = QuarantineReason::AmountOutOfRange;
                        let (org, event_id) = (Some(org), Some(event_id));
                        Outcome::Quarantined(Quarantined { reason, detail, org, event_id })
                    }
                }
            }
            Admission::Command(mut admitted) => {
                let org = admitted.org.clone();
                if admitted.opens {
                    self.orgs.insert(org.clone(), OrgState::new(org.clone(), Policy::default()));
                }
                let mut released = Vec::new();
                let usages = std::mem::take(&mut admitted.released);
                let mut rejection = admitted.rejection.clone();
                if rejection.is_none() {
                    rejection = self.with_org(&org, now, &mut postings, |state, postings| {
                        let carried_out = state.carry_out(&admitted, now, postings)?;
                        state.book_due(now, postings)?;
                        for usage in usages {
                            // What cannot be priced stays in the quarantine.
                            let Admission::Usage(usage) = usage else { continue };
                            released.push(usage.event.event_id);
                            state.debit(*usage, now, postings)?;
                        }
                        Ok(carried_out.err())
                    })?;
                }
                Outcome::Command {
                    org,
                    command_id: admitted.command.command_id,
                    kind: admitted.command.body.kind(),
                    payload_digest: admitted.payload_digest,
                    rejection,
                    opened: admitted.opens,
                    released,
                }
            }
            Admission::Tick => {
                let due: Vec<OrgId> = self.due_orgs(now).cloned().collect();
                for org in due {
                    self.with_org(&org, now, &mut postings, |_, _| Ok(()))?;
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

    /// Books what is due for an org, then lets `act` work on its state.
    fn with_org<T>(
        &mut self,
        org: &OrgId,
        now: Timestamp,
        postings: &mut Vec<Posting>,
        act: impl FnOnce(&mut OrgState, &mut Vec<Posting>) -> Result<T, AmountError>,
    ) -> Result<T, FoldError> {
        let state = self.orgs.get_mut(org).ok_or_else(|| FoldError::NotLoaded(org.clone()))?;
        let before = state.next_boundary();
        let number = state.number;
        let out_of_range = |_| Halt::OutOfRange { org: org.to_string() };
        state.book_due(now, postings).map_err(out_of_range)?;
        let result = act(state, postings).map_err(out_of_range)?;
        let after = state.next_boundary();
        if before != after {
            before.map(|at| self.schedule.remove(&(at, org.clone())));
            self.schedule.extend(after.map(|at| (at, org.clone())));
        }
        if state.number != number {
            self.touched.insert(org.clone());
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

fn count_command(counters: &mut Counters, rejection: Option<&Rejection>) -> &'static str {
    if rejection.is_some() {
        counters.rejected += 1;
        "rejected"
    } else {
        counters.commands += 1;
        "carried_out"
    }
}
