//! Pure: the first step, which decides what a record is.

use std::collections::HashMap;

use super::context::{Context, Halt, RULES_VERSION};
use crate::amount::Credits;
use crate::command::{
    AllocationKind, Command, CommandBody, CommandKind, Grant, MAX_COMMAND_CREDITS, MAX_GRACE, SignedCommand,
};
use crate::digest::Digest;
use crate::id::{CommandId, EventId, OrgId};
use crate::posting::PricedUsage;
use crate::pricing;
use crate::record::{Body, QuarantineReason, Record, RecordKey};
use crate::usage::{UsageEvent, Violation};

/// Usage that came before its org was opened, in the order in which it came.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingUsage {
    /// The event.
    pub event: UsageEvent,
    /// Its billing digest.
    pub billing_digest: Digest,
}

/// Most events that wait for one org to be opened: what comes after them is quarantined for good, so that a mistyped org
/// at a busy call site stays bounded.
const MAX_WAITING: usize = 10_000;

#[derive(Debug, Clone, Default)]
struct OrgPast {
    open: bool,
    waiting: Vec<WaitingUsage>,
    waiting_ids: HashMap<EventId, Digest>,
}

impl OrgPast {
    fn wait(&mut self, event: UsageEvent, billing_digest: Digest) {
        self.waiting_ids.insert(event.event_id, billing_digest);
        self.waiting.push(WaitingUsage { event, billing_digest });
    }
}

/// What admission needs to know of the past: loaded before a batch, kept up by [`Context::admit`] within it.
#[derive(Debug, Clone, Default)]
pub struct Past {
    orgs: HashMap<OrgId, OrgPast>,
    events: HashMap<(OrgId, EventId), Digest>,
    commands: HashMap<(OrgId, CommandId), Digest>,
}

impl Past {
    /// An org that is open.
    pub fn add_open_org(&mut self, org: OrgId) {
        self.orgs.entry(org).or_default().open = true;
    }

    /// Usage of an org that is not open, in the order of the log.
    pub fn add_waiting(&mut self, event: UsageEvent) {
        let billing_digest = event.billing_digest();
        self.orgs.entry(event.org_id.clone()).or_default().wait(event, billing_digest);
    }

    /// An event that was applied.
    pub fn add_event(&mut self, org: OrgId, event: EventId, billing_digest: Digest) {
        self.events.insert((org, event), billing_digest);
    }

    /// A command that was carried out or rejected.
    pub fn add_command(&mut self, org: OrgId, command: CommandId, payload_digest: Digest) {
        self.commands.insert((org, command), payload_digest);
    }

    /// Forgets an event that was admitted and could not be applied.
    pub(super) fn remove_event(&mut self, org: &OrgId, event: EventId) {
        self.events.remove(&(org.clone(), event));
    }

    /// Whether the org is open.
    #[must_use]
    pub fn is_open(&self, org: &OrgId) -> bool {
        self.orgs.get(org).is_some_and(|past| past.open)
    }

    /// Forgets the ids of events; they must then be loaded again before they are needed.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Forgets the ids of commands; they must then be loaded again before they are needed.
    pub fn forget_commands(&mut self) {
        self.commands.clear();
    }

