//! Burn-down: which credits pay for usage.

use fluxori_core::command::{Account, AllocationKind};
use fluxori_core::posting::PostingKind;
use fluxori_core::usage::UsageEvent;

use super::amount::Amount;
use super::org::{Allocation, Debit, Leg, Movement, Org, Status};
use super::prices::ModelPrice;

impl Org {
    /// Charges a usage event, and applies the correction that has waited for it.
    pub(crate) fn debit(&mut self, event: &UsageEvent, price: Option<ModelPrice>, charged: Amount) {
        let split = self.burn(event, price.as_ref(), charged);
        let entries = split.iter().map(|leg| Leg { amount: -leg.amount, ..leg.clone() }).collect();
        self.post(PostingKind::Debit, event.occurred_at, charged, entries);
        let event_id = event.event_id;
        let (event, revision, used) = (event.clone(), event.revision, Some(event.quantities()));
        self.debits.push(Debit { event, superseded_by: None, used, price, charged, revision, split });
        let early = self.early_corrections.iter_mut().find(|early| early.correct.event_id == event_id);
        if let Some(early) = early {
            early.done = true;
            let (correct, issued_at) = (early.correct.clone(), early.issued_at);
            if self.correct_debit(&correct, issued_at).is_err() {
                // Its charge would be out of range: what came stays charged.
                let last = self.debits.len() - 1;
                self.change_charge(last, charged, issued_at);
            }
        }
    }

    /// Takes an amount for an event: what it took from where, in order.
    pub(crate) fn burn(
        &mut self,
        event: &UsageEvent,
        price: Option<&ModelPrice>,
        amount: Amount,
    ) -> Vec<Leg> {
        let mut fitting: Vec<Allocation> =
            self.allocations.iter().filter(|allocation| fits(allocation, event, price)).cloned().collect();
        fitting.sort_by_key(burns_before);
        let mut due = amount;
        let mut legs = Vec::new();
        for allocation in fitting {
            let taken = due.min(allocation.remaining());
            if taken > 0 {
                self.note(allocation.id, Movement::Consumed, taken);
                legs.push(self.entry(allocation.id, taken));
                due -= taken;
            }
        }
        if due > 0 {
            legs.push(Leg { account: Account::Organization, place: self.uncovered(), amount: due });
        }
        legs
    }
}

/// Whether an allocation may pay for an event.
fn fits(allocation: &Allocation, event: &UsageEvent, price: Option<&ModelPrice>) -> bool {
    let own = match &allocation.account {
        Account::Organization => true,
        Account::User(user) => event.user_id.as_ref() == Some(user),
    };
    let begun = allocation.effective_at <= event.occurred_at;
    let ended = allocation.expires_at.is_some_and(|expires_at| expires_at <= event.occurred_at);
    let scope = &allocation.scope;
    let module = scope.modules.is_empty() || scope.modules.contains(&event.module);
    let feature = scope.features.is_empty()
        || event.feature.as_ref().is_some_and(|feature| scope.features.contains(feature));
    let mut names = vec![&event.request_model];
    names.extend(&event.response_model);
    names.extend(price.map(|price| &price.model));
    let model = scope.models.is_empty() || names.into_iter().any(|name| scope.models.contains(name));
    allocation.status == Status::Open && own && begun && !ended && module && feature && model
}

fn burns_before(allocation: &Allocation) -> impl Ord + use<> {
    let users_own_first = allocation.account == Account::Organization;
    let never_last = allocation.expires_at.map_or((1, None), |expires_at| (0, Some(expires_at)));
    let kind = match allocation.kind {
        AllocationKind::Quota => 1,
        AllocationKind::Subscription => 2,
        AllocationKind::Prepaid => 3,
        AllocationKind::Payg => 4,
    };
    let free_first = allocation.purchased;
    (
        users_own_first,
        allocation.priority,
        never_last,
        kind,
        free_first,
        allocation.effective_at,
        allocation.id,
    )
}
