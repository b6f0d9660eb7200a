//! Pure: admission of usage.

use super::super::context::Context;
use super::super::past::{ChargedUsage, KnownEvent, Past};
use super::{Admission, AdmittedCorrection, AdmittedUsage, CorrectedBy, Duplicate, Quarantined, quarantined};
use crate::amount::AmountError;
use crate::command::{Change, CommandBody};
use crate::digest::Digest;
use crate::id::{EventId, OrgId};
use crate::posting::PricedUsage;
use crate::pricing::{self, Charge};
use crate::record::{QuarantineReason, RecordKey};
use crate::usage::{Quantities, UsageEvent, Violation};
use std::sync::Arc;

/// Most events that wait for one org to be opened: what comes after them is quarantined for good, so that a mistyped org
/// at a busy call site stays bounded.
const MAX_WAITING: usize = 10_000;

impl Context {
    pub(super) fn admit_usage(&self, past: &mut Past, key: &RecordKey, event: &Arc<UsageEvent>) -> Admission {
        if let Some((reason, detail)) = self.misplaced(key, &event.org_id) {
            return quarantined(reason, detail);
        }
        let billing_digest = event.billing_digest();
        let judged = self.judge(past, event, billing_digest, true);
        self.settle(past, event, billing_digest, judged)
    }

    /// Admits usage that lies in the quarantine; its time is not judged again.
    pub(super) fn admit_released(
        &self,
        past: &mut Past,
        event: &Arc<UsageEvent>,
        digest: Digest,
    ) -> Admission {
        let judged = self.judge(past, event, digest, false);
        self.settle(past, event, digest, judged)
    }

    /// Puts what was refused into the quarantine, under its event.
    fn settle(
        &self,
        past: &mut Past,
        event: &Arc<UsageEvent>,
        billing_digest: Digest,
        judged: Result<Admission, (QuarantineReason, String)>,
    ) -> Admission {
        judged.unwrap_or_else(|(reason, detail)| {
            if reason != QuarantineReason::OrgNotOpen {
                past.note_quarantined(event);
            }
            let (org, event) = (Some(event.org_id.clone()), Some((event.event_id, billing_digest)));
            Admission::Quarantined(Quarantined { reason, detail, org, event })
        })
    }

    fn judge(
        &self,
        past: &mut Past,
        event: &Arc<UsageEvent>,
        billing_digest: Digest,
        judge_time: bool,
    ) -> Result<Admission, (QuarantineReason, String)> {
        let known = past.known_event(&event.org_id, event.event_id);
        if let Some(known) = known
            && event.revision <= known.revision
        {
            if event.revision < known.revision || billing_digest == known.billing_digest {
                return Ok(Admission::Duplicate(Duplicate::Usage(event.org_id.clone(), event.event_id)));
            }
            return Err((QuarantineReason::Conflict, "the id was used for another content".to_owned()));
        }
        if judge_time && let Err(violation) = event.check_time(self.now) {
            let reason = match violation {
                Violation::InFuture { .. } => QuarantineReason::OccurredInFuture,
                _ => QuarantineReason::TooLate,
            };
            return Err((reason, violation.to_string()));
        }
        if let Some(known) = known {
            return supersede(past, event, billing_digest, known);
        }
        let org = past.org_mut(&event.org_id);
        if !org.open && org.waiting.len() >= MAX_WAITING {
            let detail = format!("{MAX_WAITING} events wait for the org to be opened already");
            return Err((QuarantineReason::TooManyWaiting, detail));
        }
        if !org.open {
            past.wait(event.clone(), billing_digest);
            return Err((QuarantineReason::OrgNotOpen, "waits until its org is opened".to_owned()));
        }
        self.priced(past, event.clone(), billing_digest).map(Admission::Usage)
    }

