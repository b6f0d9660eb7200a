//! The payload of a command, as `schemas/command_payload.v1.avsc` has it, and its way to and from [`Command`].

mod global;
mod org;
mod rates;

use fluxori_core::command::{Command, CommandBody};
use fluxori_core::id::{CommandId, OrgId};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::Violation;
use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::schema::PAYLOAD;
use global::{GenesisRecord, IssueKeyRecord, RatesSealRecord, RevokeKeyRecord, SetRulesRecord};
use org::{
    AccountRecord, AdjustRecord, CorrectRecord, DismissRecord, ExtendRecord, GrantRecord, PolicyRecord,
    ReleaseRecord, RepriceRecord, SetPlanRecord, TransferRecord,
};
use rates::RatesPartRecord;

/// Most bytes of an actor, a reason or a reference.
const MAX_TEXT_BYTES: usize = 1024;

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
    revoke_key: Option<RevokeKeyRecord>,
    set_rules: Option<SetRulesRecord>,
    rates_part: Option<RatesPartRecord>,
    rates_seal: Option<RatesSealRecord>,
    open_org: Option<PolicyRecord>,
    grant: Option<GrantRecord>,
    adjust: Option<AdjustRecord>,
    transfer: Option<TransferRecord>,
    extend: Option<ExtendRecord>,
    suspend: Option<AccountRecord>,
    resume: Option<AccountRecord>,
    set_policy: Option<PolicyRecord>,
    set_plan: Option<SetPlanRecord>,
    correct: Option<CorrectRecord>,
    reprice: Option<RepriceRecord>,
    release: Option<ReleaseRecord>,
    dismiss: Option<DismissRecord>,
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
            revoke_key: None,
            set_rules: None,
            rates_part: None,
            rates_seal: None,
            open_org: None,
            grant: None,
            adjust: None,
            transfer: None,
            extend: None,
            suspend: None,
            resume: None,
            set_policy: None,
            set_plan: None,
            correct: None,
            reprice: None,
            release: None,
            dismiss: None,
        };
        match &command.body {
            CommandBody::Genesis(body) => record.genesis = Some(body.into()),
            CommandBody::IssueKey(body) => record.issue_key = Some(body.into()),
            CommandBody::RevokeKey(key_id) => {
                record.revoke_key = Some(RevokeKeyRecord { key_id: key_id.clone() });
            }
            CommandBody::SetRules(rules_version) => {
                record.set_rules = Some(SetRulesRecord { rules_version: *rules_version });
            }
            CommandBody::RatesPart(body) => record.rates_part = Some(body.into()),
            CommandBody::RatesSeal(body) => record.rates_seal = Some(body.into()),
            CommandBody::OpenOrg(_, body) => record.open_org = Some(body.into()),
            CommandBody::Grant(_, body) => record.grant = Some(body.into()),
            CommandBody::Adjust(_, body) => record.adjust = Some(body.into()),
            CommandBody::Transfer(_, body) => record.transfer = Some(body.into()),
            CommandBody::Extend(_, body) => record.extend = Some(body.into()),
            CommandBody::Suspend(_, body) => record.suspend = Some(body.into()),
            CommandBody::Resume(_, body) => record.resume = Some(body.into()),
            CommandBody::SetPolicy(_, body) => record.set_policy = Some(body.into()),
            CommandBody::SetPlan(_, body) => record.set_plan = Some(body.into()),
            CommandBody::Correct(_, body) => record.correct = Some(body.into()),
            CommandBody::Reprice(_, body) => record.reprice = Some(body.into()),
            CommandBody::Release(_, body) => record.release = Some(body.into()),
            CommandBody::Dismiss(_, body) => record.dismiss = Some(body.into()),
        }
        record
    }
}

