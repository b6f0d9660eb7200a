//! The payload of a command, as `schemas/command_payload.v1.avsc` has it, and its way to and from [`Command`].

use std::collections::BTreeSet;
use std::time::Duration;

use fluxori_core::amount::{Credits, Usd};
use fluxori_core::command::{
    Account, Adjust, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey,
    OverdraftPolicy, Policy, RatesPart, RatesSeal, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::{
    AllocationId, CommandId, Feature, LogId, Model, Module, OrgId, Provider, RevisionId, UserId,
};
use fluxori_core::rates::{Price, TokenPrices};
use fluxori_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::schema::PAYLOAD;

/// `schemas/command.v1.avsc`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "SignedCommand")]
pub(crate) struct SignedCommandRecord {
    pub(crate) issuer_key_id: String,
    #[serde(with = "apache_avro::serde::bytes")]
    pub(crate) payload: Vec<u8>,
    #[serde(with = "apache_avro::serde::fixed")]
    pub(crate) signature: [u8; 64],
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "CommandPayload")]
struct PayloadRecord {
    command_id: CommandId,
    issued_at: Timestamp,
    actor: String,
    reason: String,
    reference: Option<String>,
    org_id: Option<OrgId>,
    genesis: Option<GenesisRecord>,
    issue_key: Option<IssueKeyRecord>,
    set_rules: Option<SetRulesRecord>,
    rates_part: Option<RatesPartRecord>,
    rates_seal: Option<RatesSealRecord>,
    open_org: Option<PolicyRecord>,
    grant: Option<GrantRecord>,
    adjust: Option<AdjustRecord>,
    set_policy: Option<PolicyRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Genesis")]
struct GenesisRecord {
    log_id: LogId,
    #[serde(with = "apache_avro::serde::fixed")]
    root_key: [u8; 32],
    rules_version: i32,
    partitions: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "IssueKey")]
struct IssueKeyRecord {
    issuer: String,
    #[serde(with = "apache_avro::serde::fixed")]
    public_key: [u8; 32],
    kinds: Vec<CommandKind>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "SetRules")]
struct SetRulesRecord {
    rules_version: i32,
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
struct RatesPartRecord {
    revision: RevisionId,
    index: i32,
    prices: Vec<PriceRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "RatesSeal")]
