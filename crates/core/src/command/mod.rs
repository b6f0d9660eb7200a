//! Pure: commands, what else than usage changes the ledger.

mod allocation;
mod correction;
mod plan;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{CommandId, KeyId, LogId, OrgId, RevisionId};
use crate::rates::{Card, part_digest, revision_digest};
use crate::time::Timestamp;

pub use allocation::{Account, Adjust, AllocationKind, Extend, Grant, PlanPeriod, Scope, Transfer};
pub use correction::{Change, Correct, Dismiss, MAX_REPRICED, Release, Reprice};
pub use plan::{MAX_ITEMS, MAX_PLAN_USERS, Plan, PlanItem, SetPlan, Share};

/// What precedes the log's id and the payload in the bytes that are signed.
const SIGNATURE_DOMAIN: &[u8] = b"fluxori.command.v1\0";

/// A command, valid in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Identity: the same command twice is one command.
    pub command_id: CommandId,
    /// When it was made, by its issuer's clock.
    pub issued_at: Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it refers to elsewhere: an invoice, a ticket.
    pub reference: Option<String>,
    /// What it does.
    pub body: CommandBody,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandBody {
    /// The first record of every partition.
    Genesis(Genesis),
    /// Lets a key give some kinds of command.
    IssueKey(IssueKey),
    /// Takes an issuer's key out of force, from here on.
    RevokeKey(KeyId),
    /// Some entries of a revision that is not yet sealed.
    RatesPart(RatesPart),
    /// Puts a revision in force.
    RatesSeal(RatesSeal),
    /// Puts a newer version of the rules in force.
    SetRules(i32),
    /// Opens an org without a grant.
    OpenOrg(OrgId, Policy),
    /// Grants an allocation; opens the org if it is not.
    Grant(OrgId, Grant),
    /// Adds to or takes from a live allocation.
    Adjust(OrgId, Adjust),
    /// Moves credits to another account of the org.
    Transfer(OrgId, Transfer),
    /// Lets a live allocation expire later.
    Extend(OrgId, Extend),
    /// Stops an account: checks refuse its calls. Usage that happened is debited all the same.
    Suspend(OrgId, Account),
    /// Lets an account go on.
    Resume(OrgId, Account),
    /// Replaces an org's policy.
    SetPolicy(OrgId, Policy),
    /// Puts an org on a plan, changes it, or takes the org off it.
    SetPlan(OrgId, SetPlan),
    /// Corrects the charge of a usage event.
    Correct(OrgId, Correct),
    /// Puts charges to what the rates in force make of them.
    Reprice(OrgId, Reprice),
    /// Applies usage that lies in the quarantine.
    Release(OrgId, Release),
    /// Marks a record in the quarantine as done with.
    Dismiss(OrgId, Dismiss),
}

/// The kinds of command that an issuer's key can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Given by the root alone.
    Genesis,
    /// Given by the root alone.
    IssueKey,
    /// Given by the root alone.
    RevokeKey,
    /// Given by the root alone.
    SetRules,
    /// Parts and seals of rates.
    Rates,
    /// Opening an org.
    OpenOrg,
    /// Granting.
    Grant,
    /// Adjusting.
    Adjust,
    /// Transferring.
    Transfer,
    /// Extending an expiry.
    Extend,
    /// Suspending an account.
    Suspend,
    /// Resuming an account.
    Resume,
    /// Setting a policy.
    SetPolicy,
    /// Setting a plan.
    SetPlan,
    /// Correcting a charge.
    Correct,
    /// Repricing charges.
    Reprice,
    /// Releasing from the quarantine.
    Release,
    /// Dismissing from the quarantine.
    Dismiss,
}

impl CommandKind {
    /// The name in tables and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::IssueKey => "issue_key",
            Self::RevokeKey => "revoke_key",
            Self::SetRules => "set_rules",
            Self::Rates => "rates",
            Self::OpenOrg => "open_org",
            Self::Grant => "grant",
            Self::Adjust => "adjust",
            Self::Transfer => "transfer",
            Self::Extend => "extend",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::SetPolicy => "set_policy",
            Self::SetPlan => "set_plan",
            Self::Correct => "correct",
            Self::Reprice => "reprice",
            Self::Release => "release",
            Self::Dismiss => "dismiss",
        }
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CommandBody {
    /// Which kind of command this is.
    #[must_use]
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::Genesis(_) => CommandKind::Genesis,
            Self::IssueKey(_) => CommandKind::IssueKey,
            Self::RevokeKey(_) => CommandKind::RevokeKey,
            Self::SetRules(_) => CommandKind::SetRules,
            Self::RatesPart(_) | Self::RatesSeal(_) => CommandKind::Rates,
            Self::OpenOrg(..) => CommandKind::OpenOrg,
            Self::Grant(..) => CommandKind::Grant,
            Self::Adjust(..) => CommandKind::Adjust,
            Self::Transfer(..) => CommandKind::Transfer,
            Self::Extend(..) => CommandKind::Extend,
            Self::Suspend(..) => CommandKind::Suspend,
            Self::Resume(..) => CommandKind::Resume,
            Self::SetPolicy(..) => CommandKind::SetPolicy,
            Self::SetPlan(..) => CommandKind::SetPlan,
            Self::Correct(..) => CommandKind::Correct,
            Self::Reprice(..) => CommandKind::Reprice,
            Self::Release(..) => CommandKind::Release,
            Self::Dismiss(..) => CommandKind::Dismiss,
        }
    }

    /// The org it belongs to; none for a global command.
    #[must_use]
    pub const fn org(&self) -> Option<&OrgId> {
        match self {
            Self::Genesis(_)
            | Self::IssueKey(_)
            | Self::RevokeKey(_)
            | Self::RatesPart(_)
            | Self::RatesSeal(_)
            | Self::SetRules(_) => None,
            Self::OpenOrg(org, _)
            | Self::Grant(org, _)
            | Self::Adjust(org, _)
            | Self::Transfer(org, _)
            | Self::Extend(org, _)
            | Self::Suspend(org, _)
            | Self::Resume(org, _)
            | Self::SetPolicy(org, _)
            | Self::SetPlan(org, _)
            | Self::Correct(org, _)
            | Self::Reprice(org, _)
            | Self::Release(org, _)
            | Self::Dismiss(org, _) => Some(org),
        }
    }
}

