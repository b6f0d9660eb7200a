//! Every kind of command: its bytes never change, and it comes back as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fluxori_core::amount::{Rounding, RoundingRule};
use fluxori_core::command::{
    Account, Adjust, AllocationKind, Change, Command, CommandBody, CommandKind, Correct, Dismiss, Extend,
    Genesis, Grant, IssueKey, OverdraftPolicy, Plan, PlanItem, PlanPeriod, Policy, RatesPart, RatesSeal,
    Release, Reprice, Scope, SetPlan, Share, Transfer,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::{AllocationId, CommandId, EventId, GLOBAL_KEY, LogId, OrgId};
use fluxori_core::period::{IntervalUnit, Recurrence};
use fluxori_core::rates::{
    Card, ExchangeRate, LongContext, ModelFacts, ModelRates, Price, ProviderNames, Terms,
};
use fluxori_core::record::{Body, QuarantineReason};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantities, Quantity, TokenCounts};
use fluxori_wire::{Issuer, decode, encode_payload};
use uuid::Uuid;

/// 2026-11-22T12:00:00Z.
const AT: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);
const ALLOCATION: AllocationId = AllocationId(Uuid::from_u128(0x019a_1b2c_3d4e_7f50_8a6b_7c8d_9e0f_1a2b));
const EVENT: EventId = EventId(Uuid::from_u128(0x019a_1b2c_3d4e_7f50_8a6b_0000_0000_0001));

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn ann() -> Account {
    Account::User("ann".parse().unwrap())
}

fn every_kind() -> BTreeSet<CommandKind> {
    // A key may name any kind; the fold says which of them only the root may give.
    serde_json::from_str(
        r#"["genesis", "issue_key", "revoke_key", "set_rules", "rates", "open_org", "grant", "adjust", "transfer",
            "extend", "suspend", "resume", "set_policy", "set_plan", "correct", "reprice",
            "release", "dismiss"]"#,
    )
    .unwrap()
}

