//! Pure: what holds for all orgs of a partition at one place of its log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::command::{
    Command, CommandBody, CommandKind, Genesis, IssueKey, RatesPart, RatesSeal, SignedCommand, key_id,
};
use crate::digest::Digest;
use crate::id::{CommandId, KeyId, LogId, OrgId, RevisionId};
use crate::rates::{Card, Rates, SharedRates, history_after, part_digest, revision_digest};
use crate::record::{Body, QuarantineReason, Record, RecordKey, partition_of};
use crate::time::Timestamp;

/// The newest rules that this build knows.
pub const RULES_VERSION: i32 = 1;
/// Most parts of a revision of the rates, and most entries in a part.
const MAX_PARTS: usize = 4096;

/// Why a partition cannot go on: the log is not what it must be, or this build is too old for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The first record is no genesis.
    #[error(
        "partition {partition} does not begin with a genesis record: run `credits log init`, or check that the topic is the right one"
    )]
    NoGenesis {
        /// The partition.
        partition: i32,
    },
    /// The genesis is another log's.
    #[error(
        "partition {partition} belongs to another log: its genesis has the digest {found}, the configuration (log.genesis) pins {pinned}"
    )]
    WrongLog {
        /// The partition.
        partition: i32,
        /// Digest of the genesis found.
        found: Digest,
        /// Digest that the configuration names.
        pinned: Digest,
    },
    /// Rules that this build does not know.
    #[error("the log is under rules version {found}, this build knows {RULES_VERSION}: upgrade it")]
    UnknownRules {
        /// The version in force.
        found: i32,
    },
    /// An org's totals would leave the range of an amount.
    #[error("the totals of org {org} leave the range of amounts (10^16 credits)")]
    OutOfRange {
        /// The org.
        org: String,
    },
}

/// What the genesis record says, and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    /// The genesis.
    pub genesis: Genesis,
    /// Digest of its record's payload.
    pub digest: Digest,
}

impl LogIdentity {
    /// Which log a partition belongs to, by its first record.
    ///
    /// # Errors
    /// It is no genesis, under unknown rules, or not the one that is pinned.
    pub fn of_first_record(partition: i32, pinned: Option<Digest>, first: &Record) -> Result<Self, Halt> {
        let mut context = Context::new(partition, pinned);
        context.begin(first)?;
        context.log.ok_or(Halt::NoGenesis { partition })
    }
}

/// A key that may give commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKey {
    /// Who holds it.
    pub issuer: String,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// The kinds of command it may give.
    pub kinds: BTreeSet<CommandKind>,
}

/// The context of a partition: log, keys, rates, running time.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) partition: i32,
    pinned: Option<Digest>,
    log: Option<LogIdentity>,
    keys: HashMap<KeyId, IssuerKey>,
    /// Rates in force.
    pub(super) rates: Arc<Rates>,
    /// Digest over the revisions that they came about by.
    rates_history: Digest,
    shared: Arc<SharedRates>,
    unsealed: HashMap<RevisionId, BTreeMap<i32, Card>>,
    sealed: HashMap<RevisionId, Digest>,
    commands: HashMap<CommandId, Digest>,
    pub(super) now: Timestamp,
}

impl Context {
    /// The context before the first record of a partition. `pinned` is the digest of the genesis that the services'
    /// configuration names; `None` takes any log, as tools for inspection do.
    #[must_use]
    pub fn new(partition: i32, pinned: Option<Digest>) -> Self {
        Self {
            partition,
            pinned,
            log: None,
            keys: HashMap::new(),
            rates: Arc::default(),
            rates_history: Digest::default(),
            shared: Arc::default(),
            unsealed: HashMap::new(),
            sealed: HashMap::new(),
            commands: HashMap::new(),
            now: Timestamp::MIN,
        }
    }

    /// Has its rates in common with other partitions, as far as they are the same.
    #[must_use]
    pub fn sharing(mut self, shared: &Arc<SharedRates>) -> Self {
        self.shared = Arc::clone(shared);
        self
    }