struct RatesSealRecord {
    revision: RevisionId,
    parts: i32,
    #[serde(with = "apache_avro::serde::fixed")]
    digest: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Policy")]
struct PolicyRecord {
    overdraft: OverdraftPolicy,
    grace_us: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Grant")]
struct GrantRecord {
    user_id: Option<UserId>,
    kind: AllocationKind,
    amount: Credits,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
    priority: i32,
    modules: BTreeSet<Module>,
    features: BTreeSet<Feature>,
    models: BTreeSet<Model>,
    purchased: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Adjust")]
struct AdjustRecord {
    allocation_id: AllocationId,
    amount: Credits,
}

/// Why a payload is no command.
#[derive(Debug)]
pub(crate) enum PayloadError {
    Schema,
    Avro(apache_avro::Error),
    Invalid(String),
}

/// Encodes a command as the payload that is signed.
pub fn encode_payload(command: &Command) -> Result<Vec<u8>, WireError> {
    PAYLOAD.encode(&PayloadRecord::from(command))
}

pub(crate) fn decode_payload(bytes: &[u8]) -> Result<Command, PayloadError> {
    let datum = PAYLOAD.datum(bytes).ok_or(PayloadError::Schema)?;
    let record: PayloadRecord = PAYLOAD.read(datum).map_err(PayloadError::Avro)?;
    record.into_command().map_err(PayloadError::Invalid)
}

impl From<&Command> for PayloadRecord {
    fn from(command: &Command) -> Self {
        let mut record = Self {
            command_id: command.command_id,
            issued_at: command.issued_at,
            actor: command.actor.clone(),
            reason: command.reason.clone(),
            reference: command.reference.clone(),
            org_id: command.body.org().cloned(),
            genesis: None,
            issue_key: None,
            set_rules: None,
            rates_part: None,
            rates_seal: None,
            open_org: None,
            grant: None,
            adjust: None,
            set_policy: None,
        };
        match &command.body {
            CommandBody::Genesis(genesis) => {
                record.genesis = Some(GenesisRecord {
                    log_id: genesis.log_id,
                    root_key: genesis.root_key,
                    rules_version: genesis.rules_version,
                    partitions: genesis.partitions,
                });
            }
            CommandBody::IssueKey(key) => {
                record.issue_key = Some(IssueKeyRecord {
                    issuer: key.issuer.clone(),
                    public_key: key.public_key,
                    kinds: key.kinds.iter().copied().collect(),
                });
            }
            CommandBody::SetRules(rules_version) => {
                record.set_rules = Some(SetRulesRecord { rules_version: *rules_version });
            }
            CommandBody::RatesPart(part) => {
                record.rates_part = Some(RatesPartRecord {
                    revision: part.revision.clone(),
                    index: part.index,
                    prices: part.prices.iter().map(PriceRecord::from).collect(),
                });
            }
            CommandBody::RatesSeal(seal) => {
                record.rates_seal = Some(RatesSealRecord {
                    revision: seal.revision.clone(),
                    parts: seal.parts,
                    digest: seal.digest.0,
                });
            }
            CommandBody::OpenOrg(_, policy) => record.open_org = Some(policy.into()),
            CommandBody::SetPolicy(_, policy) => record.set_policy = Some(policy.into()),
            CommandBody::Grant(_, grant) => record.grant = Some(grant.into()),
            CommandBody::Adjust(_, adjust) => {
                record.adjust =
                    Some(AdjustRecord { allocation_id: adjust.allocation_id, amount: adjust.amount });
            }
        }
        record
    }
}

impl PayloadRecord {
    fn into_command(self) -> Result<Command, String> {
        let mut bodies = Vec::new();
        bodies.extend(self.genesis.map(|genesis| {
            CommandBody::Genesis(Genesis {
                log_id: genesis.log_id,
                root_key: genesis.root_key,
                rules_version: genesis.rules_version,
                partitions: genesis.partitions,
            })
        }));
        bodies.extend(self.issue_key.map(|key| {
            let kinds = key.kinds.into_iter().collect();
            CommandBody::IssueKey(IssueKey { issuer: key.issuer, public_key: key.public_key, kinds })
        }));
        bodies.extend(self.set_rules.map(|rules| CommandBody::SetRules(rules.rules_version)));
        bodies.extend(self.rates_part.map(|part| {
            let prices = part.prices.into_iter().map(Price::from).collect();
            CommandBody::RatesPart(RatesPart { revision: part.revision, index: part.index, prices })
        }));
        bodies.extend(self.rates_seal.map(|seal| {
            let digest = Digest(seal.digest);
            CommandBody::RatesSeal(RatesSeal { revision: seal.revision, parts: seal.parts, digest })
        }));
        let org = || self.org_id.clone().ok_or("a command of an org without org_id");
        if let Some(policy) = self.open_org {
            bodies.push(CommandBody::OpenOrg(org()?, policy.try_into()?));
        }
        if let Some(policy) = self.set_policy {
            bodies.push(CommandBody::SetPolicy(org()?, policy.try_into()?));
        }
        if let Some(grant) = self.grant {
            bodies.push(CommandBody::Grant(org()?, grant.into()));
        }
        if let Some(AdjustRecord { allocation_id, amount }) = self.adjust {
            bodies.push(CommandBody::Adjust(org()?, Adjust { allocation_id, amount }));
        }
        let (Some(body), true) = (bodies.pop(), bodies.is_empty()) else {
            return Err("a command must do exactly one thing".to_owned());
        };
        if body.org() != self.org_id.as_ref() {
            return Err("a global command with an org_id".to_owned());
        }
        if [&self.actor, &self.reason].into_iter().chain(&self.reference).any(|text| text.len() > 1024) {
            return Err("actor, reason and reference have at most 1024 bytes each".to_owned());
        }
        Ok(Command {
            command_id: self.command_id,
            issued_at: self.issued_at,
            actor: self.actor,
            reason: self.reason,
            reference: self.reference,
            body,
        })
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

impl From<&Policy> for PolicyRecord {
    fn from(policy: &Policy) -> Self {
        let grace_us = i64::try_from(policy.grace.as_micros()).unwrap_or(i64::MAX);
        Self { overdraft: policy.overdraft, grace_us }
    }
}

impl TryFrom<PolicyRecord> for Policy {
    type Error = &'static str;

    fn try_from(record: PolicyRecord) -> Result<Self, &'static str> {
        let grace = u64::try_from(record.grace_us).map_err(|_| "grace_us is negative")?;
        Ok(Self { overdraft: record.overdraft, grace: Duration::from_micros(grace) })
    }
}

impl From<&Grant> for GrantRecord {
    fn from(grant: &Grant) -> Self {
        let scope = grant.scope.clone();
        Self {
            user_id: grant.account.user().cloned(),
            kind: grant.kind,
            amount: grant.amount,
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
            priority: grant.priority,
            modules: scope.modules,
            features: scope.features,
            models: scope.models,
            purchased: grant.purchased,
        }
    }
}

impl From<GrantRecord> for Grant {
    fn from(record: GrantRecord) -> Self {
        let scope = Scope { modules: record.modules, features: record.features, models: record.models };
        Self {
            account: record.user_id.map_or(Account::Organization, Account::User),
            kind: record.kind,
            amount: record.amount,
            effective_at: record.effective_at,
            expires_at: record.expires_at,
            priority: record.priority,
            scope,
            purchased: record.purchased,
        }
    }
}
