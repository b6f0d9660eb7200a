//! What was charged and is put right.

use std::collections::BTreeSet;

use fluxori_core::command::{AllocationKind, Change, Correct, Reprice};
use fluxori_core::id::AllocationId;
use fluxori_core::posting::PostingKind;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantities, UsageEvent};

use super::amount::Amount;
use super::org::{EarlyCorrection, Leg, Movement, Org, Place, due};
use super::prices::{self, RateCard, bare};
use super::{Rejected, reject};

/// Most corrections that wait for their events.
const MOST_WAITING: usize = 1_000;

impl Org {
    pub(crate) fn correct(&mut self, correct: &Correct, issued_at: Timestamp) -> Result<(), Rejected> {
        if let Some(current) = self.revision_of(correct.event_id) {
            reject(current != correct.revision, "another revision than the current one")?;
            return self.correct_debit(correct, issued_at);
        }
        reject(correct.revision != 1, "an event that has not come has revision 1 when it comes")?;
        let mut waiting = self.early_corrections.iter().filter(|early| !early.done);
        reject(
            waiting.any(|early| early.correct.event_id == correct.event_id),
            "a correction of it waits already",
        )?;
        let count = self.early_corrections.iter().filter(|early| !early.done).count();
        reject(count >= MOST_WAITING, "too many corrections wait")?;
        self.early_corrections.push(EarlyCorrection { correct: correct.clone(), issued_at, done: false });
        self.post(PostingKind::Correct, issued_at, 0, Vec::new());
        Ok(())
    }

    /// Corrects a debit that is there, whatever its revision.
    pub(crate) fn correct_debit(&mut self, correct: &Correct, issued_at: Timestamp) -> Result<(), Rejected> {
        let index = self.debits.iter().position(|debit| debit.event.event_id == correct.event_id).unwrap();
        let now_charged = match &correct.change {
            Change::Void => 0,
            Change::Replace(quantities) => self.charge_again(index, quantities)?,
        };
        self.debits[index].used = match &correct.change {
            Change::Void => None,
            Change::Replace(quantities) => Some((**quantities).clone()),
        };
        self.change_charge(index, now_charged, issued_at);
        Ok(())
    }

    /// Charges what was used at the prices of now, where nothing has been changed since it was looked at.
    pub(crate) fn reprice(
        &mut self,
        reprice: &Reprice,
        issued_at: Timestamp,
        card: &RateCard,
    ) -> Result<(), Rejected> {
        let Reprice { rates, events } = reprice;
        reject(events.is_empty() || events.len() > 100, "too few or too many events")?;
        reject(events.iter().any(|(_, revision)| *revision < 1), "revisions count from 1")?;
        let ids: BTreeSet<_> = events.iter().map(|(id, _)| id).collect();
        reject(ids.len() < events.len(), "an event twice")?;
        reject(card.latest() != Some(rates), "other rates are in force")?;
        reject(ids.iter().any(|id| self.revision_of(**id).is_none()), "an event that was not charged")?;
        for (id, revision) in events {
            let index = self.debits.iter().position(|debit| debit.event.event_id == *id).unwrap();
            let debit = &self.debits[index];
            let Some(used) = debit.used.clone() else { continue };
            let (before, now) = (debit.price.clone(), card.price_of(&debit.event));
            if debit.revision != *revision || now.as_ref().map(bare) == before.as_ref().map(bare) {
                continue;
            }
            let Ok(now_charged) = prices::charge(now.as_ref(), &used) else { continue };
            self.debits[index].price = now;
            self.change_charge(index, now_charged, issued_at);
        }
        Ok(())
    }

    /// An event of revision 2 takes the place of the uncertain revision 1.
    pub(crate) fn supersede(&mut self, index: usize, event: &UsageEvent) -> Result<(), Rejected> {
        let now_charged = self.charge_again(index, &event.quantities())?;
        self.debits[index].superseded_by = Some(event.clone());
        self.debits[index].used = Some(event.quantities());
        self.change_charge(index, now_charged, event.occurred_at);
        Ok(())
    }

    /// What other quantities cost at the price of the original.
    fn charge_again(&self, index: usize, quantities: &Quantities) -> Result<Amount, Rejected> {
        prices::charge(self.debits[index].price.as_ref(), quantities).map_err(|_| Rejected("too much"))
    }

    pub(crate) fn change_charge(&mut self, index: usize, now_charged: Amount, effective_at: Timestamp) {
        let before = self.debits[index].charged;
        let entries = if now_charged < before {
            self.give_back(index, before - now_charged)
        } else {
            let debit = self.debits[index].clone();
            let legs = self.burn(&debit.event, debit.price.as_ref(), now_charged - before);
            self.debits[index].split.extend(legs.iter().cloned());
            legs.into_iter().map(|leg| Leg { amount: -leg.amount, ..leg }).collect()
        };
        self.debits[index].charged = now_charged;
        self.debits[index].revision += 1;
        self.post(PostingKind::Correct, effective_at, now_charged - before, entries);
    }

    /// Walks the split of a debit from its end until so much has come back.
    fn give_back(&mut self, index: usize, amount: Amount) -> Vec<Leg> {
        let mut rest = amount;
        let mut entries = Vec::new();
        while rest > 0 {
            let owed = self.owed();
            let last = self.debits[index].split.last_mut().unwrap();
            let back = rest.min(last.amount);
            last.amount -= back;
            let leg = Leg { amount: back, ..last.clone() };
            if last.amount == 0 {
                self.debits[index].split.pop();
            }
            rest -= back;
            match leg.place {
                Place::Allocation(id) => self.return_to(id, back, Movement::Consumed, &mut entries),
                Place::Overdraft => {
                    let lowers = back.min(owed);
                    if lowers > 0 {
                        entries.push(Leg { amount: lowers, ..leg });
                    }
                    self.undo_repayments(back - lowers, &mut entries);
                }
                Place::Absorbed | Place::Due => entries.push(leg),
            }
        }
        entries
    }

    /// Overdraft that was paid off and is no more: it goes back to who paid, the last first.
    fn undo_repayments(&mut self, amount: Amount, entries: &mut Vec<Leg>) {
        let mut rest = amount;
        while rest > 0 {
            let (id, repaid) = self.repayments.pop().unwrap();
            let back = rest.min(repaid);
            if repaid > back {
                self.repayments.push((id, repaid - back));
            }
            rest -= back;
            self.return_to(id, back, Movement::Repaid, entries);
        }
    }

    /// Credits come back into the allocation that gave them, or expire at once.
    fn return_to(&mut self, id: AllocationId, amount: Amount, what: Movement, entries: &mut Vec<Leg>) {
        self.note(id, what, -amount);
        entries.push(self.entry(id, amount));
        if !self.allocation(id).is_live() {
            self.note(id, Movement::Expired, amount);
            entries.push(self.entry(id, -amount));
            if self.allocation(id).kind == AllocationKind::Payg {
                entries.push(due(amount));
            }
        }
    }
}