    /// Prices usage that nothing else is in the way of, remembers its id, and joins it with the correction that waited
    /// for it.
    fn priced(
        &self,
        past: &mut Past,
        event: Arc<UsageEvent>,
        billing_digest: Digest,
    ) -> Result<AdmittedUsage, (QuarantineReason, String)> {
        let charge = pricing::price(&event, &self.rates).map_err(out_of_range)?;
        let known = KnownEvent::of(&event, billing_digest);
        past.add_event(event.org_id.clone(), event.event_id, known);
        let waited = past.org_mut(&event.org_id).corrections.remove(&event.event_id);
        let correction = waited.and_then(|(command, digest)| {
            let CommandBody::Correct(_, correct) = &command.body else { return None };
            let change = correct.change.clone();
            let before = ChargedUsage::of(&event, &charge);
            let by = CorrectedBy::Command(command, digest);
            let corrected = correction(&event.org_id, event.event_id, by.clone(), &change, before.clone());
            // Where the charge would be out of range, it stays as it is.
            let unchanged = || Change::Replace(Box::new(event.quantities()));
            let corrected =
                corrected.or_else(|_| correction(&event.org_id, event.event_id, by, &unchanged(), before));
            corrected.ok().map(Box::new)
        });
        past.note_charged(&event.org_id, event.event_id, || match &correction {
            Some(correction) => correction.after.clone(),
            None => ChargedUsage::of(&event, &charge),
        });
        Ok(AdmittedUsage::First(Box::new(PricedUsage { event, billing_digest, charge }), correction))
    }

    /// Usage that waited for its org to be opened; none if it cannot be priced and stays in the quarantine.
    pub(super) fn admit_waiting(
        &self,
        past: &mut Past,
        event: Arc<UsageEvent>,
        billing_digest: Digest,
    ) -> Option<AdmittedUsage> {
        let priced = self.priced(past, event.clone(), billing_digest);
        if priced.is_err() {
            past.note_quarantined(&event);
        }
        priced.ok()
    }
}

fn out_of_range(error: AmountError) -> (QuarantineReason, String) {
    (QuarantineReason::AmountOutOfRange, error.to_string())
}

/// Usage of revision 2 after its revision 1.
fn supersede(
    past: &mut Past,
    event: &Arc<UsageEvent>,
    billing_digest: Digest,
    known: KnownEvent,
) -> Result<Admission, (QuarantineReason, String)> {
    let (org, id) = (&event.org_id, event.event_id);
    let refused = |detail: &str| Err((QuarantineReason::Superseding, detail.to_owned()));
    let Some(before) = past.charged(org, id) else {
        return refused("the event that it supersedes waits for its org to be opened");
    };
    let Some(subject) = before.subject_digest else {
        return refused("the event was exact: correct it by a command");
    };
    if before.revision != 1 {
        return refused("the event was corrected meanwhile");
    }
    if subject != event.subject_digest() {
        let detail = "it differs from the event that it supersedes in more than quantities";
        return Err((QuarantineReason::Conflict, detail.to_owned()));
    }
    let change = Change::Replace(Box::new(event.quantities()));
    let by = CorrectedBy::Usage(Arc::clone(event), billing_digest);
    let admitted = correction(org, id, by, &change, before.clone()).map_err(out_of_range)?;
    past.add_event(org.clone(), id, KnownEvent::of(event, billing_digest));
    past.note_charged(org, id, || admitted.after.clone());
    Ok(Admission::Usage(AdmittedUsage::Superseding(Box::new(admitted), known)))
}

/// What a correction changes.
pub(super) fn correction(
    org: &OrgId,
    event_id: EventId,
    by: CorrectedBy,
    change: &Change,
    before: ChargedUsage,
) -> Result<AdmittedCorrection, AmountError> {
    let (charge, quantities) = match change {
        Change::Void => (pricing::void(&before.charge), Quantities::default()),
        Change::Replace(quantities) => {
            (pricing::price_again(&before.charge, quantities)?, (**quantities).clone())
        }
    };
    Ok(changed((org, event_id), by, Some(quantities), before, charge))
}

/// What puts another charge in the place of the one before.
pub(super) fn changed(
    (org, event_id): (&OrgId, EventId),
    by: CorrectedBy,
    quantities: Option<Quantities>,
    before: ChargedUsage,
    charge: Charge,
) -> AdmittedCorrection {
    let after = ChargedUsage { revision: before.revision.saturating_add(1), charge, ..before.clone() };
    AdmittedCorrection { org: org.clone(), event_id, by, quantities, before, after }
}
