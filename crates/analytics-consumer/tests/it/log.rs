//! A small log of one partition, in memory.

use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Change, Command, CommandBody, CommandKind, Correct, Genesis, Grant, IssueKey,
    RatesSeal, Release, Reprice, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, GLOBAL_KEY, LogId, Model, Module, OrgId, Provider};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{Card, ModelRates, Price};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{CallOutcome, Certainty, Quantities, UsageEvent, UsageFields};
use fluxori_stream::Batch;
use fluxori_wire::Issuer;
use uuid::Uuid;

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(7));
/// The append time of the first record, in milliseconds.
pub(crate) const BEGAN_MS: i64 = 1_795_000_000_000;
/// The revision of the rates that every log begins with.
pub(crate) const FIRST_RATES: &str = "2026-11";

pub(crate) struct Log {
    pub(crate) records: Batch,
    pub(crate) genesis: Digest,
    root: Issuer,
    issuer: Issuer,
}

impl Log {
    /// Genesis, a key, rates.
    pub(crate) fn new(seed: u8) -> Self {
        let root = Issuer::new(LOG, "root", [seed; 32]);
        let issuer = Issuer::new(LOG, "cli", [seed + 1; 32]);
        let mut log = Self { records: Batch::new(0, 0), genesis: Digest::default(), root, issuer };
        let genesis = command(
            1,
            CommandBody::Genesis(Genesis {
                log_id: LOG,
                root_key: log.root.public_key(),
                rules_version: 1,
                partitions: 1,
            }),
        );
        log.genesis = Digest::of(&fluxori_wire::encode_payload(&genesis).unwrap());
        log.push(GLOBAL_KEY, &log.root.sign(&genesis).unwrap());
        let key = CommandBody::IssueKey(IssueKey {
            issuer: "cli".into(),
            public_key: log.issuer.public_key(),
            kinds: [
                CommandKind::Grant,
                CommandKind::Rates,
                CommandKind::Correct,
                CommandKind::Reprice,
                CommandKind::Release,
            ]
            .into(),
        });
        log.push(GLOBAL_KEY, &log.root.sign(&command(2, key)).unwrap());
        log.rates(3, FIRST_RATES, "1.25");
        log
    }