/// What a log is, written once into every partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The log's identity.
    pub log_id: LogId,
    /// Ed25519 public key that signs the keys of issuers.
    pub root_key: [u8; 32],
    /// The rules in force from the start.
    pub rules_version: i32,
    /// How many partitions the log has.
    pub partitions: i32,
}

/// An issuer's key and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueKey {
    /// Who holds it: `edge`, `cli`, ...
    pub issuer: String,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// The kinds of command it may give.
    pub kinds: BTreeSet<CommandKind>,
}

/// Some entries of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct RatesPart {
    /// The revision.
    pub revision: RevisionId,
    /// Which part, from 0.
    pub index: i32,
    /// Its entries.
    pub card: Card,
}

/// Closes a revision and puts it in force, if the named parts have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatesSeal {
    /// The revision.
    pub revision: RevisionId,
    /// How many parts it has.
    pub parts: i32,
    /// Digest over all parts, see [`crate::rates::revision_digest`].
    pub digest: Digest,
}

impl RatesSeal {
    /// The parts of a revision, and the seal that closes it.
    #[must_use]
    pub fn of(revision: &RevisionId, cards: Vec<Card>) -> (Vec<RatesPart>, Self) {
        let digests: Vec<Digest> = cards.iter().map(part_digest).collect();
        let part = |(index, card)| RatesPart { revision: revision.clone(), index, card };
        let seal = Self {
            revision: revision.clone(),
            parts: i32::try_from(digests.len()).unwrap_or(i32::MAX),
            digest: revision_digest(revision, &digests),
        };
        ((0..).zip(cards).map(part).collect(), seal)
    }
}

/// What happens to usage that no allocation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverdraftPolicy {
    /// It is owed, and the next unscoped allocation of the org pays it off.
    #[default]
    Carry,
    /// It is recorded as an expense and not owed.
    Absorb,
}

impl OverdraftPolicy {
    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Carry => "carry",
            Self::Absorb => "absorb",
        }
    }
}

/// What an org has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What happens to usage that no allocation covers; none: it is carried, or absorbed while the org's plan is a trial.
    pub overdraft: Option<OverdraftPolicy>,
    /// How long after its expiry an allocation still pays for usage from before it.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { overdraft: None, grace: Duration::from_mins(5) }
    }
}

/// Most credits of one grant or adjustment.
pub const MAX_COMMAND_CREDITS: u32 = u32::MAX;

/// The longest grace that a policy can ask for: the acceptance window of usage.
pub const MAX_GRACE: Duration = crate::usage::ACCEPTANCE_WINDOW;

/// A command as it lies in the log: signed.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedCommand {
    /// Whose key signed it.
    pub issuer_key_id: KeyId,
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// Ed25519 signature over [`signed_bytes`].
    pub signature: [u8; 64],
    /// What the payload says.
    pub command: Command,
}

impl SignedCommand {
    /// Whether `public_key` made the signature, for this log and this payload. Strict: weak keys are refused.
    #[must_use]
    pub fn is_signed_by(&self, public_key: &[u8; 32], log_id: LogId) -> bool {
        VerifyingKey::from_bytes(public_key).is_ok_and(|key| {
            key.verify_strict(&signed_bytes(log_id, &self.payload), &Signature::from_bytes(&self.signature))
                .is_ok()
        })
    }
}

/// The bytes that a signature covers: a domain tag, the log's id and the payload.
#[must_use]
pub fn signed_bytes(log_id: LogId, payload: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, log_id.0.as_bytes(), payload].concat()
}

/// The name of a public key: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> KeyId {
    let text: String = Digest::of(public_key).to_string().chars().take(16).collect();
    #[expect(clippy::expect_used, reason = "hexadecimal digits always name a key")]
    KeyId::new(&text).expect("valid")
}
