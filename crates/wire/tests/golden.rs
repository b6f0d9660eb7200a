//! Golden logs: recorded histories with their expected heads. A build under whose rules one of them folds to something
//! else would compute other ledgers from logs that exist.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fluxori_core::command::{
    Account, Adjust, AllocationKind, Change, Command, CommandBody, CommandKind, Correct, Dismiss, Extend,
    Genesis, Grant, IssueKey, OverdraftPolicy, Plan, PlanItem, Policy, RatesSeal, Release, Reprice, Scope,
    SetPlan, Share, Transfer,
};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, Outcome, PartitionFold, Past};
use fluxori_core::id::{AllocationId, CommandId, EventId, GLOBAL_KEY, Label, LogId, OrgId};
use fluxori_core::meter::Meter;
use fluxori_core::period::{IntervalUnit, Recurrence};
use fluxori_core::rates::{Card, ModelRates, Price};
use fluxori_core::record::Record;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Certainty, Quantities, Quantity, TokenCounts, UsageEvent, UsageFields};
use fluxori_wire::{Issuer, decode, encode_usage};
use uuid::Uuid;

/// 2026-11-22T12:00:00Z.
const T0: i64 = 1_795_348_800_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|index| u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).unwrap())
        .collect()
}

/// One line a record: append time in milliseconds, key and value in hexadecimal.
fn fold(log: &str) -> (PartitionFold, String) {
    let mut fold = PartitionFold::new(Context::new(0, None), Counters::default(), Digest::default());
    let mut past = Past::default();
    let mut said = String::new();
    let read = |line: &str| {
        let [append_time, key, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let append_time = Timestamp::from_millis(append_time.parse().unwrap());
        decode(Some(&unhex(key)), Some(&unhex(value)), append_time)
    };
    let records: Vec<Record> = log.lines().map(read).collect();
    for (org, event) in records.iter().flat_map(Past::to_watch) {
        fold.watch(&mut past, org, event);
    }
    for record in records {
        let applied = fold.apply(&mut past, &record).unwrap();
        if let Outcome::Command { kind, rejection: Some(rejection), .. } = &applied.outcome {
            writeln!(said, "{kind} rejected: {rejection}").unwrap();
        }
        for posting in applied.postings {
            let (org, number, kind) = (posting.org, posting.number, posting.kind.as_str());
            writeln!(said, "{org} {number} {kind} {} {}", posting.amount, posting.digest).unwrap();
        }
    }
    writeln!(said, "outcomes {} {:?}", fold.outcomes(), fold.counters()).unwrap();
    let orgs: BTreeMap<_, _> = fold.orgs().map(|state| (state.org().clone(), state)).collect();
    for (org, state) in orgs {
        let balance = state.balance().unwrap();
        let (number, head, due) = (state.record.number, state.record.head, state.record.totals.due);
        writeln!(said, "{org} number {number} balance {balance} due {due} head {head}").unwrap();
    }
    (fold, said)
}

#[test]
fn the_golden_log_of_rules_version_1_folds_to_its_recorded_heads() {
    let (log, expected) = (folder().join("rules_v1.log"), folder().join("rules_v1.expected"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&log, Recorder::record()).unwrap();
        fs::write(&expected, fold(&fs::read_to_string(&log).unwrap()).1).unwrap();
    }
    let (fold, said) = fold(&fs::read_to_string(&log).unwrap());
    fold.orgs().for_each(|state| state.check_invariants().unwrap());
    assert_eq!(said, fs::read_to_string(&expected).unwrap());
}

#[test]
fn ids_of_foreign_ids_never_change() {
    let (org, source): (OrgId, Label) = ("acme".parse().unwrap(), "litellm".parse().unwrap());
    assert_eq!(
        EventId::from_foreign(&org, &source, "call-1").to_string(),
        "24bd94a8-47d9-83cf-b32b-fd51a390a737"
    );
    assert_eq!(
        CommandId::from_idempotency_key(&org, "purchase-1").to_string(),
        "8de15935-dfdc-87f8-8d04-520887ddfe08"
    );
}

/// Makes the log anew: only for a new version of the rules, never to make a test pass.
struct Recorder {
    root: Issuer,
    issuer: Issuer,
    now: i64,
    commands: u128,
    lines: String,
}

impl Recorder {
    fn push(&mut self, key: &str, value: &[u8]) {
        writeln!(self.lines, "{} {} {}", self.now, hex(key.as_bytes()), hex(value)).unwrap();
    }

    fn give(&mut self, issuer: &Issuer, body: CommandBody) -> CommandId {
        self.commands += 1;
        let command = Command {
            command_id: CommandId(Uuid::from_u128(self.commands)),
            issued_at: Timestamp::from_millis(self.now),
            actor: "golden".to_owned(),
            reason: "golden".to_owned(),
            reference: Some("golden".to_owned()),
            body,
        };
        let key = command.body.org().map_or_else(|| GLOBAL_KEY.to_owned(), ToString::to_string);
        self.push(&key, &issuer.sign(&command).unwrap());
        command.command_id
    }

    fn org_command(&mut self, body: CommandBody) -> CommandId {
        let issuer = self.issuer.clone();
        self.give(&issuer, body)
    }

    fn grant(&mut self, org: &str, amount: &str, change: impl FnOnce(&mut Grant)) -> AllocationId {
        let mut grant = Grant {
            account: Account::Organization,
            kind: AllocationKind::Prepaid,
            amount: amount.parse().unwrap(),
            effective_at: Timestamp::from_millis(T0).before(Duration::from_hours(1)),
            expires_at: None,
            priority: 0,
            scope: Scope::default(),
            purchased: false,
            period: None,
        };
        change(&mut grant);
        AllocationId(self.org_command(CommandBody::Grant(org.parse().unwrap(), grant)).0)
    }

    fn usage(&mut self, org: &str, id: u32, change: impl FnOnce(&mut UsageFields)) {
        let event = self.event(org, id, change);
        self.push(org, &encode_usage(&event).unwrap());
    }

    fn event(&self, org: &str, id: u32, change: impl FnOnce(&mut UsageFields)) -> UsageEvent {
        let mut fields = UsageFields::new(
            event_id(id),
            Timestamp::from_millis(self.now),
            org.parse().unwrap(),
            "rag-retrieval".parse().unwrap(),
            "openai".parse().unwrap(),
            "gpt-5".parse().unwrap(),
        );
        fields.input_tokens = 1234;
        fields.cache_read_input_tokens = 321;
        fields.output_tokens = 567;
        fields.reasoning_output_tokens = 89;
        fields.tags.insert("environment".to_owned(), "production".to_owned());
        change(&mut fields);
        UsageEvent::new(fields).unwrap()
    }

    fn begin() -> Self {
        let log_id = LogId(Uuid::from_u128(0x019a_1b2c_3d4e_7f50_8a6b_7c8d_9e0f_1a2b));
        let (root, issuer) = (Issuer::new(log_id, "root", [1; 32]), Issuer::new(log_id, "edge", [2; 32]));
        let mut log = Self { root: root.clone(), issuer, now: T0, commands: 0, lines: String::new() };
        let genesis = Genesis { log_id, root_key: root.public_key(), rules_version: 1, partitions: 1 };
        log.give(&root, CommandBody::Genesis(genesis));
        let kinds = [
            CommandKind::Rates,
            CommandKind::OpenOrg,
            CommandKind::Grant,
            CommandKind::Adjust,
            CommandKind::Transfer,
            CommandKind::Extend,
            CommandKind::Suspend,
            CommandKind::Resume,
            CommandKind::SetPolicy,
            CommandKind::SetPlan,
            CommandKind::Correct,
            CommandKind::Reprice,
            CommandKind::Release,
            CommandKind::Dismiss,
        ];
        let public_key = log.issuer.public_key();
        log.give(
            &root,
            CommandBody::IssueKey(IssueKey { issuer: "edge".to_owned(), public_key, kinds: kinds.into() }),
        );
        let rates = [
            (Meter::Input, "1.25"),
            (Meter::Output, "10"),
            (Meter::CacheRead, "0.125"),
            (Meter::Reasoning, "12.000001"),
        ];
        let rates = rates.into_iter().map(|(meter, rate)| (meter, rate.parse().unwrap())).collect();
        let price = Price::new("2025-08-07T00:00:00Z".parse().unwrap(), rates);
        let mut gpt5 = ModelRates::new("openai".parse().unwrap(), "gpt-5".parse().unwrap(), vec![price]);
        gpt5.aliases = vec!["gpt-5-latest".parse().unwrap()];
        log.rates("golden-1", Card { models: vec![gpt5], ..Card::default() });
        log
    }

    fn rates(&mut self, revision: &str, card: Card) {
        let (parts, seal) = RatesSeal::of(&revision.parse().unwrap(), vec![card]);
        for part in parts {
            self.org_command(CommandBody::RatesPart(part));
        }
        self.org_command(CommandBody::RatesSeal(seal));
    }

    /// Usage without a price is charged something meanwhile, and then its price, beside charges that stay and one that
    /// becomes less.
    fn repricing(&mut self) {
        let table = |text: &str| serde_json::from_str(text).unwrap();
        let price = |text: &str| Price::new("2025-08-07T00:00:00Z".parse().unwrap(), table(text));
        let model = |name: &str, price| {
            ModelRates::new("openai".parse().unwrap(), name.parse().unwrap(), vec![price])
        };
        let meantime = r#"{"org": "acme", "provisional": {"input": "1", "output": "1"}}"#;
        let terms = vec![serde_json::from_str(meantime).unwrap()];
        self.rates("golden-2", Card { terms, ..Card::default() });
        self.usage("acme", 60, |event| event.request_model = "unknown-model".parse().unwrap());
        self.usage("acme", 61, |event| event.own_key = true);
        self.usage("acme", 62, |_| ());
        let unknown = price(r#"{"input": "20", "output": "30.000001"}"#);
        let gpt5 = price(r#"{"input": "1", "output": "8"}"#);
        let terms = vec![serde_json::from_str(r#"{"org": "acme", "markup": "1.1"}"#).unwrap()];
        let models = vec![model("unknown-model", unknown), model("gpt-5", gpt5)];
        self.rates("golden-3", Card { models, terms, ..Card::default() });
        let events =
            |ids: &[(u32, i32)]| ids.iter().map(|(id, revision)| (event_id(*id), *revision)).collect();
        for (rates, ids) in [
            ("golden-2", &[(60, 1)][..]),
            ("golden-3", &[(60, 1), (61, 1), (62, 1), (21, 1), (10, 2), (11, 1)]),
            ("golden-3", &[(60, 1), (62, 2)]),
            ("golden-3", &[(60, 2), (999, 1)]),
        ] {
            let reprice = Reprice { rates: rates.parse().unwrap(), events: events(ids) };
            self.org_command(CommandBody::Reprice("acme".parse().unwrap(), reprice));
        }
    }

    fn record() -> String {
        let mut log = Self::begin();
        let minute = 60_000;
        log.usage("early", 1, |_| ());
        log.usage("early", 2, |event| event.user_id = Some("ann".parse().unwrap()));
        log.grant("early", "5", |grant| grant.purchased = true);
        let first = log.grant("acme", "20", |grant| {
            grant.expires_at = Some(Timestamp::from_millis(T0 + 10 * minute));
            grant.kind = AllocationKind::Subscription;
        });
        log.grant("acme", "7.000000000001", |grant| {
            grant.account = Account::User("ann".parse().unwrap());
            grant.scope.models = ["gpt-5".parse().unwrap()].into();
        });
        log.grant("acme", "50", |grant| grant.effective_at = Timestamp::from_millis(T0 + 8 * minute));
        for id in 10..14 {
            log.usage("acme", id, |event| event.user_id = (id % 2 == 0).then(|| "ann".parse().unwrap()));
        }
        log.usage("acme", 13, |event| event.output_tokens += 1);
        log.usage("acme", 12, |event| event.user_id = Some("ann".parse().unwrap()));
        log.org_command(CommandBody::Adjust(
            "acme".parse().unwrap(),
            Adjust { allocation_id: first, amount: "-3.5".parse().unwrap() },
        ));
        log.org_command(CommandBody::Adjust(
            "acme".parse().unwrap(),
            Adjust { allocation_id: first, amount: "-300".parse().unwrap() },
        ));
        log.now += 9 * minute;
        log.usage("acme", 20, |event| event.response_model = Some("gpt-5-2025-08-07".parse().unwrap()));
        log.usage("acme", 21, |event| event.request_model = "unknown-model".parse().unwrap());
        log.usage("acme", 22, |event| {
            event.audio_input_tokens = 100;
            event.units.insert("searches".to_owned(), Quantity("2.50".parse().unwrap()));
        });
        let policy = Policy { overdraft: Some(OverdraftPolicy::Absorb), grace: Duration::from_secs(90) };
        log.org_command(CommandBody::OpenOrg("trial".parse().unwrap(), policy));
        log.usage("trial", 30, |_| ());
        log.push("acme", b"garbage");
        log.now += 20 * minute;
        log.push(GLOBAL_KEY, b"");
        log.usage("trial", 31, |event| event.own_key = true);
        let root = log.root.clone();
        log.give(&root, CommandBody::SetRules(1));
        log.corrections(first);
        log.plans();
        log.repricing();
        let key = log.issuer.key_id();
        log.give(&root, CommandBody::RevokeKey(key));
        log.grant("acme", "1", |_| ());
        log.lines
    }

    /// Credits that move, and charges that change.
    fn corrections(&mut self, ended: AllocationId) {
        let (acme, minute) = (|| "acme".parse::<OrgId>().unwrap(), 60_000);
        let limit = self.grant("acme", "40", |grant| {
            grant.kind = AllocationKind::Payg;
            grant.expires_at = Some(Timestamp::from_millis(T0 + 60 * minute));
        });
        let ann = || Account::User("ann".parse().unwrap());
        let own = self.grant("acme", "30", |grant| grant.priority = -1);
        let amount = "12.5".parse().unwrap();
        self.org_command(CommandBody::Transfer(acme(), Transfer { allocation_id: own, to: ann(), amount }));
        self.org_command(CommandBody::Transfer(acme(), Transfer { allocation_id: limit, to: ann(), amount }));
        let expires_at = Some(Timestamp::from_millis(T0 + 120 * minute));
        self.org_command(CommandBody::Extend(acme(), Extend { allocation_id: own, expires_at }));
        self.org_command(CommandBody::Extend(acme(), Extend { allocation_id: ended, expires_at }));
        self.org_command(CommandBody::Suspend(acme(), ann()));
        self.org_command(CommandBody::Resume(acme(), ann()));
        self.correct("acme", 10, 1, Change::Void);
        self.correct("acme", 11, 1, replaced(9_000));
        self.correct("acme", 11, 2, replaced(100));
        self.correct("acme", 11, 2, replaced(200));
        self.correct("acme", 40, 1, replaced(50));
        self.usage("acme", 40, |_| ());
        self.usage("acme", 41, |event| event.certainty = Certainty::AtLeast);
        self.usage("acme", 41, |event| {
            event.revision = 2;
            event.output_tokens += 1_000;
        });
        self.usage("acme", 42, |event| {
            event.occurred_at = event.occurred_at.before(Duration::from_hours(40 * 24));
        });
        let late = self.event("acme", 42, |event| {
            event.occurred_at = event.occurred_at.before(Duration::from_hours(40 * 24));
        });
        let (event_id, billing_digest) = (late.event_id, late.billing_digest());
        self.org_command(CommandBody::Release(acme(), Release { event_id, billing_digest }));
        let offset = i64::try_from(self.lines.lines().count()).unwrap() - 2;
        self.org_command(CommandBody::Dismiss(acme(), Dismiss { offset }));
        self.now += 90 * minute;
        self.push(GLOBAL_KEY, b"");
        self.correct("acme", 40, 2, Change::Void);
    }

    /// Two periods of a plan, with a change in the first and a rollover into the second.
    fn plans(&mut self) {
        let (org, minute) = ("team".parse::<OrgId>().unwrap(), 60_000);
        let (start, end) = (self.now - 30 * minute, self.now + 30 * minute);
        let instant = Timestamp::from_millis;
        let item = |id: &str, kind, share| PlanItem {
            id: id.parse().unwrap(),
            kind,
            amount: "100".parse().unwrap(),
            share,
            priority: 0,
            scope: Scope::default(),
            purchased: false,
            max_rollover: "0".parse().unwrap(),
            recurrence: Recurrence {
                every: 1,
                unit: IntervalUnit::Day,
                anchor: "2026-11-22T00:00:00".parse().unwrap(),
                time_zone: "UTC".parse().unwrap(),
            },
            period_start: instant(start),
            period_end: instant(end),
        };
        let mut plan = Plan {
            name: "team".parse().unwrap(),
            trial: true,
            seats: 3,
            users: ["ann".parse().unwrap(), "bob".parse().unwrap()].into(),
            items: vec![
                PlanItem {
                    max_rollover: "20".parse().unwrap(),
                    ..item("monthly", AllocationKind::Subscription, Share::Seat)
                },
                item("own", AllocationKind::Quota, Share::User),
            ],
        };
        self.org_command(CommandBody::OpenOrg(org.clone(), Policy::default()));
        let set = |log: &mut Self, plan: &Plan| {
            let effective_at = instant(log.now);
            let body = SetPlan { effective_at, plan: Some(plan.clone()) };
            log.org_command(CommandBody::SetPlan(org.clone(), body))
        };
        set(self, &plan);
        self.usage("team", 50, |event| event.user_id = Some("ann".parse().unwrap()));
        self.now += 10 * minute;
        plan.seats = 5;
        plan.users.remove(&"bob".parse().unwrap());
        plan.items.push(item("limit", AllocationKind::Payg, Share::Organization));
        let revision = set(self, &plan);
        self.usage("team", 51, |event| event.output_tokens = 20_000);
        for id in ["monthly", "limit", "monthly"] {
            let next = (instant(end), instant(end + 60 * minute));
            let grant = plan
                .grant(revision, plan.item(&id.parse().unwrap()).unwrap(), Account::Organization, next)
                .unwrap();
            self.org_command(CommandBody::Grant("team".parse().unwrap(), grant));
        }
        self.now += 40 * minute;
        self.usage("team", 52, |_| ());
        let body = SetPlan { effective_at: instant(self.now), plan: None };
        self.org_command(CommandBody::SetPlan("team".parse().unwrap(), body));
        self.now += 60 * minute;
        self.push(GLOBAL_KEY, b"");
    }

    fn correct(&mut self, org: &str, id: u32, revision: i32, change: Change) {
        let correct = Correct { event_id: event_id(id), revision, change };
        self.org_command(CommandBody::Correct(org.parse().unwrap(), correct));
    }
}

fn event_id(id: u32) -> EventId {
    EventId(Uuid::from_u128(u128::from(id) | 7 << 76 | 2 << 62))
}

fn replaced(output: i64) -> Change {
    let tokens = TokenCounts { input: 1234, cache_read: 321, output, ..TokenCounts::default() };
    Change::Replace(Box::new(Quantities { tokens, ..Quantities::default() }))
}