    /// Puts rates in force by the commands `id` and `id + 1`: gpt-5 at so many US dollars per million input tokens. Later ones
    /// have a price for the model `unknown`, too, and a markup for globex.
    pub(crate) fn rates(&mut self, id: u128, revision: &str, input: &str) {
        let rates = [(Meter::Input, input), (Meter::Output, "10")];
        let rates = rates.into_iter().map(|(meter, rate)| (meter, rate.parse().unwrap())).collect();
        let price = Price::new("2025-08-07T00:00:00Z".parse().unwrap(), rates);
        let model = |name: &str| {
            ModelRates::new("openai".parse().unwrap(), name.parse().unwrap(), vec![price.clone()])
        };
        let mut card = Card { models: vec![model("gpt-5")], ..Card::default() };
        if revision != FIRST_RATES {
            card.models.push(model("unknown"));
            let markup = format!(r#"{{"org": "globex", "markup": "1.{input}"}}"#).replace("1.2.5", "1.25");
            card.terms.push(serde_json::from_str(&markup).unwrap());
        }
        let (parts, seal) = RatesSeal::of(&revision.parse().unwrap(), vec![card]);
        parts.into_iter().for_each(|part| self.command(GLOBAL_KEY, id, CommandBody::RatesPart(part)));
        self.command(GLOBAL_KEY, id + 1, CommandBody::RatesSeal(seal));
    }

    pub(crate) fn push(&mut self, key: &str, value: &[u8]) {
        let append_time = BEGAN_MS + self.records.end() * 10;
        self.records.push(append_time, Some(key.as_bytes()), Some(value));
    }

    pub(crate) fn tick(&mut self) {
        self.push(GLOBAL_KEY, b"");
    }

    fn command(&mut self, key: &str, id: u128, body: CommandBody) {
        let value = self.issuer.sign(&command(id, body)).unwrap();
        self.push(key, &value);
    }

    /// Grants credits, which opens the org if it is not; a grant of nothing is rejected.
    pub(crate) fn grant(&mut self, org: &str, id: u128, amount: u32) {
        let grant = Grant {
            account: Account::Organization,
            kind: AllocationKind::Prepaid,
            amount: Credits::from(amount),
            effective_at: Timestamp::from_millis(BEGAN_MS),
            expires_at: None,
            priority: 0,
            scope: Scope::default(),
            purchased: true,
            period: None,
        };
        self.command(org, id, CommandBody::Grant(OrgId::new(org).unwrap(), grant));
    }

    /// A usage event; the same id and tokens make the same event.
    pub(crate) fn usage(&mut self, org: &str, id: u128, tokens: i64) {
        self.event(&event(org, id, tokens, |_| ()));
    }

    pub(crate) fn event(&mut self, event: &UsageEvent) {
        let value = fluxori_wire::encode_usage(event).unwrap();
        self.push(event.org_id.as_str(), &value);
    }

    /// Corrects the charge of an event to so many tokens, or voids it.
    pub(crate) fn correct(&mut self, org: &str, id: u128, event: u128, revision: i32, tokens: Option<i64>) {
        let change = tokens.map_or(Change::Void, |input| {
            let mut quantities = Quantities::default();
            quantities.tokens.input = input;
            Change::Replace(Box::new(quantities))
        });
        self.change(org, id, Correct { event_id: event_id(event), revision, change });
    }

    pub(crate) fn change(&mut self, org: &str, id: u128, correct: Correct) {
        self.command(org, id, CommandBody::Correct(OrgId::new(org).unwrap(), correct));
    }

    /// Reprices events, each looked at with this revision of its charge.
    pub(crate) fn reprice(&mut self, org: &str, id: u128, rates: &str, events: Vec<(EventId, i32)>) {
        let reprice = Reprice { rates: rates.parse().unwrap(), events };
        self.command(org, id, CommandBody::Reprice(OrgId::new(org).unwrap(), reprice));
    }

    /// Releases an event from the quarantine.
    pub(crate) fn release(&mut self, id: u128, event: &UsageEvent) {
        let release = Release { event_id: event.event_id, billing_digest: event.billing_digest() };
        self.command(event.org_id.as_str(), id, CommandBody::Release(event.org_id.clone(), release));
    }
}

fn event_id(id: u128) -> EventId {
    EventId(Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 | id))
}

/// A usage event of gpt-5, 1.25 credits for 1,000 tokens.
pub(crate) fn event(org: &str, id: u128, tokens: i64, change: impl FnOnce(&mut UsageFields)) -> UsageEvent {
    let mut fields = UsageFields::new(
        event_id(id),
        Timestamp::from_millis(BEGAN_MS - 1_000),
        OrgId::new(org).unwrap(),
        Module::new("pim").unwrap(),
        Provider::new("openai").unwrap(),
        Model::new("gpt-5").unwrap(),
    );
    fields.input_tokens = tokens;
    change(&mut fields);
    UsageEvent::new(fields).unwrap()
}

pub(crate) fn uncertain(fields: &mut UsageFields) {
    fields.certainty = Certainty::AtLeast;
    fields.outcome = CallOutcome::Cancelled;
}

pub(crate) fn superseding(fields: &mut UsageFields) {
    fields.revision = 2;
    fields.latency_ms = Some(70);
}

/// Before the acceptance window.
pub(crate) fn late(fields: &mut UsageFields) {
    fields.occurred_at = Timestamp::from_millis(BEGAN_MS - 40 * 86_400_000);
}

fn command(id: u128, body: CommandBody) -> Command {
    Command {
        command_id: CommandId(Uuid::from_u128(id)),
        issued_at: Timestamp::from_millis(BEGAN_MS),
        actor: "test".into(),
        reason: "test".into(),
        reference: None,
        body,
    }
}