fn global_bodies() -> Vec<CommandBody> {
    let table = |text: &str| serde_json::from_str(text).unwrap();
    let mut price = Price::new(time("2025-08-07T00:00:00Z"), table(r#"{"input": "1.25", "output": "10"}"#));
    price.service_tier = Some("flex".parse().unwrap());
    price.region = Some("eu-central-1".parse().unwrap());
    price.org = Some("acme".parse().unwrap());
    price.hours = Some("16:30-00:30".parse().unwrap());
    price.currency = "CNY".parse().unwrap();
    price.source = Some("list".parse().unwrap());
    price.above = vec![LongContext { input_tokens: 200_000, rates: table(r#"{"input": "2.5"}"#) }];
    let plain =
        Price::new(Timestamp::EARLIEST, table(r#"{"cache_write_1h": "0.000000000001", "pages": "0.001"}"#));
    let mut model = ModelRates::new("openai".parse().unwrap(), "gpt-5".parse().unwrap(), vec![price, plain]);
    model.aliases = vec!["gpt-5-latest".parse().unwrap()];
    model.patterns = vec!["gpt-5*".parse().unwrap(), "*-gpt".parse().unwrap(), "*g*".parse().unwrap()];
    model.facts = ModelFacts {
        context_window: Some(400_000),
        max_output_tokens: Some(128_000),
        deprecated_at: Some(time("2027-01-01T00:00:00Z")),
        capabilities: vec!["vision".parse().unwrap()],
    };
    let provider = ProviderNames {
        provider: "azure".parse().unwrap(),
        aliases: vec!["azure.ai.openai".parse().unwrap()],
        falls_back_to: vec!["openai".parse().unwrap()],
    };
    let terms = Terms {
        effective_from: time("2026-01-01T00:00:00Z"),
        org: Some("acme".parse().unwrap()),
        model: Some("gpt-5".parse().unwrap()),
        provider: Some("openai".parse().unwrap()),
        feature: Some("search".parse().unwrap()),
        module: Some("rag".parse().unwrap()),
        credits_per_usd: Some("100".parse().unwrap()),
        markup: Some("1.075".parse().unwrap()),
        minimum: Some("0.5".parse().unwrap()),
        rounding: Some(Rounding { rule: RoundingRule::Up, places: 2 }),
        provisional: Some(table(r#"{"input": "5"}"#)),
    };
    let empty = Terms {
        org: None,
        model: None,
        provider: None,
        feature: None,
        module: None,
        credits_per_usd: None,
        markup: None,
        rounding: None,
        provisional: None,
        ..terms.clone()
    };
    let exchange = ExchangeRate {
        currency: "CNY".parse().unwrap(),
        usd: "0.1379".parse().unwrap(),
        effective_from: time("2026-01-01T00:00:00Z"),
    };
    let card = Card {
        providers: vec![provider],
        models: vec![model],
        terms: vec![terms, empty],
        exchange_rates: vec![exchange],
    };
    let genesis =
        Genesis { log_id: LogId(Uuid::from_u128(7)), root_key: [1; 32], rules_version: 1, partitions: 64 };
    vec![
        CommandBody::Genesis(genesis),
        CommandBody::IssueKey(IssueKey {
            issuer: "edge".to_owned(),
            public_key: [2; 32],
            kinds: every_kind(),
        }),
        CommandBody::RevokeKey("0123456789abcdef".parse().unwrap()),
        CommandBody::SetRules(2),
        CommandBody::RatesPart(RatesPart { revision: "2026-11".parse().unwrap(), index: 0, card }),
        CommandBody::RatesSeal(RatesSeal {
            revision: "2026-11".parse().unwrap(),
            parts: 1,
            digest: Digest([3; 32]),
        }),
    ]
}

fn plan() -> Plan {
    let recurrence = Recurrence {
        every: 1,
        unit: IntervalUnit::Month,
        anchor: "2026-01-31T00:00:00".parse().unwrap(),
        time_zone: "Europe/Berlin".parse().unwrap(),
    };
    let item = |id: &str, kind, share| PlanItem {
        id: id.parse().unwrap(),
        kind,
        amount: "1000.000000000001".parse().unwrap(),
        share,
        priority: -1,
        scope: Scope { models: ["gpt-5".parse().unwrap()].into(), ..Scope::default() },
        purchased: true,
        max_rollover: "0".parse().unwrap(),
        recurrence: recurrence.clone(),
        period_start: time("2026-10-31T00:00:00+01:00"),
        period_end: time("2026-11-30T00:00:00+01:00"),
    };
    let mut monthly = item("monthly", AllocationKind::Subscription, Share::Seat);
    monthly.max_rollover = "200".parse().unwrap();
    Plan {
        name: "team".parse().unwrap(),
        trial: false,
        seats: u32::MAX,
        users: ["ann".parse().unwrap(), "bob".parse().unwrap()].into(),
        items: vec![
            monthly,
            item("fair-use", AllocationKind::Quota, Share::User),
            item("credit-line", AllocationKind::Payg, Share::Organization),
        ],
    }
}

fn quantities() -> Quantities {
    let tokens = TokenCounts {
        input: 1_000,
        cache_read: 600,
        cache_write_5m: 10,
        cache_write_1h: 20,
        audio_input: 30,
        image_input: 40,
        cache_read_audio: 3,
        cache_read_image: 4,
        output: 200,
        reasoning: 50,
        audio_output: 60,
        image_output: 70,
    };
    let units = [("searches", "2.5"), ("pages", "3")];
    let units = units.map(|(name, count)| (name.to_owned(), Quantity(count.parse().unwrap())));
    Quantities { tokens, units: units.into() }
}

fn correct(change: Change) -> CommandBody {
    CommandBody::Correct("acme".parse().unwrap(), Correct { event_id: EVENT, revision: 1, change })
}

fn org_bodies() -> Vec<CommandBody> {
    let org = || OrgId::new("acme").unwrap();
    let policy = |overdraft| Policy { overdraft, grace: Duration::from_secs(90) };
    let grant = Grant {
        account: ann(),
        kind: AllocationKind::Subscription,
        amount: "1000".parse().unwrap(),
        effective_at: AT,
        expires_at: Some(time("2026-12-22T12:00:00Z")),
        priority: -1,
        scope: Scope { modules: ["rag-retrieval".parse().unwrap()].into(), ..Scope::default() },
        purchased: true,
        period: Some(PlanPeriod {
            plan: CommandId(Uuid::from_u128(9)),
            item: "monthly".parse().unwrap(),
            start: AT,
            end: time("2026-12-22T12:00:00Z"),
        }),
    };
    vec![
        CommandBody::OpenOrg(org(), policy(None)),
        CommandBody::Grant(org(), grant),
        CommandBody::Adjust(
            org(),
            Adjust { allocation_id: ALLOCATION, amount: "-0.000000000001".parse().unwrap() },
        ),
        CommandBody::Transfer(
            org(),
            Transfer { allocation_id: ALLOCATION, to: ann(), amount: "5".parse().unwrap() },
        ),
        CommandBody::Transfer(
            org(),
            Transfer { allocation_id: ALLOCATION, to: Account::Organization, amount: "5".parse().unwrap() },
        ),
        CommandBody::Extend(org(), Extend { allocation_id: ALLOCATION, expires_at: Some(AT) }),
        CommandBody::Extend(org(), Extend { allocation_id: ALLOCATION, expires_at: None }),
        CommandBody::Suspend(org(), ann()),
        CommandBody::Resume(org(), Account::Organization),
        CommandBody::SetPolicy(org(), policy(Some(OverdraftPolicy::Absorb))),
        CommandBody::SetPlan(org(), SetPlan { effective_at: AT, plan: Some(plan()) }),
        CommandBody::SetPlan(org(), SetPlan { effective_at: AT, plan: None }),
        correct(Change::Void),
        correct(Change::Replace(Box::new(quantities()))),
        CommandBody::Reprice(
            org(),
            Reprice {
                rates: "2026-11".parse().unwrap(),
                events: vec![(EVENT, 1), (EventId(Uuid::from_u128(9)), 2)],
            },
        ),
        CommandBody::Release(org(), Release { event_id: EVENT, billing_digest: Digest([4; 32]) }),
        CommandBody::Dismiss(org(), Dismiss { offset: 42 }),
    ]
}

fn command(body: CommandBody) -> Command {
    Command {
        command_id: CommandId(Uuid::from_u128(0x019a_1b2c_3d4e_7f50_8a6b_7c8d_9e0f_1a2c)),
        issued_at: AT,
        actor: "billing@acme.example".to_owned(),
        reason: "an example".to_owned(),
        reference: None,
        body,
    }
}

fn issuer() -> Issuer {
    Issuer::new(LogId(Uuid::from_u128(7)), "cli", [2; 32])
}

fn read_back(command: &Command) -> Body {
    let key = command.body.org().map_or(GLOBAL_KEY, OrgId::as_str);
    decode(Some(key.as_bytes()), Some(&issuer().sign(command).unwrap()), AT).body
}

#[test]
fn every_kind_of_command_keeps_its_bytes_and_comes_back_as_it_was() {
    let mut text = String::new();
    let mut kinds = BTreeSet::new();
    for body in global_bodies().into_iter().chain(org_bodies()) {
        let command = command(body);
        let kind = command.body.kind();
        kinds.insert(kind);
        let payload = encode_payload(&command).unwrap();
        let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{kind} {digits}").unwrap();
        let Body::Command(signed) = read_back(&command) else { unreachable!("{kind} cannot be read") };
        assert_eq!((&signed.command, &signed.payload), (&command, &payload));
    }
    assert_eq!(kinds, every_kind());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/examples/command_payloads.v1.txt");
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}

#[test]
fn impossible_quantities_make_a_correction_invalid() {
    let impossible: [fn(&mut Quantities); 4] = [
        |q| q.tokens.output = -1,
        |q| q.tokens.cache_read = q.tokens.input + 1,
        |q| q.tokens.input = i64::MAX,
        |q| q.units.extend([("pages".to_owned(), Quantity("-1".parse().unwrap()))]),
    ];
    for change in impossible {
        let mut quantities = quantities();
        change(&mut quantities);
        let violation = quantities.check().unwrap_err().to_string();
        let body = read_back(&command(correct(Change::Replace(Box::new(quantities)))));
        assert_eq!(body, Body::Unreadable(QuarantineReason::Invalid, violation));
    }
}

#[test]
fn no_broken_byte_of_a_command_makes_reading_panic() {
    for body in org_bodies() {
        let value = issuer().sign(&command(body)).unwrap();
        for index in 0..value.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = value.clone();
                broken[index] = byte;
                _ = decode(Some(b"acme"), Some(&broken), AT);
            }
        }
    }
}
