//! Pure: the first step, which decides what a record is.

mod check;
mod commands;
mod usage;

use super::context::{Context, Halt};
use super::past::{ChargedUsage, KnownEvent, Past};
use crate::command::{Command, CommandKind};
use crate::digest::Digest;
use crate::id::{CommandId, EventId, OrgId};
use crate::posting::PricedUsage;
use crate::record::{Body, QuarantineReason, Record, RecordKey};
use crate::usage::{Quantities, UsageEvent};
use std::sync::Arc;

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// Usage to be booked.
    Usage(AdmittedUsage),
    /// A command of an org.
    Command(Box<AdmittedCommand>),
    /// A command for the whole partition.
    Global(GlobalOutcome),
    /// The log's time.
    Tick,
    /// Known already; counted and ignored.
    Duplicate(Duplicate),
    /// Kept apart until somebody decides.
    Quarantined(Quarantined),
}

/// New usage, priced.
#[derive(Debug, Clone, PartialEq)]
pub enum AdmittedUsage {
    /// To be debited, and the correction that waited for it, if one did.
    First(Box<PricedUsage>, Option<Box<AdmittedCorrection>>),
    /// Takes the place of an uncertain event, which was known as this.
    Superseding(Box<AdmittedCorrection>, KnownEvent),
}

impl AdmittedUsage {
    /// Whose it is, which event, and its billing digest.
    #[must_use]
    pub fn identity(&self) -> (&OrgId, EventId, Digest) {
        match self {
            Self::First(usage, _) => (&usage.event.org_id, usage.event.event_id, usage.billing_digest),
            Self::Superseding(correction, _) => {
                let (CorrectedBy::Usage(_, digest) | CorrectedBy::Command(_, digest)) = &correction.by;
                (&correction.org, correction.event_id, *digest)
            }
        }
    }
}

/// What came again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duplicate {
    /// A usage event.
    Usage(OrgId, EventId),
    /// A command; none for the org of a global one.
    Command(Option<OrgId>, CommandId),
}

/// A record that was not applied, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub reason: QuarantineReason,
    /// Why, in words.
    pub detail: String,
    /// Whose it says it is, where that could be read.
    pub org: Option<OrgId>,
    /// Which event it says it is, and its billing digest, where that could be read.
    pub event: Option<(EventId, Digest)>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
#[must_use]
pub struct Rejection(pub String);

/// A signed, permitted, new command of an org.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedCommand {
    /// Whose.
    pub org: OrgId,
    /// What.
    pub command: Arc<Command>,
    /// Digest of its payload.
    pub payload_digest: Digest,
    /// Set where it is already clear that it does not hold.
    pub rejection: Option<Rejection>,
    /// Whether it opens the org.
    pub opens: bool,
    /// The usage that waited for the opening or is released by name, admitted now, in order.
    pub released: Vec<AdmittedUsage>,
    /// What a correction or repricing changes; of a correction none if it waits for its event.
    pub corrections: Vec<AdmittedCorrection>,
}

/// A change of what was charged for an event.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedCorrection {
    /// Whose.
    pub org: OrgId,
    /// Which event.
    pub event_id: EventId,
    /// What corrects it.
    pub by: CorrectedBy,
    /// What was used, as it is right; none: as it was.
    pub quantities: Option<Quantities>,
    /// The charge before.
    pub before: ChargedUsage,
    /// The charge after.
    pub after: ChargedUsage,
}

/// What corrects a charge.
#[derive(Debug, Clone, PartialEq)]
pub enum CorrectedBy {
    /// A command, and the digest of its payload.
    Command(Arc<Command>, Digest),
    /// An event of revision 2, and its billing digest.
    Usage(Arc<UsageEvent>, Digest),
}

/// What became of a global command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalOutcome {
    /// Which.
    pub command_id: CommandId,
    /// Of which kind.
    pub kind: CommandKind,
    /// Digest of its payload.
    pub payload_digest: Digest,
    /// Why it does not hold, if so.
    pub rejection: Option<Rejection>,
}

fn quarantined(reason: QuarantineReason, detail: impl Into<String>) -> Admission {
    Admission::Quarantined(Quarantined { reason, detail: detail.into(), org: None, event: None })
}

impl Context {
    /// Decides what a record is, and carries out global commands.
    ///
    /// # Errors
    /// The partition cannot go on: see [`Halt`]. The context is as before.
    pub fn admit(&mut self, past: &mut Past, record: &Record) -> Result<Admission, Halt> {
        if self.log().is_none() {
            let command_id = self.begin(record)?;
            self.now = self.now.max(record.append_time);
            return Ok(Admission::Global(GlobalOutcome {
                command_id,
                kind: CommandKind::Genesis,
                payload_digest: self.known_command(command_id).unwrap_or_default(),
                rejection: None,
            }));
        }
        self.now = self.now.max(record.append_time);
        Ok(match &record.body {
            Body::Unreadable(reason, detail) => Admission::Quarantined(Quarantined {
                reason: *reason,
                detail: detail.clone(),
                org: self.own_org(&record.key),
                event: None,
            }),
            Body::Tick if record.key == RecordKey::Global => Admission::Tick,
            Body::Tick => quarantined(QuarantineReason::Malformed, "an empty value under an org's key"),
            Body::Usage(event) => self.admit_usage(past, &record.key, event),
            Body::Command(signed) => self.admit_command(past, &record.key, signed)?,
        })
    }

    /// The org of a key that hashes to this partition: what lies in a wrong partition is nobody's.
    fn own_org(&self, key: &RecordKey) -> Option<OrgId> {
        match key {
            RecordKey::Org(org) if self.is_here(org) => Some(org.clone()),
            RecordKey::Org(_) | RecordKey::Global | RecordKey::Invalid => None,
        }
    }
}
