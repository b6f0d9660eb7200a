//! Commands for the whole log: genesis, keys, rules, and the seal of a revision of the rates.

use fluxori_core::command::{CommandKind, Genesis, IssueKey, RatesSeal};
use fluxori_core::digest::Digest;
use fluxori_core::id::{KeyId, LogId, RevisionId};
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
