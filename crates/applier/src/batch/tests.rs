//! Batches over a store in memory: however the log is cut, whatever is forgotten and whenever the consumer starts anew,
//! the ledger is that of folding the log once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey, RatesSeal, Scope,
};
use fluxori_core::fold::{
    AdmittedCorrection, Allocation, AllocationStatus, ChargedUsage, Context, CorrectedBy, KnownEvent,
    OrgRecord, OrgState,
};
use fluxori_core::id::{AllocationId, CommandId, EventId, GLOBAL_KEY, LogId};
use fluxori_core::meter::Meter;
use fluxori_core::posting::{Cause, Posting, PostingKind, PricedUsage};
use fluxori_core::pricing;
use fluxori_core::rates::{Card, ModelRates, Price, Rates};
use fluxori_core::record::partition_of;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_wire::{Issuer, encode_usage};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use fluxori_core::id::OrgId;
use fluxori_ledger::{GlobalRecord, Loaded, Needed, PostingRow, QuarantineRow, WaitingRecord};

const NOW: i64 = 1_795_348_800_000;
const PARTITIONS: i32 = 2;
/// The partition that is folded.
const HERE: i32 = 0;

/// What Postgres holds, without Postgres.
#[derive(Default)]
struct Store {
    cursor: Option<Cursor>,
    globals: Vec<GlobalRecord>,
    orgs: BTreeMap<OrgId, (OrgRow, BTreeMap<AllocationId, Allocation>)>,
    waiting: BTreeMap<i64, (EventId, WaitingRecord)>,
    events: HashMap<(OrgId, EventId), KnownEvent>,
    commands: HashMap<(OrgId, CommandId), Digest>,
    postings: Vec<Posting>,
}

impl Store {
    /// The state of an org, as its row and the rows of its allocations tell it.
    fn state(&self, org: &OrgId) -> Option<OrgState> {
        let (row, allocations) = self.orgs.get(org)?;
        let record = OrgRecord {
            org: org.clone(),
            number: row.number,
            head: row.head,
            policy: row.policy,
            totals: row.totals,
            suspended: row.suspended.clone(),
            plan: None,
            plan_changed_at: row.plan_changed_at,
        };
        let live = allocations.values().filter(|allocation| allocation.status != AllocationStatus::Closed);
        Some(OrgState::restore(record, live.cloned().collect()))
    }

    fn load(&self, needed: &Needed) -> Loaded {
        let mut loaded = Loaded::default();
        loaded.orgs.extend(needed.orgs.iter().filter_map(|org| self.state(org)));
        for org in &needed.orgs {
            let of_org = self.events.keys().filter(|(of, id)| of == org && id.is_native());
            loaded.newest_events.extend(of_org.map(|(_, id)| *id).max().map(|id| (org.clone(), id)));
        }
        for (_, record) in self.waiting.values() {
            let org = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap();
            if needed.orgs.iter().any(|known| known.as_str() == org) {
                let (key, value) = (record.key.clone(), record.value.clone());
                loaded.waiting.push(WaitingRecord { append_time: record.append_time, key, value });
            }
        }
        for id in &needed.events {
            loaded.events.extend(self.events.get(id).map(|known| (id.0.clone(), id.1, *known)));
        }
        for id in &needed.commands {
            loaded.commands.extend(self.commands.get(id).map(|digest| (id.0.clone(), id.1, *digest)));
        }
        loaded
    }

    fn commit_all(&mut self, in_flight: &mut Option<BatchWrite>) {
        in_flight.take().into_iter().for_each(|write| self.commit(write));
    }

