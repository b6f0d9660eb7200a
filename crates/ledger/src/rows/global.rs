use std::sync::Arc;

use chrono::{DateTime, Utc};
use fluxori_core::digest::Digest;
use fluxori_core::rates::PricingTier;
use serde_json::Value;

use super::{to_column, unreadable};
use crate::commit::GlobalRecord;
use crate::content::{RowKey, RowText};
use crate::error::LedgerError;

/// The columns of a global record; of its bytes the digest.
pub(crate) struct GlobalColumns {
    pub(crate) log_partition: i32,
    pub(crate) log_offset: i64,
    pub(crate) append_time: DateTime<Utc>,
    pub(crate) value_digest: Option<Vec<u8>>,
}

impl GlobalColumns {
    pub(crate) fn of(partition: i32, record: &GlobalRecord) -> Self {
        Self {
            log_partition: partition,
            log_offset: record.offset,
            append_time: to_column(record.append_time),
            value_digest: Some(Digest::of(&record.value).0.to_vec()),
        }
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        let mut text = RowText::default();
        text.put_time("append_time", Some(self.append_time))
            .put_bytes("digest of the value", self.value_digest.as_deref());
        let what = format!("the global record at offset {}", self.log_offset);
        (RowKey::new("", Some(self.log_partition), what), text)
    }
}

/// The columns of a price.
pub(crate) struct TierColumns {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) effective_from: DateTime<Utc>,
    pub(crate) revision: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) usd_per_million_tokens: Value,
}

impl TierColumns {
    pub(crate) fn of(tier: &Arc<PricingTier>) -> Result<Self, LedgerError> {
        let price = &tier.price;
        Ok(Self {
            provider: price.provider.to_string(),
            model: price.model.to_string(),
            effective_from: to_column(price.effective_from),
            revision: tier.revision.to_string(),
            aliases: price.aliases.iter().map(ToString::to_string).collect(),
            usd_per_million_tokens: serde_json::to_value(&price.usd_per_million_tokens)
                .map_err(|error| unreadable("a price", error))?,
        })
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        let mut text = RowText::default();
        text.put("aliases", self.aliases.join(", "))
            .put_json("usd_per_million_tokens", Some(&self.usd_per_million_tokens));
        let Self { provider, model, effective_from, revision, .. } = self;
        let from = effective_from.to_rfc3339();
        let what = format!("the price of {model} at {provider} from {from} in revision {revision}");
        (RowKey::new("", None, what), text)
    }
}
