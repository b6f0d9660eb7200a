//! What repricing changes, summed up by org.

use fluxori_core::amount::{AmountError, Credits};
use fluxori_core::id::OrgId;
use fluxori_core::pricing::{Charge, ChargeStatus};
use serde::Serialize;

/// What changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Charges that were looked at.
    pub(super) examined: u64,
    /// Charges that stay as they are because they would be out of range.
    pub(super) out_of_range: u64,
    /// By id.
    pub(super) orgs: Vec<OrgChanges>,
    pub(super) total: Sums,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct OrgChanges {
    pub(super) org_id: OrgId,
    #[serde(flatten)]
    pub(super) sums: Sums,
}

/// Sums over charges that change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sums {
    pub(super) events: u64,
    /// Charges without a price, provisional ones among them.
    pub(super) unpriced_before: u64,
    pub(super) unpriced_after: u64,
    pub(super) partial_before: u64,
    pub(super) partial_after: u64,
    pub(super) credits_before: Credits,
    pub(super) credits_after: Credits,
    pub(super) difference: Credits,
}

impl Changes {
    /// Takes in a charge and what it would be now. Says whether that is another one.
    pub(super) fn add(
        &mut self,
        org: &OrgId,
        before: &Charge,
        now: Result<Charge, AmountError>,
    ) -> Result<bool, AmountError> {
        self.examined += 1;
        let Ok(now) = now else {
            self.out_of_range += 1;
            return Ok(false);
        };
        if now.is_same(before) {
            return Ok(false);
        }
        if self.orgs.last().is_none_or(|last| last.org_id != *org) {
            self.orgs.push(OrgChanges { org_id: org.clone(), sums: Sums::default() });
        }
        if let Some(last) = self.orgs.last_mut() {
            last.sums.add(before, &now)?;
        }
        self.total.add(before, &now)?;
        Ok(true)
    }
}

impl Sums {
    fn add(&mut self, before: &Charge, now: &Charge) -> Result<(), AmountError> {
        let is_unpriced = |charge: &Charge| {
            u64::from(matches!(charge.status, ChargeStatus::Unpriced | ChargeStatus::Provisional))
        };
        let is_partial = |charge: &Charge| u64::from(charge.status == ChargeStatus::Partial);
        self.events += 1;
        self.unpriced_before += is_unpriced(before);
        self.unpriced_after += is_unpriced(now);
        self.partial_before += is_partial(before);
        self.partial_after += is_partial(now);
        self.credits_before = self.credits_before.plus(before.credits)?;
        self.credits_after = self.credits_after.plus(now.credits)?;
        self.difference = self.credits_after.minus(self.credits_before)?;
        Ok(())
    }
}
