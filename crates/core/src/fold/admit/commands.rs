//! Pure: admission of commands.

use super::super::context::{Context, Halt, RULES_VERSION};
use super::super::past::Past;
use super::check::check;
use super::usage::{changed, correction};
use super::{
    Admission, AdmittedCommand, AdmittedCorrection, AdmittedUsage, CorrectedBy, Duplicate, GlobalOutcome,
    Quarantined, Rejection,
};
use crate::command::{Command, CommandBody, CommandKind, Correct, Release, Reprice, SignedCommand};
use crate::digest::Digest;
use crate::id::{EventId, OrgId};
use crate::pricing;
use crate::record::{QuarantineReason, RecordKey};
use std::sync::Arc;

/// Most corrections of one org that wait for their events.
const MAX_WAITING_CORRECTIONS: usize = 1_000;

impl Context {
    pub(super) fn admit_command(
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
            Ok(Admission::Quarantined(Quarantined { reason, detail, org, event: None }))
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
                format!(
                    "no key {} is in force: it was never issued, or it was revoked",
                    signed.issuer_key_id
                ),
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
            Some(org) => past.known_command(org, command.command_id),
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
        Ok(self.admit_org_command(past, org, Arc::new(command.clone()), payload_digest))
    }

    fn admit_org_command(
        &self,
        past: &mut Past,
        org: OrgId,
        command: Arc<Command>,
        payload_digest: Digest,
    ) -> Admission {
        let may_open = match &command.body {
            CommandBody::OpenOrg(..) => true,
            // An org that is not open has no plan for a period to be of.
            CommandBody::Grant(_, grant) => grant.period.is_none(),
            _ => false,
        };
        let was_open = past.is_open(&org);
        let mut admitted = AdmittedCommand {
            rejection: check(&command.body).err(),
            org,
            command,
            payload_digest,
            opens: false,
            released: Vec::new(),
            corrections: Vec::new(),
        };
        if admitted.rejection.is_none() && !was_open && !may_open {
            admitted.rejection = Some(Rejection("the org is not open: grant it credits first".to_owned()));
        }
        if admitted.rejection.is_some() {
            return Admission::Command(Box::new(admitted));
        }
        if !was_open {
            admitted.opens = true;
            let waiting = past.open(&admitted.org);
            admitted.released = waiting
                .into_iter()
                .filter_map(|usage| self.admit_waiting(past, usage.event, usage.billing_digest))
                .collect();
        }
        let decided = match &admitted.command.body {
            CommandBody::Correct(_, correct) => self.admit_correction(past, &admitted, correct),
            CommandBody::Release(_, release) => self.release(past, &admitted.org, release).map(|released| {
                admitted.released.push(released);
                Vec::new()
            }),
            CommandBody::Reprice(_, reprice) => self.admit_repricing(past, &admitted, reprice),
            _ => Ok(Vec::new()),
        };
        match decided {
            Ok(corrections) => admitted.corrections = corrections,
            Err(rejection) => admitted.rejection = Some(rejection),
        }
        Admission::Command(Box::new(admitted))
    }

    /// What a correction changes; none if it waits for its event.
    fn admit_correction(
        &self,
        past: &mut Past,
        admitted: &AdmittedCommand,
        correct: &Correct,
    ) -> Result<Vec<AdmittedCorrection>, Rejection> {
        let AdmittedCommand { org, command, payload_digest, .. } = admitted;
        let Some(before) = past.charged(org, correct.event_id) else {
            return wait(past, org, command, *payload_digest, correct).map(|()| Vec::new());
        };
        if before.revision != correct.revision {
            return Err(Rejection(format!(
                "the charge is at revision {}, not {}: look at it again and correct that",
                before.revision, correct.revision
            )));
        }
        let by = CorrectedBy::Command(Arc::clone(command), *payload_digest);
        let admitted = correction(org, correct.event_id, by, &correct.change, before.clone())
            .map_err(|error| Rejection(error.to_string()))?;
        past.note_charged(org, correct.event_id, || admitted.after.clone());
        Ok(vec![admitted])
    }

    /// What a repricing changes: the charges that are still as they were looked at, and that come about in another way
    /// now. One that would be out of range stays as it is.
    fn admit_repricing(
        &self,
        past: &mut Past,
        admitted: &AdmittedCommand,
        Reprice { rates, events }: &Reprice,
    ) -> Result<Vec<AdmittedCorrection>, Rejection> {
        let AdmittedCommand { org, command, payload_digest, .. } = admitted;
        if let Some(latest) = self.rates.revisions().last().filter(|latest| *latest != rates) {
            return Err(Rejection(format!("the rates have changed since, to revision {latest}: look again")));
        }
        if self.rates.revisions().is_empty() {
            return Err(Rejection("no rates are in force".to_owned()));
        }
        if let Some((event, _)) = events.iter().find(|(event, _)| past.charged(org, *event).is_none()) {
            return Err(Rejection(format!("event {event} was not charged")));
        }
        let reprice = |(event, revision): &(EventId, i32)| {
            let before = past.charged(org, *event).filter(|before| before.revision == *revision)?;
            let charge = pricing::reprice(&before.charge, before.subject(org), &self.rates).ok()?;
            let by = || CorrectedBy::Command(Arc::clone(command), *payload_digest);
            let is_changed = !charge.is_same(&before.charge);
            is_changed.then(|| changed((org, *event), by(), None, before.clone(), charge))
        };
        let corrections: Vec<_> = events.iter().filter_map(reprice).collect();
        for correction in &corrections {
            past.note_charged(org, correction.event_id, || correction.after.clone());
        }
        Ok(corrections)
    }

    fn release(&self, past: &mut Past, org: &OrgId, release: &Release) -> Result<AdmittedUsage, Rejection> {
        let Release { event_id, billing_digest } = release;
        let Some(event) = past.quarantined(org, *event_id, *billing_digest).cloned() else {
            return Err(Rejection(format!("the quarantine holds no usage {event_id} of this content")));
        };
        past.forget_quarantined(org, *event_id, *billing_digest);
        match self.admit_released(past, &event, *billing_digest) {
            Admission::Usage(released) => Ok(released),
            Admission::Quarantined(quarantined) => {
                Err(Rejection(format!("{}: {}", quarantined.reason, quarantined.detail)))
            }
            _ => {
                past.note_quarantined(&event);
                Err(Rejection(format!("usage {event_id} was applied already")))
            }
        }
    }
}

fn wait(
    past: &mut Past,
    org: &OrgId,
    command: &Arc<Command>,
    payload_digest: Digest,
    correct: &Correct,
) -> Result<(), Rejection> {
    let reject = |text: String| Err(Rejection(text));
    let event_id = correct.event_id;
    if correct.revision != 1 {
        return reject(format!("event {event_id} has not come: only its revision 1 can be corrected ahead"));
    }
    let corrections = &mut past.org_mut(org).corrections;
    if corrections.contains_key(&event_id) {
        return reject(format!("a correction waits for event {event_id} already"));
    }
    if corrections.len() >= MAX_WAITING_CORRECTIONS {
        return reject(format!(
            "{MAX_WAITING_CORRECTIONS} corrections of the org wait for their events already"
        ));
    }
    corrections.insert(event_id, (Arc::clone(command), payload_digest));
    Ok(())
}
