//! What becomes of a usage event.

use std::time::Duration;

use fluxori_core::id::EventId;
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{CallOutcome, Certainty, Measurement, Quantities, UsageEvent, UsageFields};

use super::amount::Amount;
use super::org::{Debit, Org};
use super::prices::{self, ModelPrice, RateCard};

const SECONDS_OF_A_DAY: u64 = 86_400;
/// Most events that wait for an org to open.
const MOST_WAITING: usize = 10_000;

#[expect(clippy::large_enum_variant, reason = "a model need not be fast")]
pub(crate) enum Verdict {
    Debit(Option<ModelPrice>, Amount),
    /// Takes the place of the event of this debit.
    Supersede(usize),
    Duplicate,
    Quarantine(QuarantineReason),
}

impl Org {
    /// What an event is; its time counts only if it is judged `at` some instant of the log.
    pub(crate) fn judge(&self, event: &UsageEvent, at: Option<Timestamp>, card: &RateCard) -> Verdict {
        let debit = self.debits.iter().position(|debit| debit.event.event_id == event.event_id);
        let charged = debit.map(|index| &self.debits[index]);
        let first = charged.map(|debit| &debit.event).or_else(|| self.waiting_event(event.event_id));
        let latest = charged.and_then(|debit| debit.superseded_by.as_ref()).or(first);
        match latest {
            Some(latest) if event.revision < latest.revision || is_same(event, latest) => {
                return Verdict::Duplicate;
            }
            Some(latest) if event.revision == latest.revision => {
                return Verdict::Quarantine(QuarantineReason::Conflict);
            }
            _ => {}
        }
        if let Some(reason) = at.and_then(|at| out_of_time(event.occurred_at, at)) {
            return Verdict::Quarantine(reason);
        }
        match (debit, first) {
            (Some(index), _) => judge_superseding(index, &self.debits[index], event),
            // What waits for its org has not been charged yet, and so nothing can take its place.
            (None, Some(_)) => Verdict::Quarantine(QuarantineReason::Superseding),
            (None, None) => self.judge_new(event, card),
        }
    }

    fn judge_new(&self, event: &UsageEvent, card: &RateCard) -> Verdict {
        if !self.open {
            let full = self.waiting().count() >= MOST_WAITING;
            let reason = if full { QuarantineReason::TooManyWaiting } else { QuarantineReason::OrgNotOpen };
            return Verdict::Quarantine(reason);
        }
        let price = card.price_of(event);
        match prices::charge(price.as_ref(), &event.quantities()) {
            Ok(amount) => Verdict::Debit(price, amount),
            Err(_) => Verdict::Quarantine(QuarantineReason::AmountOutOfRange),
        }
    }

    /// What waits for the org to open, in order.
    fn waiting(&self) -> impl Iterator<Item = &UsageEvent> {
        let waits = |reason| !self.open && reason == QuarantineReason::OrgNotOpen;
        self.quarantine.iter().filter(move |held| waits(held.reason)).filter_map(|held| held.event.as_ref())
    }

    fn waiting_event(&self, id: EventId) -> Option<&UsageEvent> {
        self.waiting().find(|event| event.event_id == id)
    }
}

fn judge_superseding(index: usize, debit: &Debit, event: &UsageEvent) -> Verdict {
    if debit.event.certainty == Certainty::Exact || debit.revision != 1 {
        return Verdict::Quarantine(QuarantineReason::Superseding);
    }
    if !is_same_but_quantities(&debit.event, event) {
        return Verdict::Quarantine(QuarantineReason::Conflict);
    }
    match prices::charge(debit.price.as_ref(), &event.quantities()) {
        Ok(_) => Verdict::Supersede(index),
        Err(_) => Verdict::Quarantine(QuarantineReason::AmountOutOfRange),
    }
}

fn out_of_time(occurred_at: Timestamp, at: Timestamp) -> Option<QuarantineReason> {
    if occurred_at > at.after(Duration::from_mins(5)) {
        Some(QuarantineReason::OccurredInFuture)
    } else if occurred_at < at.before(Duration::from_secs(35 * SECONDS_OF_A_DAY)) {
        Some(QuarantineReason::TooLate)
    } else {
        None
    }
}

/// Whether two events of one id say the same: they may differ in what has no bearing on the charge.
fn is_same(a: &UsageEvent, b: &UsageEvent) -> bool {
    bearing(a) == bearing(b)
}

/// Whether they differ at most in their quantities and revisions too.
fn is_same_but_quantities(a: &UsageEvent, b: &UsageEvent) -> bool {
    let bare = |event: &UsageEvent| {
        let mut fields = bearing(event);
        fields.set_quantities(Quantities::default());
        fields.revision = 1;
        fields
    };
    bare(a) == bare(b)
}

/// The event with everything put to one value that has no bearing on price, account or budget.
fn bearing(event: &UsageEvent) -> UsageFields {
    let mut fields = event.clone().into_fields();
    fields.producer_id = "any".parse().unwrap();
    fields.producer_seq = 0;
    fields.source = "any".parse().unwrap();
    fields.operation = "any".parse().unwrap();
    fields.measurement = Measurement::Measured;
    fields.certainty = Certainty::Exact;
    fields.latency_ms = None;
    fields.time_to_first_token_ms = None;
    fields.attempt = 1;
    fields.outcome = CallOutcome::Success;
    fields.reservation_id = None;
    fields.reservation_final = false;
    fields.request_id = None;
    fields.response_id = None;
    fields.trace_id = None;
    fields.raw_usage = None;
    let native = fields.event_id.0.get_version_num() == 7;
    if !native {
        fields.occurred_at = Timestamp::default();
    }
    fields
}
