//! Pure: commands, what else than usage changes the ledger.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::amount::Credits;
use crate::digest::Digest;
use crate::id::{AllocationId, CommandId, Feature, KeyId, LogId, Model, Module, OrgId, RevisionId, UserId};
use crate::rates::Price;
use crate::time::Timestamp;

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
    /// Some prices of a revision that is not yet sealed.
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
    /// Replaces an org's policy.
    SetPolicy(OrgId, Policy),
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
    SetRules,
    /// Parts and seals of rates.
    Rates,
    /// Opening an org.
    OpenOrg,
    /// Granting.
    Grant,
    /// Adjusting.
    Adjust,
    /// Setting a policy.
    SetPolicy,
}

impl CommandKind {
    /// The name in tables and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::IssueKey => "issue_key",
            Self::SetRules => "set_rules",
            Self::Rates => "rates",
            Self::OpenOrg => "open_org",
            Self::Grant => "grant",
            Self::Adjust => "adjust",
            Self::SetPolicy => "set_policy",
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
            Self::SetRules(_) => CommandKind::SetRules,
            Self::RatesPart(_) | Self::RatesSeal(_) => CommandKind::Rates,
            Self::OpenOrg(..) => CommandKind::OpenOrg,
            Self::Grant(..) => CommandKind::Grant,
            Self::Adjust(..) => CommandKind::Adjust,
            Self::SetPolicy(..) => CommandKind::SetPolicy,
        }
    }

    /// The org it belongs to; none for a global command.
    #[must_use]
    pub const fn org(&self) -> Option<&OrgId> {
        match self {
            Self::Genesis(_)
            | Self::IssueKey(_)
            | Self::RatesPart(_)
            | Self::RatesSeal(_)
            | Self::SetRules(_) => None,
            Self::OpenOrg(org, _) | Self::Grant(org, _) | Self::Adjust(org, _) | Self::SetPolicy(org, _) => {
                Some(org)
            }
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

/// Some prices of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct RatesPart {
    /// The revision.
    pub revision: RevisionId,
    /// Which part, from 0.
    pub index: i32,
    /// Its prices.
    pub prices: Vec<Price>,
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

/// Who pays out of an allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// One user inside the org; sorts first because a user's own credits burn first.
    User(UserId),
    /// The organization.
    Organization,
}

impl Account {
    /// The user, if this is a user's account.
    #[must_use]
    pub const fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Organization => None,
        }
    }
}

/// The kind of an allocation; the order is that of burn-down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocationKind {
    /// One per period, use it or lose it.
    Quota,
    /// One per period of a plan.
    Subscription,
    /// Granted once.
    Prepaid,
    /// A credit limit, due at its end.
    Payg,
}

impl AllocationKind {
    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Subscription => "subscription",
            Self::Prepaid => "prepaid",
            Self::Payg => "payg",
        }
    }
}

/// What an allocation may be spent on; an empty set means everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Only these modules.
    pub modules: BTreeSet<Module>,
    /// Only these features.
    pub features: BTreeSet<Feature>,
    /// Only these models.
    pub models: BTreeSet<Model>,
}

impl Scope {
    /// Whether everything fits.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.modules.is_empty() && self.features.is_empty() && self.models.is_empty()
    }

    /// Whether usage of this module, feature and model fits; `models` are all names that the model goes by.
    #[must_use]
    pub fn fits(&self, module: &Module, feature: Option<&Feature>, models: &[&Model]) -> bool {
        (self.modules.is_empty() || self.modules.contains(module))
            && (self.features.is_empty() || feature.is_some_and(|feature| self.features.contains(feature)))
            && (self.models.is_empty() || models.iter().any(|model| self.models.contains(*model)))
    }
}

/// An allocation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who may spend it.
    pub account: Account,
    /// Which kind it is.
    pub kind: AllocationKind,
    /// How many credits; above zero.
    pub amount: Credits,
    /// First instant at which it may be spent.
    pub effective_at: Timestamp,
    /// First instant at which it may no longer be spent; none if it never expires.
    pub expires_at: Option<Timestamp>,
    /// Lower burns first.
    pub priority: i32,
    /// What it may be spent on.
    pub scope: Scope,
    /// Paid for, rather than free.
    pub purchased: bool,
}

/// A change of a live allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    /// Which allocation.
    pub allocation_id: AllocationId,
    /// Credits added, or taken if negative; never more than what is left.
    pub amount: Credits,
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
    /// What happens to usage that no allocation covers.
    pub overdraft: OverdraftPolicy,
    /// How long after its expiry an allocation still pays for usage from before it.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { overdraft: OverdraftPolicy::Carry, grace: Duration::from_mins(5) }
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