    fn commit(&mut self, write: BatchWrite) {
        for QuarantineRow { offset, append_time, key, value, quarantined } in write.changes.quarantine {
            if quarantined.reason == fluxori_core::record::QuarantineReason::OrgNotOpen {
                self.waiting.insert(
                    offset,
                    (quarantined.event.unwrap().0, WaitingRecord { append_time, key, value }),
                );
            }
        }
        let released: Vec<EventId> = write.changes.released.iter().map(|(_, event, _)| *event).collect();
        self.waiting.retain(|_, (event, _)| !released.contains(event));
        for row in write.changes.postings {
            let posting = row.posting;
            if let fluxori_core::posting::Cause::Usage(usage) = &posting.cause {
                let id = (posting.org.clone(), usage.event.event_id);
                let known =
                    KnownEvent { billing_digest: usage.billing_digest, revision: usage.event.revision };
                // As the unique index of the table would say.
                assert!(self.events.insert(id, known).is_none(), "an event was applied twice");
            }
            self.postings.push(posting);
        }
        for row in write.orgs {
            let (_, allocations) =
                self.orgs.remove(&row.org).unwrap_or_else(|| (row.clone(), BTreeMap::new()));
            self.orgs.insert(row.org.clone(), (row, allocations));
        }
        for (org, allocation) in write.changes.allocations {
            self.orgs.get_mut(&org).unwrap().1.insert(allocation.id, allocation);
        }
        for row in write.changes.commands {
            self.commands.extend(row.org.map(|org| ((org, row.command_id), row.payload_digest)));
        }
        self.globals.extend(write.changes.globals);
        self.cursor = Some(write.cursor);
    }

    /// A fold as a take-over makes it.
    fn take_over(&self) -> PartitionFold {
        let mut context = Context::new(HERE, None);
        for global in &self.globals {
            let record =
                fluxori_wire::decode(Some(GLOBAL_KEY.as_bytes()), Some(&global.value), global.append_time);
            context.admit(&mut Past::default(), &record).unwrap();
        }
        let Some(cursor) = &self.cursor else {
            return PartitionFold::new(context, fluxori_core::fold::Counters::default(), Digest::default());
        };
        context.resume_at(cursor.log_time);
        let mut fold = PartitionFold::new(context, cursor.counters, cursor.outcomes);
        for (row, _) in self.orgs.values() {
            if let Some(at) = row.next_boundary {
                fold.expect_boundary(at, row.org.clone());
            }
        }
        fold
    }
}

type Raw = (i64, Vec<u8>, Vec<u8>);

struct Log {
    issuer: Issuer,
    records: Vec<Raw>,
    now: i64,
    commands: u128,
}

impl Log {
    fn new() -> Self {
        let log_id = LogId(Uuid::from_u128(7));
        let (root, issuer) = (Issuer::new(log_id, "root", [1; 32]), Issuer::new(log_id, "test", [2; 32]));
        let mut log = Self { issuer: issuer.clone(), records: Vec::new(), now: NOW, commands: 100 };
        let genesis =
            Genesis { log_id, root_key: root.public_key(), rules_version: 1, partitions: PARTITIONS };
        log.global(&root, CommandBody::Genesis(genesis));
        let kinds = [CommandKind::Rates, CommandKind::Grant].into();
        let key = IssueKey { issuer: "test".to_owned(), public_key: issuer.public_key(), kinds };
        log.global(&root, CommandBody::IssueKey(key));
        let rates = [(Meter::Input, "1".parse().unwrap())].into_iter().collect();
        let price = Price::new("2025-08-07T00:00:00Z".parse().unwrap(), rates);
        let gpt5 = ModelRates::new("openai".parse().unwrap(), "gpt-5".parse().unwrap(), vec![price]);
        let card = Card { models: vec![gpt5], ..Card::default() };
        let (parts, seal) = RatesSeal::of(&"r1".parse().unwrap(), vec![card]);
        parts.into_iter().for_each(|part| log.global(&issuer, CommandBody::RatesPart(part)));
        log.global(&issuer, CommandBody::RatesSeal(seal));
        log
    }

