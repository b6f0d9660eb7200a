//! Pure: what the usage log counts of an event, and what a correction makes of it.

use fluxori_analytics::{AnalyticsError, Counts, MadeBy, StoredUsage, UsageAt};
use fluxori_core::command::{Change, CommandBody};
use fluxori_core::fold::{AdmittedCorrection, ChargedUsage, CorrectedBy};
use fluxori_core::posting::PricedUsage;
use fluxori_core::rates::Rates;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, Violation};

/// Usage, the quantities and the charge as they are right.
#[derive(Debug, Clone)]
pub(crate) struct CountedUsage {
    usage: PricedUsage,
    charge_revision: i32,
    voided: bool,
}

/// The record that a row is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) offset: i64,
    pub(crate) append_time: Timestamp,
}

impl CountedUsage {
    /// Of an event that has just been priced.
    pub(crate) fn of(usage: PricedUsage) -> Self {
        Self { charge_revision: usage.event.revision, usage, voided: false }
    }

    /// Of an event whose rows are stored.
    pub(crate) fn read(stored: StoredUsage, rates: &Rates) -> Result<Self, AnalyticsError> {
        let (charge_revision, voided) = (stored.charge_revision, stored.voided);
        Ok(Self { usage: stored.resolve(rates)?, charge_revision, voided })
    }

    /// What admission needs to know of it.
    pub(crate) fn charged(&self) -> ChargedUsage {
        let PricedUsage { event, charge, .. } = &self.usage;
        ChargedUsage { revision: self.charge_revision, ..ChargedUsage::of(event, charge) }
    }

    /// The row that counts it.
    pub(crate) fn row(self, made_by: MadeBy, Place { offset, append_time }: Place) -> UsageAt {
        let counts = if self.voided { Counts::Nothing } else { Counts::Added };
        let Self { usage, charge_revision, .. } = self;
        UsageAt { offset, append_time, made_by, counts, charge_revision, usage }
    }

    /// The row that takes it back; none where it counts nothing.
    fn taken_back(self, made_by: MadeBy, place: Place) -> Option<UsageAt> {
        (!self.voided).then(|| UsageAt { counts: Counts::TakenBack, ..self.row(made_by, place) })
    }

    /// Puts what is right in its place. Returns the rows that this makes.
    ///
    /// # Errors
    /// The correction holds quantities that cannot be; decoding refuses those.
    pub(crate) fn correct(
        &mut self,
        correction: &AdmittedCorrection,
        place: Place,
    ) -> Result<impl Iterator<Item = UsageAt> + use<>, Violation> {
        let before = self.clone();
        let (made_by, mut fields) = match &correction.by {
            CorrectedBy::Command(command, _) => {
                self.voided = matches!(&command.body, CommandBody::Correct(_, correct) if correct.change == Change::Void);
                (MadeBy::Correction, UsageEvent::clone(&self.usage.event).into_fields())
            }
            CorrectedBy::Usage(event, billing_digest) => {
                self.voided = false;
                self.usage.billing_digest = *billing_digest;
                (MadeBy::Superseding, (**event).clone().into_fields())
            }
        };
        // A foreign id's repetition may have been stamped anew: its rows stay where they are.
        fields.occurred_at = before.usage.event.occurred_at;
        if let Some(quantities) = &correction.quantities {
            fields.set_quantities(quantities.clone());
        }
        self.usage.event = UsageEvent::new(fields)?.into();
        self.usage.charge = correction.after.charge.clone();
        self.charge_revision = correction.after.revision;
        let right = self.clone().row(made_by, place);
        Ok(before.taken_back(made_by, place).into_iter().chain([right]))
    }
}
