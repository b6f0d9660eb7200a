//! Logs in memory: one partition with a genesis, an issuer who may do everything, and the prices of a few models.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey, RatesSeal, Scope,
    SignedCommand, key_id, signed_bytes,
};
use fluxori_core::id::{CommandId, EventId, LogId, OrgId, RevisionId};
use fluxori_core::rates::{Card, LongContext, ModelRates, Price};
use fluxori_core::record::{Body, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use uuid::Uuid;

/// 2026-11-22T12:00:00Z, where every log begins.
pub(crate) const T0: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);
const LOG: LogId = LogId(Uuid::from_u128(7));

pub(crate) fn org(name: &str) -> OrgId {
    name.parse().unwrap()
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
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

/// An id as our call sites make them (UUIDv7), or one made of a foreign id (UUIDv8).
pub(crate) fn event_id(number: u32, native: bool) -> EventId {
    let version: u128 = if native { 7 } else { 8 };
    EventId(Uuid::from_u128(u128::from(number) | version << 76 | 2 << 62))
}

pub(crate) fn price(from: &str, rates: &str) -> Price {
    Price::new(from.parse().unwrap(), serde_json::from_str(rates).unwrap())
}

pub(crate) fn model(name: &str, prices: Vec<Price>) -> ModelRates {
    let mut model = ModelRates::new("openai".parse().unwrap(), name.parse().unwrap(), prices);
    model.aliases = vec![format!("{name}-latest").parse().unwrap()];
    model
}

/// The first revision: `dear` is a model of which the largest event is out of range.
fn first_card() -> Card {
    let mut batch = price("2025-08-07T00:00:00Z", r#"{"input": "0.625", "output": "5"}"#);
    batch.service_tier = Some("batch".parse().unwrap());
    let gpt5 = price("2025-08-07T00:00:00Z", r#"{"input": "1.25", "output": "10", "cache_read": "0.125"}"#);
    let o3 = price(
        "2025-04-16T00:00:00Z",
        r#"{"input": "10", "output": "40", "cache_write_5m": "12.5", "reasoning": "44"}"#,
    );
    let mut later = price(
        "2026-11-22T11:30:00Z",
        r#"{"input": "2.000000000003", "output": "8", "cache_read": "0.333333333333", "cache_write_5m": "3",
            "cache_write_1h": "7", "reasoning": "9", "pages": "0.001"}"#,
    );
    let rates = serde_json::from_str(r#"{"input": "4", "pages": "0.0011"}"#).unwrap();
    later.above = vec![LongContext { input_tokens: 3_000, rates }];
    let models = vec![
        model("gpt-5", vec![gpt5, batch]),
        model("o3", vec![o3, later]),
        model("embed", vec![price("2025-04-16T00:00:00Z", r#"{"input": "0.123457"}"#)]),
        model("dear", vec![price("2025-04-16T00:00:00Z", r#"{"input": "10000", "output": "10000"}"#)]),
    ];
    Card { models, ..Card::default() }
}

/// A later revision: one price in the place of another, and one from then on.
fn second_card() -> Card {
    let models = vec![
        model("gpt-5", vec![price("2025-08-07T00:00:00Z", r#"{"input": "1", "output": "8"}"#)]),
        model("o3", vec![price("2026-11-22T12:20:00Z", r#"{"input": "1", "output": "4"}"#)]),
        model("gpt-99", vec![price("2026-11-22T11:45:00Z", r#"{"input": "3", "output": "0"}"#)]),
    ];
    Card { models, ..Card::default() }
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) now: Timestamp,
    issuer: SigningKey,
    commands: u128,
    revisions: u32,
}

impl Log {
    pub(crate) fn new() -> Self {
        let (root, issuer) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut log = Self { records: Vec::new(), now: T0, issuer: root.clone(), commands: 0, revisions: 0 };
        let root_key = root.verifying_key().to_bytes();
        log.global(CommandBody::Genesis(Genesis { log_id: LOG, root_key, rules_version: 1, partitions: 1 }));
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
        let public_key = issuer.verifying_key().to_bytes();
        let kinds = kinds.into();
        log.global(CommandBody::IssueKey(IssueKey { issuer: "test".to_owned(), public_key, kinds }));
        log.issuer = issuer;
        log.rates(first_card());
        log
    }

    pub(crate) fn push(&mut self, key: RecordKey, body: Body) -> &Record {
        self.records.push(Record { key, append_time: self.now, body });
        self.records.last().unwrap()
    }

    pub(crate) fn tick(&mut self) {
        self.push(RecordKey::Global, Body::Tick);
    }

    fn sign(&self, body: CommandBody, command_id: CommandId) -> SignedCommand {
        let command = Command {
            command_id,
            issued_at: self.now,
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            reference: None,
            body,
        };
        let payload = format!("{command:?}").into_bytes();
        let signature = self.issuer.sign(&signed_bytes(LOG, &payload)).to_bytes();
        let issuer_key_id = key_id(&self.issuer.verifying_key().to_bytes());
        SignedCommand { issuer_key_id, payload, signature, command }
    }

    pub(crate) fn command_with_id(&mut self, body: CommandBody, id: CommandId) {
        let key = body.org().cloned().map_or(RecordKey::Global, RecordKey::Org);
        let signed = self.sign(body, id);
        self.push(key, Body::Command(Box::new(signed)));
    }

    pub(crate) fn command(&mut self, body: CommandBody) -> CommandId {
        self.commands += 1;
        // Ids that come in another order than their commands.
        let id = CommandId(Uuid::from_u128(self.commands.reverse_bits() >> 8 ^ 0x5A << 80));
        self.command_with_id(body, id);
        id
    }

    fn global(&mut self, body: CommandBody) {
        self.command(body);
    }

    pub(crate) fn rates(&mut self, card: Card) {
        self.revisions += 1;
        let (parts, seal) = RatesSeal::of(&self.revision(0), vec![card]);
        parts.into_iter().for_each(|part| self.global(CommandBody::RatesPart(part)));
        self.global(CommandBody::RatesSeal(seal));
    }

    /// Puts another revision of the prices in force: the second, then the first again, and so on.
    pub(crate) fn next_rates(&mut self) {
        let card = if self.revisions % 2 == 1 { second_card() } else { first_card() };
        self.rates(card);
    }

    /// The revision of the prices that was sealed so many revisions ago.
    pub(crate) fn revision(&self, ago: u32) -> RevisionId {
        format!("r{}", self.revisions - ago.min(self.revisions)).parse().unwrap()
    }

    /// An event of now.
    pub(crate) fn event(&self, name: &str, id: EventId, model: &str) -> UsageFields {
        UsageFields::new(
            id,
            self.now,
            org(name),
            "rag-retrieval".parse().unwrap(),
            "openai".parse().unwrap(),
            model.parse().unwrap(),
        )
    }

    pub(crate) fn usage(&mut self, fields: UsageFields) {
        let event = UsageEvent::new(fields).unwrap();
        self.push(RecordKey::Org(event.org_id.clone()), Body::Usage(Arc::new(event)));
    }
}