    /// Forgets whether an org is open and what waits for it; both must then be loaded again before they are needed.
    pub fn forget_org(&mut self, org: &OrgId) {
        self.orgs.remove(org);
    }
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// Usage to be debited.
    Usage(Box<PricedUsage>),
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
    /// Which event it says it is, where that could be read.
    pub event_id: Option<EventId>,
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
    pub command: Command,
    /// Digest of its payload.
    pub payload_digest: Digest,
    /// Set where it is already clear that it does not hold.
    pub rejection: Option<Rejection>,
    /// Whether it opens the org.
    pub opens: bool,
    /// The usage that waited for the opening, admitted now, in order.
    pub released: Vec<Admission>,
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

fn quarantined(reason: QuarantineReason, detail: impl Into<String>, event: Option<&UsageEvent>) -> Admission {
    Admission::Quarantined(Quarantined {
        reason,
        detail: detail.into(),
        org: event.map(|event| event.org_id.clone()),
        event_id: event.map(|event| event.event_id),
    })
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
                event_id: None,
            }),
            Body::Tick if record.key == RecordKey::Global => Admission::Tick,
            Body::Tick => quarantined(QuarantineReason::Malformed, "an empty value under an org's key", None),
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

    fn admit_usage(&self, past: &mut Past, key: &RecordKey, event: &UsageEvent) -> Admission {
        if let Some((reason, detail)) = self.misplaced(key, &event.org_id) {
            return quarantined(reason, detail, None);
        }
        if event.revision != 1 {
            let detail = "superseding an uncertain event is not in rules version 1";
            return quarantined(QuarantineReason::Superseding, detail, Some(event));
        }
        let billing_digest = event.billing_digest();
        let id = (event.org_id.clone(), event.event_id);
        let org = past.orgs.entry(event.org_id.clone()).or_default();
        let waiting = || org.waiting_ids.get(&event.event_id);
        if let Some(known) = past.events.get(&id).or_else(waiting).copied() {
            return if known == billing_digest {
                Admission::Duplicate(Duplicate::Usage(id.0, id.1))
            } else {
                quarantined(QuarantineReason::Conflict, "the id was used for another content", Some(event))
            };
        }
        if let Err(violation) = event.check_time(self.now) {
            let reason = match violation {
                Violation::InFuture { .. } => QuarantineReason::OccurredInFuture,
                _ => QuarantineReason::TooLate,
            };
            return quarantined(reason, violation.to_string(), Some(event));
        }
        if !org.open && org.waiting.len() >= MAX_WAITING {
            let detail = format!("{MAX_WAITING} events wait for the org to be opened already");
            return quarantined(QuarantineReason::TooManyWaiting, detail, Some(event));
        }
        if !org.open {
            org.wait(event.clone(), billing_digest);
            return quarantined(QuarantineReason::OrgNotOpen, "waits until its org is opened", Some(event));
        }
        self.priced(past, event.clone(), billing_digest)
    }

    /// Prices usage that nothing else is in the way of, and remembers its id.
    fn priced(&self, past: &mut Past, event: UsageEvent, billing_digest: Digest) -> Admission {
        match pricing::price(&event, &self.rates) {
            Ok(charge) => {
                past.add_event(event.org_id.clone(), event.event_id, billing_digest);
                Admission::Usage(Box::new(PricedUsage { event, billing_digest, charge }))
            }
            Err(error) => quarantined(QuarantineReason::AmountOutOfRange, error.to_string(), Some(&event)),
        }
    }

    fn admit_command(
        &mut self,
        past: &mut Past,
        key: &RecordKey,
        signed: &SignedCommand,
    ) -> Result<Admission, Halt> {
        let command = &signed.command;
        let org = command.body.org();
        let misplaced = match org {
            Some(org) => self.misplaced(key, org),
            None if *key != RecordKey::Global => {
                Some((QuarantineReason::WrongKey, "a global command under an org's key".to_owned()))
            }
            None => None,
        };
        let own_org = self.own_org(key);
        let refused = |reason, detail: String| {
            let org = own_org.clone();
            Ok(Admission::Quarantined(Quarantined { reason, detail, org, event_id: None }))
        };
        if let Some((reason, detail)) = misplaced {
            return refused(reason, detail);
        }
        let payload_digest = Digest::of(&signed.payload);
        let kind = command.body.kind();
        let duplicate = Duplicate::Command(org.cloned(), command.command_id);
        if kind == CommandKind::Genesis && self.known_command(command.command_id) == Some(payload_digest) {
            return Ok(Admission::Duplicate(duplicate));
        }
        let Some(issuer) = self.issuer(&signed.issuer_key_id) else {
            return refused(
                QuarantineReason::UnknownKey,
                format!("the log knows no key {}", signed.issuer_key_id),
            );
        };
        if !self.log_id().is_some_and(|log_id| signed.is_signed_by(&issuer.public_key, log_id)) {
            let detail = format!("not signed with key {}", signed.issuer_key_id);
            return refused(QuarantineReason::BadSignature, detail);
        }
        if !issuer.kinds.contains(&kind) {
            return refused(QuarantineReason::NotPermitted, format!("{} may not give {kind}", issuer.issuer));
        }
        let known = match org {
            Some(org) => past.commands.get(&(org.clone(), command.command_id)).copied(),
            None => self.known_command(command.command_id),
        };
        match known {
            Some(known) if known == payload_digest => return Ok(Admission::Duplicate(duplicate)),
            Some(_) => {
                return refused(
                    QuarantineReason::Conflict,
                    format!("command {} was given with another content", command.command_id),
                );
            }
            None => {}
        }
        if let CommandBody::SetRules(found) = command.body
            && found > RULES_VERSION
        {
            return Err(Halt::UnknownRules { found });
        }
        let Some(org) = org.cloned() else {
            let rejection = self.carry_out(signed).err().map(Rejection);
            let command_id = command.command_id;
            return Ok(Admission::Global(GlobalOutcome { command_id, kind, payload_digest, rejection }));
        };
        past.add_command(org.clone(), command.command_id, payload_digest);
        Ok(self.admit_org_command(past, org, command.clone(), payload_digest))
    }

    fn admit_org_command(
        &self,
        past: &mut Past,
        org: OrgId,
        command: Command,
        payload_digest: Digest,
    ) -> Admission {
        let entry = past.orgs.entry(org.clone()).or_default();
        let may_open = matches!(command.body, CommandBody::OpenOrg(..) | CommandBody::Grant(..));
        let rejection = check(&command.body).err().or_else(|| {
            (!entry.open && !may_open)
                .then(|| Rejection("the org is not open: grant it credits first".to_owned()))
        });
        let opens = !entry.open && rejection.is_none();
        let waiting = if opens { std::mem::take(entry).waiting } else { Vec::new() };
        entry.open |= opens;
        let released =
            waiting.into_iter().map(|usage| self.priced(past, usage.event, usage.billing_digest)).collect();
        Admission::Command(Box::new(AdmittedCommand {
            org,
            command,
            payload_digest,
            rejection,
            opens,
            released,
        }))
    }
}

