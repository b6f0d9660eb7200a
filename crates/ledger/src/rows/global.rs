use std::sync::Arc;

use chrono::{DateTime, Utc};
use fluxori_core::digest::Digest;
use fluxori_core::rates::PricingTier;
use serde::Serialize;
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
#[derive(Serialize)]
pub(crate) struct TierColumns {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) org_id: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) hours: Option<String>,
    pub(crate) effective_from: DateTime<Utc>,
    pub(crate) currency: String,
    pub(crate) source: Option<String>,
    pub(crate) rates: Value,
    pub(crate) above: Value,
}

impl TierColumns {
    pub(crate) fn of(tier: &Arc<PricingTier>) -> Result<Self, LedgerError> {
        let price = &tier.price;
        let json = |error| unreadable("a price", error);
        Ok(Self {
            name: tier.name.to_string(),
            revision: tier.revision.to_string(),
            provider: tier.provider.to_string(),
            model: tier.model.to_string(),
            aliases: tier.aliases.iter().map(ToString::to_string).collect(),
            org_id: price.org.as_ref().map(ToString::to_string),
            service_tier: price.service_tier.as_ref().map(ToString::to_string),
            region: price.region.as_ref().map(ToString::to_string),
            hours: price.hours.map(|hours| hours.to_string()),
            effective_from: to_column(price.effective_from),
            currency: price.currency.to_string(),
            source: price.source.as_ref().map(ToString::to_string),
            rates: serde_json::to_value(&price.rates).map_err(json)?,
            above: serde_json::to_value(&price.above).map_err(json)?,
        })
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> (RowKey, RowText) {
        let Self { name, revision, .. } = self;
        let mut text = RowText::default();
        text.put("provider", &self.provider)
            .put("model", &self.model)
            .put("aliases", self.aliases.join(", "))
            .put_some("org_id", self.org_id.as_deref())
            .put_some("service_tier", self.service_tier.as_deref())
            .put_some("region", self.region.as_deref())
            .put_some("hours", self.hours.as_deref())
            .put_time("effective_from", Some(self.effective_from))
            .put("currency", &self.currency)
            .put_some("source", self.source.as_deref())
            .put_json("rates", Some(&self.rates))
            .put_json("above", Some(&self.above));
        (RowKey::new("", None, format!("the price {name} of revision {revision}")), text)
    }
}
