//! A log in memory and its fold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey, RatesSeal, Scope,
    SignedCommand, key_id, signed_bytes,
};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, FoldError, OrgState, Outcome, PartitionFold, Past};
use fluxori_core::id::{AllocationId, CommandId, EventId, LogId, OrgId};
use fluxori_core::meter::Meter;
use fluxori_core::posting::{Posting, PostingKind, Target};
use fluxori_core::rates::{Card, ModelRates, Price};
use fluxori_core::record::{Body, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use uuid::Uuid;

/// 2026-11-22T12:00:00Z, where every log begins.
pub(crate) const T0: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);
const LOG: LogId = LogId(Uuid::from_u128(7));

pub(crate) fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn org(text: &str) -> OrgId {
    OrgId::new(text).unwrap()
}

/// A prepaid grant to the org, effective from an hour before the log begins, that never expires.
pub(crate) fn grant(amount: &str) -> Grant {
    Grant {
        account: Account::Organization,
        kind: AllocationKind::Prepaid,
        amount: credits(amount),
        effective_at: T0.before(minutes(60)),
        expires_at: None,
        priority: 0,
        scope: Scope::default(),
        purchased: false,
        period: None,
    }
}

/// A log with one partition: genesis, one issuer's key, the price of gpt-5.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) now: Timestamp,
    /// How many records there were before the test's first.
    pub(crate) setup: usize,
    root: SigningKey,
    issuer: SigningKey,
    commands: u128,
}

impl Log {
    pub(crate) fn new() -> Self {
        let mut log = Self::without_rates();
        log.rates("initial");
        log.setup = log.records.len();
        log
    }

    pub(crate) fn without_rates() -> Self {
        let (root, issuer) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut log = Self { records: Vec::new(), now: T0, setup: 0, root, issuer, commands: 1000 };
        log.set_rules_version(1);
        let key = IssueKey {
            issuer: "test".to_owned(),
            public_key: log.issuer.verifying_key().to_bytes(),
            kinds: [
                CommandKind::Rates,
                CommandKind::OpenOrg,
                CommandKind::Grant,
                CommandKind::Correct,
                CommandKind::Reprice,
                CommandKind::Release,
                CommandKind::SetPlan,
                CommandKind::Adjust,
                CommandKind::SetPolicy,
            ]
            .into(),
        };
        let signed = log.signed_by_root(CommandBody::IssueKey(key), 2);
        log.push(RecordKey::Global, Body::Command(Box::new(signed)));
        log.setup = log.records.len();
        log
    }

    /// Writes the genesis record (anew) with a rules version.
    pub(crate) fn set_rules_version(&mut self, rules_version: i32) {
        let genesis = Genesis {
            log_id: LOG,
            root_key: self.root.verifying_key().to_bytes(),
            rules_version,
            partitions: 1,
        };
        let signed = self.signed_by_root(CommandBody::Genesis(genesis), 1);
        let record =
            Record { key: RecordKey::Global, append_time: T0, body: Body::Command(Box::new(signed)) };
        if self.records.is_empty() {
            self.records.push(record);
        } else {
            self.records[0] = record;
        }
    }

    pub(crate) fn push(&mut self, key: RecordKey, body: Body) {
        self.records.push(Record { key, append_time: self.now, body });
    }

    pub(crate) fn root_key(&self) -> [u8; 32] {
        self.root.verifying_key().to_bytes()
    }

    pub(crate) fn tick(&mut self) {
        self.push(RecordKey::Global, Body::Tick);
    }

    fn sign(&self, key: &SigningKey, body: CommandBody, id: u128) -> SignedCommand {
        let command = Command {
            command_id: CommandId(Uuid::from_u128(id)),
            issued_at: self.now,
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            reference: None,
            body,
        };
        let payload = format!("{command:?}").into_bytes();
        let signature = key.sign(&signed_bytes(LOG, &payload)).to_bytes();
        SignedCommand { issuer_key_id: key_id(&key.verifying_key().to_bytes()), payload, signature, command }
    }

