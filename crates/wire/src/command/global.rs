//! Commands for the whole log: genesis, keys, rules, rates.

use fluxori_core::amount::Usd;
use fluxori_core::command::{CommandKind, Genesis, IssueKey, RatesPart, RatesSeal};
use fluxori_core::digest::Digest;
use fluxori_core::id::{KeyId, LogId, Model, Provider, RevisionId};
use fluxori_core::rates::{Price, TokenPrices};
use fluxori_core::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Genesis")]
pub(super) struct GenesisRecord {
    log_id: LogId,
    #[serde(with = "apache_avro::serde::fixed")]
    root_key: [u8; 32],
    rules_version: i32,
    partitions: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "IssueKey")]
pub(super) struct IssueKeyRecord {
    issuer: String,
    #[serde(with = "apache_avro::serde::fixed")]
    public_key: [u8; 32],
    kinds: Vec<CommandKind>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "RevokeKey")]
pub(super) struct RevokeKeyRecord {
    pub(super) key_id: KeyId,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "SetRules")]
pub(super) struct SetRulesRecord {
    pub(super) rules_version: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Price")]
struct PriceRecord {
    provider: Provider,
    model: Model,
    aliases: Vec<Model>,
    effective_from: Timestamp,
    input: Usd,
    output: Option<Usd>,
    cache_read: Option<Usd>,
    cache_write_5m: Option<Usd>,
    cache_write_1h: Option<Usd>,
    reasoning: Option<Usd>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "RatesPart")]
pub(super) struct RatesPartRecord {
    revision: RevisionId,
    index: i32,
    prices: Vec<PriceRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "RatesSeal")]
pub(super) struct RatesSealRecord {
    revision: RevisionId,
    parts: i32,
    #[serde(with = "apache_avro::serde::fixed")]
    digest: [u8; 32],
}

impl From<&Genesis> for GenesisRecord {
    fn from(genesis: &Genesis) -> Self {
        Self {
            log_id: genesis.log_id,
            root_key: genesis.root_key,
            rules_version: genesis.rules_version,
            partitions: genesis.partitions,
        }
    }
}

impl From<GenesisRecord> for Genesis {
    fn from(record: GenesisRecord) -> Self {
        Self {
            log_id: record.log_id,
            root_key: record.root_key,
            rules_version: record.rules_version,
            partitions: record.partitions,
        }
    }
}

impl From<&IssueKey> for IssueKeyRecord {
    fn from(key: &IssueKey) -> Self {
        let kinds = key.kinds.iter().copied().collect();
        Self { issuer: key.issuer.clone(), public_key: key.public_key, kinds }
    }
}

impl From<IssueKeyRecord> for IssueKey {
    fn from(record: IssueKeyRecord) -> Self {
        let kinds = record.kinds.into_iter().collect();
        Self { issuer: record.issuer, public_key: record.public_key, kinds }
    }
}

impl From<&RatesPart> for RatesPartRecord {
    fn from(part: &RatesPart) -> Self {
        let prices = part.prices.iter().map(PriceRecord::from).collect();
        Self { revision: part.revision.clone(), index: part.index, prices }
    }
}

impl From<RatesPartRecord> for RatesPart {
    fn from(record: RatesPartRecord) -> Self {
        let prices = record.prices.into_iter().map(Price::from).collect();
        Self { revision: record.revision, index: record.index, prices }
    }
}

impl From<&RatesSeal> for RatesSealRecord {
    fn from(seal: &RatesSeal) -> Self {
        Self { revision: seal.revision.clone(), parts: seal.parts, digest: seal.digest.0 }
    }
}

impl From<RatesSealRecord> for RatesSeal {
    fn from(record: RatesSealRecord) -> Self {
        Self { revision: record.revision, parts: record.parts, digest: Digest(record.digest) }
    }
}

impl From<&Price> for PriceRecord {
    fn from(price: &Price) -> Self {
        let lines = &price.usd_per_million_tokens;
        Self {
            provider: price.provider.clone(),
            model: price.model.clone(),
            aliases: price.aliases.clone(),
            effective_from: price.effective_from,
            input: lines.input,
            output: lines.output,
            cache_read: lines.cache_read,
            cache_write_5m: lines.cache_write_5m,
            cache_write_1h: lines.cache_write_1h,
            reasoning: lines.reasoning,
        }
    }
}

impl From<PriceRecord> for Price {
    fn from(record: PriceRecord) -> Self {
        Self {
            provider: record.provider,
            model: record.model,
            aliases: record.aliases,
            effective_from: record.effective_from,
            usd_per_million_tokens: TokenPrices {
                input: record.input,
                output: record.output,
                cache_read: record.cache_read,
                cache_write_5m: record.cache_write_5m,
                cache_write_1h: record.cache_write_1h,
                reasoning: record.reasoning,
            },
        }
    }
}
