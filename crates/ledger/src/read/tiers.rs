use fluxori_core::rates::TokenPrices;
use fluxori_core::time::Timestamp;

use crate::rows::unreadable;
use crate::{Ledger, LedgerError};

/// A dated price of a model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRecord {
    /// Who serves the model.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// Usage from this instant on has this price, until a later price of the same model begins.
    pub effective_from: Timestamp,
    /// The revision of the rates that brought it.
    pub revision: String,
    /// US dollars per million tokens.
    pub usd_per_million_tokens: TokenPrices,
}

impl Ledger {
    /// The pricing tiers, by provider, model and date; of one model only (or an alias of it), if it is named.
    pub async fn pricing_tiers(&self, model: Option<&str>) -> Result<Vec<TierRecord>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT provider, model, aliases, effective_from, revision, usd_per_million_tokens
             FROM credit_pricing_tiers
             WHERE $1::text IS NULL OR model = $1 OR $1 = ANY(aliases)
             ORDER BY provider, model, effective_from, revision",
            model,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let prices = serde_json::from_value(row.usd_per_million_tokens);
                Ok(TierRecord {
                    provider: row.provider,
                    model: row.model,
                    aliases: row.aliases,
                    effective_from: row.effective_from.into(),
                    revision: row.revision,
                    usd_per_million_tokens: prices.map_err(|error| unreadable("prices", error))?,
                })
            })
            .collect()
    }
}