    /// Restores the running time when a context is rebuilt from its global records alone.
    pub fn resume_at(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The log's time: the latest append time so far.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The log, once its genesis has been read.
    #[must_use]
    pub const fn log(&self) -> Option<&LogIdentity> {
        self.log.as_ref()
    }

    /// The rates in force.
    #[must_use]
    pub fn rates(&self) -> &Arc<Rates> {
        &self.rates
    }

    /// The issuers' keys in force.
    #[must_use]
    pub const fn keys(&self) -> &HashMap<KeyId, IssuerKey> {
        &self.keys
    }

    /// The org whose record this is: its key and its body name it, and it hashes to this partition. None for global,
    /// unreadable and misplaced records, and before the genesis was read.
    #[must_use]
    pub fn owner<'record>(&self, record: &'record Record) -> Option<&'record OrgId> {
        let org = match &record.body {
            Body::Usage(event) => &event.org_id,
            Body::Command(signed) => signed.command.body.org()?,
            Body::Tick | Body::Unreadable(..) => return None,
        };
        self.misplaced(&record.key, org).is_none().then_some(org)
    }

    /// Whether an org's records belong into this partition.
    pub(super) fn is_here(&self, org: &OrgId) -> bool {
        self.log.as_ref().is_some_and(|log| {
            partition_of(org.as_str().as_bytes(), log.genesis.partitions) == self.partition
        })
    }

    /// Why a record that says it is `org`'s cannot be here.
    pub(super) fn misplaced(&self, key: &RecordKey, org: &OrgId) -> Option<(QuarantineReason, String)> {
        if !matches!(key, RecordKey::Org(key) if key == org) {
            return Some((QuarantineReason::WrongKey, format!("the record's key is not its org, {org}")));
        }
        if !self.is_here(org) {
            return Some((
                QuarantineReason::WrongPartition,
                format!("the key {org} hashes to another partition"),
            ));
        }
        None
    }

    /// The key that may give a command, if the log knows one.
    pub(super) fn issuer(&self, key: &KeyId) -> Option<&IssuerKey> {
        self.keys.get(key)
    }

    pub(super) fn log_id(&self) -> Option<LogId> {
        self.log.as_ref().map(|log| log.genesis.log_id)
    }

    /// Takes the first record of the partition.
    pub(super) fn begin(&mut self, record: &Record) -> Result<CommandId, Halt> {
        let no_genesis = Halt::NoGenesis { partition: self.partition };
        let (RecordKey::Global, Body::Command(signed)) = (&record.key, &record.body) else {
            return Err(no_genesis);
        };
        let CommandBody::Genesis(genesis) = &signed.command.body else { return Err(no_genesis) };
        if genesis.rules_version != RULES_VERSION {
            return Err(Halt::UnknownRules { found: genesis.rules_version });
        }
        if signed.issuer_key_id != key_id(&genesis.root_key)
            || !signed.is_signed_by(&genesis.root_key, genesis.log_id)
        {
            return Err(no_genesis);
        }
        let digest = Digest::of(&signed.payload);
        if let Some(pinned) = self.pinned.filter(|pinned| *pinned != digest) {
            return Err(Halt::WrongLog { partition: self.partition, found: digest, pinned });
        }
        let root = IssuerKey {
            issuer: "root".to_owned(),
            public_key: genesis.root_key,
            kinds: BTreeSet::from([CommandKind::IssueKey, CommandKind::RevokeKey, CommandKind::SetRules]),
        };
        self.keys.insert(signed.issuer_key_id.clone(), root);
        self.log = Some(LogIdentity { genesis: genesis.clone(), digest });
        self.commands.insert(signed.command.command_id, digest);
        Ok(signed.command.command_id)
    }

    /// The payload digest under which a global command was taken before.
    pub(super) fn known_command(&self, id: CommandId) -> Option<Digest> {
        self.commands.get(&id).copied()
    }

    /// Carries out a global command whose signature was checked. A rejection says why it does not hold.
    pub(super) fn carry_out(&mut self, signed: &SignedCommand) -> Result<(), String> {
        let Command { command_id, body, .. } = &signed.command;
        let result = match body {
            CommandBody::IssueKey(key) => self.issue_key(key),
            CommandBody::SetRules(version) => {
                Err(format!("rules version {version} is in force already, or is older than the one in force"))
            }
            CommandBody::RatesPart(part) => self.take_part(part),
            CommandBody::RatesSeal(seal) => self.seal(seal),
            CommandBody::Genesis(_) => Err("a log has one genesis".to_owned()),
            CommandBody::RevokeKey(key) => self.revoke_key(key),
            _ => Err("belongs to an org".to_owned()),
        };
        self.commands.insert(*command_id, Digest::of(&signed.payload));
        result
    }

    fn issue_key(&mut self, key: &IssueKey) -> Result<(), String> {
        let root_only =
            [CommandKind::Genesis, CommandKind::IssueKey, CommandKind::RevokeKey, CommandKind::SetRules];
        if let Some(kind) = root_only.iter().find(|kind| key.kinds.contains(kind)) {
            return Err(format!("only the root may give {kind}"));
        }
        if self.log.as_ref().is_some_and(|log| log.genesis.root_key == key.public_key) {
            return Err("the root's key is no issuer's".to_owned());
        }
        let issuer =
            IssuerKey { issuer: key.issuer.clone(), public_key: key.public_key, kinds: key.kinds.clone() };
        self.keys.insert(key_id(&key.public_key), issuer);
        Ok(())
    }

    fn revoke_key(&mut self, key: &KeyId) -> Result<(), String> {
        if self.log.as_ref().is_some_and(|log| key_id(&log.genesis.root_key) == *key) {
            return Err("the root's key cannot be revoked".to_owned());
        }
        match self.keys.remove(key) {
            Some(_) => Ok(()),
            None => Err(format!("no key {key} is in force")),
        }
    }

    fn take_part(&mut self, part: &RatesPart) -> Result<(), String> {
        if self.sealed.contains_key(&part.revision) {
            return Err(format!("revision {} is sealed", part.revision));
        }
        let parts = self.unsealed.entry(part.revision.clone()).or_default();
        if parts.len() >= MAX_PARTS || part.card.len() > MAX_PARTS {
            return Err("too many parts or entries".to_owned());
        }
        parts.insert(part.index, part.card.clone());
        Ok(())
    }

    fn seal(&mut self, seal: &RatesSeal) -> Result<(), String> {
        if self.sealed.contains_key(&seal.revision) {
            return Err(format!("revision {} is sealed", seal.revision));
        }
        // Whatever becomes of it: a revision that was refused is given under another name.
        let mut parts = self.unsealed.remove(&seal.revision).unwrap_or_default();
        parts.retain(|index, _| *index < seal.parts);
        let complete = parts.keys().copied().eq(0..seal.parts);
        let digests: Vec<Digest> = parts.values().map(part_digest).collect();
        if !complete || revision_digest(&seal.revision, &digests) != seal.digest {
            return Err(format!("the parts of revision {} are not those that its seal names", seal.revision));
        }
        let history = history_after(self.rates_history, &seal.revision, seal.digest);
        if let Some(rates) = self.shared.find(history) {
            self.rates = rates;
        } else {
            let mut card = Card::default();
            parts.into_values().for_each(|part| card.append(part));
            self.rates.check(&card).map_err(|error| error.to_string())?;
            Arc::make_mut(&mut self.rates).put(&seal.revision, card);
            self.shared.note(history, &self.rates);
        }
        self.rates_history = history;
        self.sealed.insert(seal.revision.clone(), seal.digest);
        Ok(())
    }
}