    fn command(&mut self, body: CommandBody) -> Command {
        self.commands += 1;
        Command {
            command_id: CommandId(Uuid::from_u128(self.commands)),
            issued_at: Timestamp::from_millis(self.now),
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            reference: None,
            body,
        }
    }

    fn global(&mut self, issuer: &Issuer, body: CommandBody) {
        let value = issuer.sign(&self.command(body)).unwrap();
        self.records.push((self.now, GLOBAL_KEY.as_bytes().to_vec(), value));
    }

    fn grant(&mut self, org: &str, amount: u32, starts_in: i64, lasts: Option<u64>) {
        let effective_at = Timestamp::from_millis(self.now + starts_in * 60_000);
        let grant = Grant {
            account: Account::Organization,
            kind: AllocationKind::Prepaid,
            amount: amount.into(),
            effective_at,
            expires_at: lasts.map(|minutes| effective_at.after(Duration::from_mins(minutes))),
            priority: 0,
            scope: Scope::default(),
            purchased: false,
            period: None,
        };
        let command = self.command(CommandBody::Grant(org.parse().unwrap(), grant));
        let value = self.issuer.sign(&command).unwrap();
        self.records.push((self.now, org.as_bytes().to_vec(), value));
    }

    fn usage(&mut self, key: &str, org: &str, id: u32, tokens: i64) {
        let event_id = EventId(Uuid::from_u128(u128::from(id) | 7 << 76 | 2 << 62));
        let mut fields = UsageFields::new(
            event_id,
            Timestamp::from_millis(NOW),
            org.parse().unwrap(),
            "pim".parse().unwrap(),
            "openai".parse().unwrap(),
            "gpt-5".parse().unwrap(),
        );
        fields.input_tokens = tokens;
        let value = encode_usage(&UsageEvent::new(fields).unwrap()).unwrap();
        self.records.push((self.now, key.as_bytes().to_vec(), value));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Grant { org: usize, amount: u32, starts_in: i64, lasts: Option<u64> },
    Usage { org: usize, id: u32, tokens: i64 },
    Misplaced { org: usize, id: u32 },
    Garbage { org: usize },
    Again { index: usize },
    Tick,
    Pass { minutes: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0_usize..6, 1_u32..5, -30_i64..30, proptest::option::of(1_u64..60))
            .prop_map(|(org, amount, starts_in, lasts)| Step::Grant { org, amount, starts_in, lasts }),
        8 => (0_usize..6, 0_u32..40, 0_i64..3000).prop_map(|(org, id, tokens)| Step::Usage { org, id, tokens }),
        1 => (0_usize..6, 0_u32..40).prop_map(|(org, id)| Step::Misplaced { org, id }),
        1 => (0_usize..6).prop_map(|org| Step::Garbage { org }),
        2 => any::<usize>().prop_map(|index| Step::Again { index }),
        2 => Just(Step::Tick),
        2 => (1_u32..30).prop_map(|minutes| Step::Pass { minutes }),
    ];
    proptest::collection::vec(step, 1..70)
}

fn log(steps: &[Step]) -> Log {
    let mut names: Vec<String> = (0..40).map(|number| format!("org-{number}")).collect();
    names.sort_by_key(|name| partition_of(name.as_bytes(), PARTITIONS));
    let (here, elsewhere) = (names.clone(), names.last().unwrap().clone());
    assert_ne!(partition_of(elsewhere.as_bytes(), PARTITIONS), HERE);
    let mut log = Log::new();
    for step in steps {
        match *step {
            Step::Grant { org, amount, starts_in, lasts } => log.grant(&here[org], amount, starts_in, lasts),
            Step::Usage { org, id, tokens } => {
                log.usage(&here[org], &here[org], id + 100 * u32::try_from(org).unwrap(), tokens)
            }
            // Under its own key in a partition that is not its own, or under another org's key.
            Step::Misplaced { org, id } if id % 2 == 0 => {
                log.usage(&elsewhere, &elsewhere, id + 1000 + u32::try_from(org).unwrap(), 5)
            }
            Step::Misplaced { org, id } => log.usage(&elsewhere, &here[org], id + 2000, 5),
            Step::Garbage { org } => {
                log.records.push((log.now, here[org].as_bytes().to_vec(), b"garbage".to_vec()))
            }
            Step::Again { index } => {
                let (_, key, value) = log.records[index % log.records.len()].clone();
                log.records.push((log.now, key, value));
            }
            Step::Tick => log.records.push((log.now, GLOBAL_KEY.as_bytes().to_vec(), Vec::new())),
            Step::Pass { minutes } => log.now += i64::from(minutes) * 60_000,
        }
    }
    log
}