    pub(crate) fn signed(&self, body: CommandBody, id: u128) -> SignedCommand {
        self.sign(&self.issuer, body, id)
    }

    pub(crate) fn signed_by_root(&self, body: CommandBody, id: u128) -> SignedCommand {
        self.sign(&self.root, body, id)
    }

    pub(crate) fn command(&mut self, name: &str, body: CommandBody) -> CommandId {
        self.commands += 1;
        let signed = self.signed(body, self.commands);
        let id = signed.command.command_id;
        self.push(RecordKey::Org(org(name)), Body::Command(Box::new(signed)));
        id
    }

    pub(crate) fn grant(&mut self, name: &str, grant: Grant) -> AllocationId {
        AllocationId(self.command(name, CommandBody::Grant(org(name), grant)).0)
    }

    fn global(&mut self, body: CommandBody) {
        self.commands += 1;
        let signed = self.signed(body, self.commands);
        self.push(RecordKey::Global, Body::Command(Box::new(signed)));
    }

    fn card() -> Card {
        let rates = [(Meter::Input, "1.25"), (Meter::Output, "10"), (Meter::CacheRead, "0.125")];
        let rates = rates.into_iter().map(|(meter, rate)| (meter, rate.parse().unwrap())).collect();
        let price = Price::new("2025-08-07T00:00:00Z".parse().unwrap(), rates);
        let gpt5 = ModelRates::new("openai".parse().unwrap(), "gpt-5".parse().unwrap(), vec![price]);
        Card { models: vec![gpt5], ..Card::default() }
    }

    /// A revision with the price of gpt-5 in one part, sealed.
    pub(crate) fn rates(&mut self, revision: &str) {
        let (parts, _) = RatesSeal::of(&revision.parse().unwrap(), vec![Self::card()]);
        parts.into_iter().for_each(|part| self.global(CommandBody::RatesPart(part)));
        self.seal_only(revision);
    }

    pub(crate) fn seal_only(&mut self, revision: &str) {
        let (_, seal) = RatesSeal::of(&revision.parse().unwrap(), vec![Self::card()]);
        self.global(CommandBody::RatesSeal(seal));
    }

    pub(crate) fn event(&self, name: &str, id: u32, input_tokens: i64, output_tokens: i64) -> UsageEvent {
        let bytes = u128::from(id) | 7 << 76 | 2 << 62;
        let mut fields = UsageFields::new(
            EventId(Uuid::from_u128(bytes)),
            self.now,
            org(name),
            "rag-retrieval".parse().unwrap(),
            "openai".parse().unwrap(),
            "gpt-5".parse().unwrap(),
        );
        fields.input_tokens = input_tokens;
        fields.output_tokens = output_tokens;
        UsageEvent::new(fields).unwrap()
    }

    pub(crate) fn usage(&mut self, name: &str, id: u32, input_tokens: i64, output_tokens: i64) {
        self.usage_with(name, id, input_tokens, output_tokens, |_| ());
    }

    pub(crate) fn usage_with(
        &mut self,
        name: &str,
        id: u32,
        input_tokens: i64,
        output_tokens: i64,
        change: impl FnOnce(&mut UsageFields),
    ) {
        let mut fields = self.event(name, id, input_tokens, output_tokens).into_fields();
        change(&mut fields);
        let event = UsageEvent::new(fields).unwrap();
        self.push(RecordKey::Org(org(name)), Body::Usage(Arc::new(event)));
    }

    /// Appends the first `share` of the records, ticks left out, once more.
    pub(crate) fn replay_prefix(&mut self, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share"
        )]
        let count = (self.records.len() as f64 * share) as usize;
        let again: Vec<Body> = self.records[..count].iter().map(|record| record.body.clone()).collect();
        for (index, body) in again.into_iter().enumerate() {
            if body != Body::Tick {
                let key = self.records[index].key.clone();
                self.push(key, body);
            }
        }
    }
}