impl PayloadRecord {
    fn into_command(self) -> Result<Command, String> {
        let mut bodies = Vec::new();
        bodies.extend(self.genesis.map(|body| CommandBody::Genesis(body.into())));
        bodies.extend(self.issue_key.map(|body| CommandBody::IssueKey(body.into())));
        bodies.extend(self.revoke_key.map(|body| CommandBody::RevokeKey(body.key_id)));
        bodies.extend(self.set_rules.map(|body| CommandBody::SetRules(body.rules_version)));
        bodies.extend(self.rates_part.map(|body| CommandBody::RatesPart(body.into())));
        bodies.extend(self.rates_seal.map(|body| CommandBody::RatesSeal(body.into())));
        let org = || self.org_id.clone().ok_or("a command of an org without org_id");
        if let Some(body) = self.open_org {
            bodies.push(CommandBody::OpenOrg(org()?, body.try_into()?));
        }
        if let Some(body) = self.grant {
            bodies.push(CommandBody::Grant(org()?, body.into()));
        }
        if let Some(body) = self.adjust {
            bodies.push(CommandBody::Adjust(org()?, body.into()));
        }
        if let Some(body) = self.transfer {
            bodies.push(CommandBody::Transfer(org()?, body.into()));
        }
        if let Some(body) = self.extend {
            bodies.push(CommandBody::Extend(org()?, body.into()));
        }
        if let Some(body) = self.suspend {
            bodies.push(CommandBody::Suspend(org()?, body.into()));
        }
        if let Some(body) = self.resume {
            bodies.push(CommandBody::Resume(org()?, body.into()));
        }
        if let Some(body) = self.set_policy {
            bodies.push(CommandBody::SetPolicy(org()?, body.try_into()?));
        }
        if let Some(body) = self.set_plan {
            bodies.push(CommandBody::SetPlan(org()?, body.into()));
        }
        if let Some(body) = self.correct {
            bodies.push(CommandBody::Correct(
                org()?,
                body.try_into().map_err(|violation: Violation| violation.to_string())?,
            ));
        }
        if let Some(body) = self.reprice {
            bodies.push(CommandBody::Reprice(org()?, body.into()));
        }
        if let Some(body) = self.release {
            bodies.push(CommandBody::Release(org()?, body.into()));
        }
        if let Some(body) = self.dismiss {
            bodies.push(CommandBody::Dismiss(org()?, body.into()));
        }
        let (Some(body), true) = (bodies.pop(), bodies.is_empty()) else {
            return Err("a command must do exactly one thing".to_owned());
        };
        if body.org() != self.org_id.as_ref() {
            return Err("a global command with an org_id".to_owned());
        }
        if [&self.actor, &self.reason]
            .into_iter()
            .chain(&self.reference)
            .any(|text| text.len() > MAX_TEXT_BYTES)
        {
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

#[cfg(test)]
mod tests {
    use fluxori_core::command::Dismiss;
    use uuid::Uuid;

    use super::*;

    fn dismissal() -> Vec<u8> {
        let command = Command {
            command_id: CommandId(Uuid::nil()),
            issued_at: Timestamp::default(),
            actor: "ops".to_owned(),
            reason: "test".to_owned(),
            reference: None,
            body: CommandBody::Dismiss("acme".parse().unwrap(), Dismiss { offset: 42 }),
        };
        encode_payload(&command).unwrap()
    }

    fn problem(payload: &[u8]) -> Option<String> {
        match decode_payload(payload) {
            Ok(_) => None,
            Err(PayloadError::Invalid(problem)) => Some(problem),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn a_payload_does_exactly_one_thing() {
        // The last fields: a release, which is empty (0), and a dismissal (2) of offset 42, in zigzag 84.
        let one = dismissal();
        let head = one.strip_suffix(&[0, 2, 84]).unwrap();
        let release = [&[2][..], &[5; 16], &[6; 32]].concat();
        let wrong = Some("a command must do exactly one thing".to_owned());
        assert_eq!(problem(&one), None);
        assert_eq!(problem(&[head, &[0, 0]].concat()), wrong);
        assert_eq!(problem(&[head, &release, &[2, 84]].concat()), wrong);
        assert_eq!(problem(&[head, &release, &[0]].concat()), None);
    }
}
