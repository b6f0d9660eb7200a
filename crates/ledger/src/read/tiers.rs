use fluxori_core::rates::{LongContext, RateTable};
use fluxori_core::time::Timestamp;
use serde::Serialize;

use crate::rows::unreadable;
use crate::{Ledger, LedgerError};

/// A dated price of a model at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierRecord {
    /// The tier's name.
    pub name: String,
    /// The revision of the rates that brought it.
    pub revision: String,
    /// Who serves the model.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// For calls of this org alone.
    pub org_id: Option<String>,
    /// For calls of this service tier alone.
    pub service_tier: Option<String>,
    /// For calls in this region alone.
    pub region: Option<String>,
    /// For these hours of the day alone.
    pub hours: Option<String>,
    /// Usage from this instant on has this price, until a later price of the same variant begins.
    pub effective_from: Timestamp,
    /// What the rates are in.
    pub currency: String,
    /// Where the price is from.
    pub source: Option<String>,
    /// For a million tokens, or for one of any other unit.
    pub rates: RateTable,
    /// Other rates for requests with a longer context.
    pub above: Vec<LongContext>,
}

impl Ledger {
    /// The pricing tiers of all revisions, by provider, model, variant and date; of one model only (or an alias of it), if
    /// it is named.
    pub async fn pricing_tiers(&self, model: Option<&str>) -> Result<Vec<TierRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT name, revision, provider, model, aliases, org_id, service_tier, region, hours, effective_from,
                    currency, source, rates, above
             FROM credit_pricing_tiers
             WHERE $1::text IS NULL OR model = $1 OR $1 = ANY(aliases)
             ORDER BY provider, model, service_tier NULLS FIRST, region NULLS FIRST, org_id NULLS FIRST, effective_from,
                      hours, revision",
            model,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let prices = |error| unreadable("prices", error);
                Ok(TierRecord {
                    name: row.name,
                    revision: row.revision,
                    provider: row.provider,
                    model: row.model,
                    aliases: row.aliases,
                    org_id: row.org_id,
                    service_tier: row.service_tier,
                    region: row.region,
                    hours: row.hours,
                    effective_from: row.effective_from.into(),
                    currency: row.currency,
                    source: row.source,
                    rates: serde_json::from_value(row.rates).map_err(prices)?,
                    above: serde_json::from_value(row.above).map_err(prices)?,
                })
            })
            .collect()
    }
}