/// Keeps in mind what later records correct, supersede or release.
fn watch(fold: &mut PartitionFold, past: &mut Past, records: &[Record]) {
    for (org, event) in records.iter().flat_map(Past::to_watch) {
        fold.watch(past, org, event);
    }
}

/// A log folded, with all that came of it.
pub(crate) struct Folded {
    pub(crate) fold: PartitionFold,
    past: Past,
    pub(crate) postings: Vec<Posting>,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Folded {
    pub(crate) fn of(log: &Log) -> Self {
        Self::in_partition(log, 0)
    }

    pub(crate) fn in_partition(log: &Log, partition: i32) -> Self {
        Self::try_fold(log, partition, None).unwrap()
    }

    pub(crate) fn try_fold(log: &Log, partition: i32, pinned: Option<Digest>) -> Result<Self, FoldError> {
        let mut folded = Self::in_context(log, Context::new(partition, pinned));
        folded.try_apply(&log.records)?;
        Ok(folded)
    }

    /// Nothing folded yet; what records of the log correct, supersede or release is watched.
    pub(crate) fn begin(log: &Log) -> Self {
        Self::in_context(log, Context::new(0, None))
    }

    fn in_context(log: &Log, context: Context) -> Self {
        let mut fold = PartitionFold::new(context, Counters::default(), Digest::default());
        let mut past = Past::default();
        watch(&mut fold, &mut past, &log.records);
        Self { fold, past, postings: Vec::new(), outcomes: Vec::new() }
    }

    pub(crate) fn apply(&mut self, records: &[Record]) {
        self.try_apply(records).unwrap();
    }

    fn try_apply(&mut self, records: &[Record]) -> Result<(), FoldError> {
        for record in records {
            let applied = self.fold.apply(&mut self.past, record)?;
            self.postings.extend(applied.postings);
            self.outcomes.push(applied.outcome);
        }
        Ok(())
    }

    /// Folds in batches; between them everything in memory but the context goes through its stored form.
    pub(crate) fn in_batches(log: &Log, sizes: &[usize]) -> Self {
        let mut folded = Self::begin(log);
        let mut rest = log.records.as_slice();
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            rest = after;
            folded.apply(batch);
            let stored: Vec<OrgState> = folded.fold.orgs().cloned().collect();
            let mut next = PartitionFold::new(
                folded.fold.context().clone(),
                folded.fold.counters(),
                folded.fold.outcomes(),
            );
            for state in stored {
                let live = state.allocations().cloned().collect();
                next.load(OrgState::restore(state.record, live));
            }
            folded.fold = next;
        }
        folded
    }

    pub(crate) fn org(&self, name: &str) -> &OrgState {
        self.fold.orgs().find(|state| state.org().as_str() == name).unwrap()
    }

    pub(crate) fn last(&self) -> &Outcome {
        self.outcomes.last().unwrap()
    }

    pub(crate) fn debits(&self) -> impl Iterator<Item = &Posting> {
        self.postings.iter().filter(|posting| posting.kind == PostingKind::Debit)
    }

    /// Every invariant, over the states and over the postings.
    pub(crate) fn check(&self) {
        for state in self.fold.orgs() {
            state.check_invariants().unwrap();
        }
        let mut sums: BTreeMap<&OrgId, Credits> = BTreeMap::new();
        let mut numbers: HashMap<&OrgId, (i64, Digest)> = HashMap::new();
        for posting in &self.postings {
            let (number, head) = numbers.entry(&posting.org).or_default();
            assert_eq!(posting.number, *number + 1, "numbers are gapless");
            assert_eq!(posting.digest, posting.chained_digest(*head), "digests are chained");
            (*number, *head) = (posting.number, posting.digest);
            let sum = sums.entry(&posting.org).or_default();
            for entry in &posting.entries {
                if !matches!(entry.target, Target::Absorbed | Target::Due) {
                    *sum = sum.plus(entry.amount).unwrap();
                }
            }
        }
        for (name, sum) in sums {
            assert_eq!(
                sum,
                self.org(name.as_str()).balance().unwrap(),
                "the balance is the sum of the entries"
            );
        }
    }
}
