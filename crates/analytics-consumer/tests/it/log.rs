//! A small log of one partition, in memory.

use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey, RatesPart,
    RatesSeal, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, GLOBAL_KEY, LogId, Model, Module, OrgId, Provider, RevisionId};
use fluxori_core::rates::{Price, TokenPrices, part_digest, revision_digest};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_stream::Batch;
use fluxori_wire::Issuer;
use uuid::Uuid;

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(7));
/// The append time of the first record, in milliseconds.
pub(crate) const BEGAN_MS: i64 = 1_795_000_000_000;

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
            kinds: [CommandKind::Grant, CommandKind::Adjust, CommandKind::Rates].into(),
        });
        log.push(GLOBAL_KEY, &log.root.sign(&command(2, key)).unwrap());
        let revision = RevisionId::new("2026-11").unwrap();
        let prices = vec![Price {
            provider: Provider::new("openai").unwrap(),
            model: Model::new("gpt-5").unwrap(),
            aliases: Vec::new(),
            effective_from: "2025-08-07T00:00:00Z".parse().unwrap(),
            usd_per_million_tokens: TokenPrices {
                input: "1.25".parse().unwrap(),
                output: Some("10".parse().unwrap()),
                cache_read: None,
                cache_write_5m: None,
                cache_write_1h: None,
                reasoning: None,
            },
        }];
        let digest = revision_digest(&revision, &[part_digest(&prices)]);
        log.command(
            GLOBAL_KEY,
            3,
            CommandBody::RatesPart(RatesPart { revision: revision.clone(), index: 0, prices }),
        );
        log.command(GLOBAL_KEY, 4, CommandBody::RatesSeal(RatesSeal { revision, parts: 1, digest }));
        log
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
        let mut fields = UsageFields::new(
            EventId(Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 | id)),
            Timestamp::from_millis(BEGAN_MS - 1_000),
            OrgId::new(org).unwrap(),
            Module::new("pim").unwrap(),
            Provider::new("openai").unwrap(),
            Model::new("gpt-5").unwrap(),
        );
        fields.input_tokens = tokens;
        let value = fluxori_wire::encode_usage(&UsageEvent::new(fields).unwrap()).unwrap();
        self.push(org, &value);
    }
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