/// How a batch is cut off, and what happens after it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    size: usize,
    after: After,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    /// It is committed before the next one is loaded.
    Commit,
    /// It is in flight while the next one is loaded and folded.
    Fly,
    /// It is committed, and the consumer starts anew.
    Restart,
    /// Its commit fails, and the consumer starts anew from what is stored.
    Fail,
}

const WHOLE: Cut = Cut { size: usize::MAX, after: After::Commit };

/// Works the log off in batches of these sizes.
fn in_batches(log: &Log, cuts: &[Cut], bounds: Bounds) -> Store {
    let mut store = Store::default();
    let (mut state, mut memory) = (store.take_over(), Memory::new());
    let mut cuts = cuts.iter().cycle().copied();
    let (mut offset, mut failures) = (0, 0);
    let mut in_flight = None;
    loop {
        let begin = usize::try_from(offset).unwrap();
        let rest = log.records.get(begin..).unwrap();
        if rest.is_empty() {
            store.commit_all(&mut in_flight);
            return store;
        }
        let Cut { size, after } = cuts.next().unwrap();
        let mut batch = Batch::new(HERE, offset);
        for (append_time, key, value) in &rest[..size.min(rest.len())] {
            batch.push(*append_time, Some(key), Some(value));
        }
        offset = batch.end();
        let decoded = Decoded::new(batch);
        let asked = memory.ask(&state, &decoded);
        let loaded = store.load(&asked.needed);
        let events = memory.remember(&mut state, asked, loaded).unwrap();
        memory.remember_events(store.load(&events));
        let write = fold(&mut state, &mut memory, &decoded, 1).unwrap();
        store.commit_all(&mut in_flight);
        in_flight = Some(write);
        memory.trim(&mut state, memory.batch() - 1, bounds);
        match after {
            After::Fly => continue,
            // A log whose every batch fails would never come to its end.
            After::Fail if failures < 5 => {
                failures += 1;
                in_flight = None;
            }
            After::Commit | After::Restart | After::Fail => store.commit_all(&mut in_flight),
        }
        if after != After::Commit {
            offset = store.cursor.as_ref().map_or(0, |cursor| cursor.next_offset);
            (state, memory) = (store.take_over(), Memory::new());
        }
    }
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let after = prop_oneof![
        3 => Just(After::Commit),
        6 => Just(After::Fly),
        1 => Just(After::Restart),
        1 => Just(After::Fail),
    ];
    proptest::collection::vec((1_usize..12, after).prop_map(|(size, after)| Cut { size, after }), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn cuts_overlap_restarts_and_forgetting_change_nothing(
        steps in steps(),
        cuts in cuts(),
        orgs in 0_usize..4,
        events in 0_usize..6,
    ) {
        let log = log(&steps);
        let whole = in_batches(&log, &[WHOLE], Bounds { orgs: 1000, events: 1000 });
        let cut = in_batches(&log, &cuts, Bounds { orgs, events });
        prop_assert_eq!(&whole.postings.len(), &cut.postings.len());
        for org in whole.orgs.keys() {
            let state = whole.state(org).unwrap();
            let of = |store: &Store| -> Vec<Posting> {
                store.postings.iter().filter(|posting| posting.org == *org).cloned().collect()
            };
            prop_assert_eq!(of(&whole), of(&cut));
            prop_assert_eq!(whole.orgs[org].0.balance, state.balance().unwrap());
            prop_assert_eq!(whole.orgs[org].0.next_boundary, state.next_boundary());
            prop_assert_eq!(Some(state.clone()), cut.state(org));
            prop_assert!(state.check_invariants().is_ok());
        }
        prop_assert_eq!(whole.cursor.as_ref().map(|c| (c.outcomes, c.counters)), cut.cursor.as_ref().map(|c| (c.outcomes, c.counters)));
        prop_assert_eq!(whole.waiting.len(), cut.waiting.len());
    }
}

/// What a batch did to one event: charged it first, or superseded it.
fn did(event: &Arc<UsageEvent>, superseded: bool) -> BatchWrite {
    let charge = pricing::price(event, &Rates::default()).unwrap();
    let before = ChargedUsage::of(event, &charge);
    let billing_digest = event.billing_digest();
    let correction = AdmittedCorrection {
        org: event.org_id.clone(),
        event_id: event.event_id,
        by: CorrectedBy::Usage(Arc::clone(event), billing_digest),
        quantities: Some(event.quantities()),
        after: before.clone(),
        before,
    };
    let cause = match superseded {
        true => Cause::Correction(Box::new(correction), Vec::new()),
        false => Cause::Usage(Box::new(PricedUsage { event: Arc::clone(event), billing_digest, charge })),
    };
    let posting = Posting {
        org: event.org_id.clone(),
        number: 1,
        kind: if superseded { PostingKind::Correct } else { PostingKind::Debit },
        effective_at: event.occurred_at,
        recorded_at: event.occurred_at,
        amount: Credits::ZERO,
        entries: Vec::new(),
        cause,
        digest: Digest::default(),
    };
    let cursor = Cursor {
        next_offset: 1,
        log_time: Timestamp::MIN,
        last_append_time: Timestamp::MIN,
        last_record_digest: Digest::default(),
        outcomes: Digest::default(),
        counters: fluxori_core::fold::Counters::default(),
    };
    let changes = Changes { postings: vec![PostingRow { offset: 0, posting }], ..Changes::default() };
    BatchWrite { partition: HERE, epoch: 1, start_offset: 0, cursor, orgs: Vec::new(), changes }
}

#[test]
fn an_id_that_a_batch_in_flight_superseded_is_not_forgotten_with_the_batch_that_charged_it() {
    let event = |revision| {
        let (id, org) = (EventId(Uuid::from_u128(1 | 7 << 76 | 2 << 62)), "acme".parse().unwrap());
        let (module, provider) = ("pim".parse().unwrap(), "openai".parse().unwrap());
        let at = Timestamp::from_millis(NOW);
        let mut fields = UsageFields::new(id, at, org, module, provider, "gpt-5".parse().unwrap());
        fields.revision = revision;
        Arc::new(UsageEvent::new(fields).unwrap())
    };
    let (first, second) = (event(1), event(2));
    let mut fold = Store::default().take_over();
    let mut memory = Memory::new();
    let nothing = Decoded::new(Batch::new(HERE, 0));
    for (batch, (event, superseded)) in [(&first, false), (&second, true)].into_iter().enumerate() {
        _ = memory.ask(&fold, &nothing);
        assert_eq!(memory.batch(), u64::try_from(batch + 1).unwrap());
        memory.learn(&did(event, superseded));
    }
    // The first batch is committed, the second is in flight.
    memory.trim(&mut fold, 1, Bounds { orgs: 10, events: 0 });
    assert_eq!(memory.known(&first.org_id, first.event_id).map(|known| known.revision), Some(2));
    memory.trim(&mut fold, 2, Bounds { orgs: 10, events: 0 });
    assert_eq!(memory.known(&first.org_id, first.event_id), None);
}