/// A log with everything in it that admission remembers: usage before its org is opened, rejected commands whose ids
/// come again, duplicates, conflicts, what cannot be read.
pub(crate) fn eventful(seed: u8) -> Log {
    let mut log = Log::new(seed);
    log.usage("early", 1, 1_000);
    log.usage("early", 2, 2_000);
    log.usage("early", 1, 1_000);
    log.usage("early", 2, 2_001);
    log.grant("tricky", 100, 0);
    log.usage("tricky", 3, 3_000);
    // The id of the rejected grant, with another content: a conflict, which does not open the org.
    log.grant("tricky", 100, 5);
    log.usage("tricky", 4, 4_000);
    log.grant("acme", 101, 1_000);
    log.usage("acme", 5, 5_000);
    log.tick();
    log.usage("acme", 5, 5_000);
    log.usage("acme", 5, 5_001);
    log.grant("early", 102, 10);
    log.usage("early", 1, 1_000);
    log.usage("early", 6, 6_000);
    log.grant("acme", 101, 1_000);
    log.push("acme", b"no Avro");
    log.usage("acme", 7, 7_000);
    log.grant("tricky", 103, 5);
    log.usage("tricky", 3, 3_000);
    log.usage("acme", 7, 7_000);
    // Another org may use the same id.
    log.usage("early", 7, 7_000);
    log
}

/// A log with all kinds of corrections, superseding events and releases. The first record of an org is at offset 4.
pub(crate) fn corrected(seed: u8) -> Log {
    let mut log = Log::new(seed);
    log.grant("acme", 100, 1_000);
    // Replaced, voided twice, replaced.
    log.usage("acme", 1, 1_000);
    log.correct("acme", 201, 1, 1, Some(400));
    log.correct("acme", 201, 1, 1, Some(400));
    log.correct("acme", 202, 1, 1, Some(999));
    log.correct("acme", 203, 1, 2, None);
    log.correct("acme", 204, 1, 3, None);
    // The id of a command carried out before, of whatever kind, cannot be used again.
    log.correct("acme", 201, 1, 4, Some(999));
    log.correct("acme", 100, 1, 4, Some(999));
    log.correct("acme", 205, 1, 4, Some(2_000));
    log.usage("acme", 1, 1_000);
    // Corrected before they come; one correction waits per event.
    log.correct("acme", 206, 2, 1, Some(800));
    log.correct("acme", 207, 2, 1, Some(999));
    log.correct("acme", 208, 3, 1, None);
    log.usage("acme", 2, 5_000);
    log.usage("acme", 2, 5_000);
    log.usage("acme", 3, 5_000);
    log.correct("acme", 209, 2, 2, Some(1_600));
    // Superseded, then corrected by command.
    let second = event("acme", 4, 3_000, superseding);
    log.event(&event("acme", 4, 1_000, uncertain));
    log.event(&second);
    log.event(&event("acme", 4, 1_000, uncertain));
    log.event(&second);
    log.correct("acme", 210, 4, 2, Some(4_000));
    // Corrected, and so not superseded any more, not even by a release; exact, and so not either.
    let second = event("acme", 5, 3_000, superseding);
    log.event(&event("acme", 5, 1_000, uncertain));
    log.correct("acme", 211, 5, 1, Some(6_000));
    log.event(&second);
    log.release(212, &second);
    log.event(&event("acme", 1, 1_000, superseding));
    // Revision 2 comes first.
    log.event(&event("acme", 6, 7_000, superseding));
    log.event(&event("acme", 6, 1_000, uncertain));
    log.correct("acme", 213, 6, 2, Some(8_000));
    // Too late, released; a correction waits for it.
    let lost = event("acme", 7, 9_000, late);
    log.event(&lost);
    log.correct("acme", 214, 7, 1, Some(10_000));
    log.release(215, &event("acme", 7, 9_001, late));
    log.release(216, &lost);
    log.release(217, &lost);
    log.event(&lost);
    // Another org, whose event of the same id nothing of this concerns.
    log.correct("other", 201, 1, 1, None);
    log.grant("other", 300, 10);
    log.usage("other", 1, 1_000);
    // The uncertain event that comes too late is released, then superseded by one that comes too late.
    let (first, second) = (
        event("other", 8, 1_000, |fields| {
            uncertain(fields);
            late(fields);
        }),
        event("other", 8, 2_000, |fields| {
            superseding(fields);
            late(fields);
        }),
    );
    log.event(&second);
    log.event(&first);
    log.release(301, &first);
    log.release(302, &second);
    log
}
