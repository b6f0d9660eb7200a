//! Golden logs: recorded histories with their expected heads. A build under whose rules one of them folds to something
//! else would compute other ledgers from logs that exist.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fluxori_core::command::{
    Account, Adjust, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey,
    OverdraftPolicy, Policy, RatesPart, RatesSeal, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, PartitionFold, Past};
use fluxori_core::id::{AllocationId, CommandId, EventId, GLOBAL_KEY, Label, LogId, OrgId};
use fluxori_core::rates::{Price, TokenPrices, part_digest, revision_digest};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantity, UsageEvent, UsageFields};
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
    for line in log.lines() {
        let [append_time, key, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let append_time = Timestamp::from_millis(append_time.parse().unwrap());
        let record = decode(Some(&unhex(key)), Some(&unhex(value)), append_time);
        let applied = fold.apply(&mut past, &record).unwrap();
        for posting in applied.postings {
            let (org, number, kind) = (posting.org, posting.number, posting.kind.as_str());
            writeln!(said, "{org} {number} {kind} {} {}", posting.amount, posting.digest).unwrap();
        }
    }
    writeln!(said, "outcomes {} {:?}", fold.outcomes(), fold.counters()).unwrap();
    let orgs: BTreeMap<_, _> = fold.orgs().map(|state| (state.org().clone(), state)).collect();
    for (org, state) in orgs {
        let balance = state.balance().unwrap();
        writeln!(said, "{org} number {} balance {balance} head {}", state.record.number, state.record.head).unwrap();
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
        let mut fields = UsageFields::new(
            EventId(Uuid::from_u128(u128::from(id) | 7 << 76 | 2 << 62)),
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
        self.push(org, &encode_usage(&UsageEvent::new(fields).unwrap()).unwrap());
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
            CommandKind::SetPolicy,
        ];
        let public_key = log.issuer.public_key();
        log.give(
            &root,
            CommandBody::IssueKey(IssueKey { issuer: "edge".to_owned(), public_key, kinds: kinds.into() }),
        );
        let prices = vec![Price {
            provider: "openai".parse().unwrap(),
            model: "gpt-5".parse().unwrap(),
            aliases: vec!["gpt-5-latest".parse().unwrap()],
            effective_from: "2025-08-07T00:00:00Z".parse().unwrap(),
            usd_per_million_tokens: TokenPrices {
                input: "1.25".parse().unwrap(),
                output: Some("10".parse().unwrap()),
                cache_read: Some("0.125".parse().unwrap()),
                cache_write_5m: None,
                cache_write_1h: None,
                reasoning: Some("12.000001".parse().unwrap()),
            },
        }];
        let revision: fluxori_core::id::RevisionId = "golden-1".parse().unwrap();
        let digest = revision_digest(&revision, &[part_digest(&prices)]);
        log.org_command(CommandBody::RatesPart(RatesPart { revision: revision.clone(), index: 0, prices }));
        log.org_command(CommandBody::RatesSeal(RatesSeal { revision, parts: 1, digest }));
        log
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
        log.lines
    }
}
