//! What is stored of the charge of an event, for records that correct it.

use std::collections::HashMap;
use std::sync::Arc;

use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, AllocationStatus, ChargedUsage};
use fluxori_core::id::{EventId, Feature, Model, Module, OrgId, Provider, RevisionId, UserId};
use fluxori_core::posting::{Entry, Target};
use fluxori_core::pricing::Charge;
use fluxori_core::rates::Rates;
use fluxori_core::time::Timestamp;
use uuid::Uuid;

use crate::rows::allocation::AllocationRow;
use crate::rows::posting::StoredPricing;
use crate::rows::{self, unreadable};
use crate::{Ledger, LedgerError};

/// The charge of an event as its last correction left it.
#[derive(Debug, Clone)]
pub struct StoredCharge {
    /// Whose.
    pub org: OrgId,
    /// Which event.
    pub event: EventId,
    /// What it took, in order.
    pub split: Vec<Entry>,
    revision: i32,
    occurred_at: Timestamp,
    user_id: Option<UserId>,
    module: Module,
    feature: Option<Feature>,
    provider: Provider,
    request_model: Model,
    model: Model,
    subject_digest: Option<Digest>,
    pricing: StoredPricing,
    credits: Credits,
}

impl StoredCharge {
    /// The charge with the tier that priced it, out of the rates of its partition.
    ///
    /// # Errors
    /// The rates have no such tier.
    pub fn resolve(&self, rates: &Rates) -> Result<ChargedUsage, LedgerError> {
        let tier = match (&self.pricing.tier, &self.pricing.revision) {
            (Some(name), Some(revision)) => {
                let missing = || unreadable("a pricing tier", name);
                let revision = RevisionId::new(revision).map_err(|error| unreadable("a revision", error))?;
                Some(rates.tier(name, &revision).cloned().ok_or_else(missing)?)
            }
            _ => None,
        };
        Ok(ChargedUsage {
            revision: self.revision,
            occurred_at: self.occurred_at,
            user_id: self.user_id.clone(),
            module: self.module.clone(),
            feature: self.feature.clone(),
            provider: self.provider.clone(),
            request_model: self.request_model.clone(),
            model: self.model.clone(),
            subject_digest: self.subject_digest,
            charge: Charge {
                status: self.pricing.status,
                tier,
                call: self.pricing.call.clone(),
                lines: self.pricing.lines.clone(),
                terms: Arc::clone(&self.pricing.terms),
                cost: self.pricing.cost,
                credits: self.credits,
            },
        })
    }
}

/// The columns of a posting that charged an event or corrected its charge.
pub(crate) struct ChargeRow {
    pub(crate) org_id: String,
    pub(crate) event_id: Uuid,
    pub(crate) amount: rust_decimal::Decimal,
    pub(crate) effective_at: chrono::DateTime<chrono::Utc>,
    pub(crate) user_id: Option<String>,
    pub(crate) module: String,
    pub(crate) feature: Option<String>,
    pub(crate) provider: String,
    pub(crate) request_model: String,
    pub(crate) model: String,
    pub(crate) revision: i32,
    pub(crate) entries: String,
    pub(crate) charge: String,
    pub(crate) split: Option<String>,
    pub(crate) subject_digest: Option<Vec<u8>>,
}

impl ChargeRow {
    pub(crate) fn read(self) -> Result<StoredCharge, LedgerError> {
        let split = serde_json::from_str(self.split.as_ref().unwrap_or(&self.entries));
        Ok(StoredCharge {
            org: rows::org_id(&self.org_id)?,
            event: EventId(self.event_id),
            split: split.map_err(|error| unreadable("a split", error))?,
            revision: self.revision,
            occurred_at: self.effective_at.into(),
            user_id: rows::user_id(self.user_id)?,
            module: self.module.parse().map_err(|error| unreadable("a module", error))?,
            feature: (self.feature.map(|text| text.parse()).transpose())
                .map_err(|error| unreadable("a feature", error))?,
            provider: self.provider.parse().map_err(|error| unreadable("a provider", error))?,
            request_model: self.request_model.parse().map_err(|error| unreadable("a model", error))?,
            model: self.model.parse().map_err(|error| unreadable("a model", error))?,
            subject_digest: self.subject_digest.as_deref().map(rows::digest).transpose()?,
            pricing: StoredPricing::read(&self.charge)?,
            credits: rows::credits(self.amount)?,
        })
    }
}

impl Ledger {
    /// The charges of these events, as they are now.
    pub(crate) async fn load_charges(
        &self,
        events: &[(OrgId, EventId)],
    ) -> Result<Vec<StoredCharge>, LedgerError> {
        let (orgs, ids): (Vec<String>, Vec<Uuid>) =
            events.iter().map(|(org, id)| (org.to_string(), id.0)).unzip();
        let postings = sqlx::query_as!(
            ChargeRow,
            r#"SELECT t.org_id, t.event_id AS "event_id!", t.amount, t.effective_at, t.user_id, t.module AS "module!",
                      t.feature, t.provider AS "provider!", t.request_model AS "request_model!", t.model AS "model!",
                      t.revision AS "revision!", t.entries, t.charge AS "charge!", t.split, t.subject_digest
               FROM (SELECT DISTINCT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS event_id) AS asked
               JOIN credit_transactions t ON t.org_id = asked.org_id AND t.event_id = asked.event_id
               ORDER BY t.org_id, t.event_id, t.number"#,
            &orgs,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut charges: HashMap<(OrgId, EventId), StoredCharge> = HashMap::new();
        for posting in postings {
            let mut charge = posting.read()?;
            // The debit comes first, then its corrections, each with the difference.
            if let Some(before) = charges.remove(&(charge.org.clone(), charge.event)) {
                charge.occurred_at = before.occurred_at;
                charge.credits =
                    before.credits.plus(charge.credits).map_err(|error| unreadable("a charge", error))?;
            }
            charges.insert((charge.org.clone(), charge.event), charge);
        }
        Ok(charges.into_values().collect())
    }

    /// The closed allocations that these charges took from, and those that repaid overdraft of their orgs.
    pub(super) async fn load_closed(
        &self,
        charges: &[StoredCharge],
    ) -> Result<Vec<(OrgId, Allocation)>, LedgerError> {
        let orgs: Vec<String> = charges.iter().map(|charge| charge.org.to_string()).collect();
        let took = charges.iter().flat_map(|charge| &charge.split);
        let ids: Vec<Uuid> = took
            .filter_map(|entry| match entry.target {
                Target::Allocation(id) => Some(id.0),
                Target::Overdraft | Target::Absorbed | Target::Due => None,
            })
            .collect();
        let rows = sqlx::query_as!(
            AllocationRow,
            "SELECT org_id, allocation_id, user_id, kind, purchased, priority, scope, effective_at, expires_at,
                    plan_revision, plan_item, period_start, period_end, status, granted, adjusted, moved, consumed,
                    repaid, repaid_in, expired, remaining
             FROM credit_allocations
             WHERE org_id = ANY($1) AND status = $2 AND (repaid > 0 OR allocation_id = ANY($3))",
            &orgs,
            AllocationStatus::Closed.as_str(),
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok((rows::org_id(&row.org_id)?, row.read()?))).collect()
    }
}