/// What a command must hold whatever the state of its org.
fn check(body: &CommandBody) -> Result<(), Rejection> {
    let reject = |text: &str| Err(Rejection(text.to_owned()));
    match body {
        CommandBody::Grant(_, grant) => check_grant(grant),
        CommandBody::Adjust(_, adjust) if adjust.amount.is_zero() => reject("an adjustment of nothing"),
        CommandBody::Adjust(_, adjust) if is_too_much(adjust.amount) => reject(TOO_MUCH),
        CommandBody::OpenOrg(_, policy) | CommandBody::SetPolicy(_, policy) if policy.grace > MAX_GRACE => {
            reject("the grace is longer than 35 days")
        }
        _ => Ok(()),
    }
}

const TOO_MUCH: &str = "a command moves at most 4,294,967,295 credits";

fn is_too_much(amount: Credits) -> bool {
    let most = Credits::from(MAX_COMMAND_CREDITS);
    amount > most || amount < most.negated()
}

fn check_grant(grant: &Grant) -> Result<(), Rejection> {
    let reject = |text: &str| Err(Rejection(text.to_owned()));
    if !grant.amount.is_positive() {
        return reject("a grant must be of more than nothing");
    }
    if is_too_much(grant.amount) {
        return reject(TOO_MUCH);
    }
    if grant.expires_at.is_some_and(|expires_at| expires_at <= grant.effective_at) {
        return reject("expires_at must be after effective_at");
    }
    if grant.kind == AllocationKind::Payg {
        return reject("payg is not in rules version 1");
    }
    Ok(())
}
