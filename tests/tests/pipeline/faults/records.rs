//! Records that come twice, in any order, or are no usage at all.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use e2e::load::{Load, event, opening, seed};
use e2e::{RawLog, ago, endpoints, ledger_at, sql, unique, verify};
use fluxori_core::id::{EventId, LogId};
use fluxori_core::record::{MAX_RECORD_BYTES, partition_of};
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_stack::pipeline::Pipeline;
use fluxori_wire::{Issuer, encode_usage};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

/// Poison of every kind that the log can hold. (An amount out of range takes a price that no shipped card has, and a
/// waiting room that overflows takes ten thousand events: both are tested in the fold.)
struct Poison<'p> {
    pipeline: &'p Pipeline,
    log: RawLog,
    org: String,
    random: StdRng,
    issuer: Issuer,
    published: BTreeMap<&'static str, u64>,
    /// Good events among it.
    debited: u64,
}

impl Poison<'_> {
    fn fields(&mut self, change: impl FnOnce(&mut UsageFields)) -> Result<Vec<u8>> {
        let mut fields = event(&self.org, &mut self.random)?.0.into_fields();
        change(&mut fields);
        Ok(encode_usage(&UsageEvent::new(fields)?)?)
    }

    fn publish(&mut self, reason: &'static str, value: &[u8]) -> Result<()> {
        self.log.publish(&self.org, value)?;
        *self.published.entry(reason).or_default() += 1;
        Ok(())
    }

    /// One of each.
    fn publish_all(&mut self) -> Result<()> {
        let good = self.fields(|_| ())?;
        self.publish("malformed", b"no Avro at all")?;
        self.publish("malformed", b"")?;
        self.publish("malformed", good.get(..good.len() / 2).context("half an event")?)?;
        self.publish("schema_not_in_force", &[0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9])?;
        self.publish("too_large", &vec![7; MAX_RECORD_BYTES + 1])?;
        let negative = self.negative()?;
        self.publish("invalid", &negative)?;
        let future = ago(-600).parse()?;
        let future = self.fields(|fields| fields.occurred_at = future)?;
        self.publish("occurred_in_future", &future)?;
        let past = ago(40 * 24 * 3600).parse()?;
        let past = self.fields(|fields| fields.occurred_at = past)?;
        self.publish("too_late", &past)?;
        self.publish_conflicts()?;
        self.publish_misplaced(&good)?;
        self.publish_forged()
    }

    /// A count of -1,234,568, which no emitter would encode: the bytes of another number changed.
    fn negative(&mut self) -> Result<Vec<u8>> {
        let mut value = self.fields(|fields| {
            (fields.input_tokens, fields.cache_read_input_tokens) = (1_234_567, 0);
        })?;
        // Avro's zigzag: 2n for n, 2n - 1 for -n.
        let (positive, negative) = (varint(2_469_134), varint(2_469_135));
        let at = value.windows(positive.len()).position(|window| window == positive);
        let at = at.context("the count is not in the event")?;
        value.splice(at..at + positive.len(), negative);
        Ok(value)
    }

    /// The same id with more tokens.
    fn publish_conflicts(&mut self) -> Result<()> {
        let id = EventId(Uuid::now_v7());
        let original = self.fields(|fields| (fields.event_id, fields.output_tokens) = (id, 1))?;
        self.log.publish(&self.org, &original)?;
        self.debited += 1;
        let other = self.fields(|fields| (fields.event_id, fields.output_tokens) = (id, 2))?;
        self.publish("conflict", &other)?;
        // The original was exact.
        let revised = self.fields(|fields| (fields.event_id, fields.revision) = (id, 2))?;
        self.publish("superseding", &revised)
    }

    /// Under the key of another org, in another partition than its own, and of an org that nobody has opened.
    fn publish_misplaced(&mut self, good: &[u8]) -> Result<()> {
        self.log.publish(&unique("another"), good)?;
        *self.published.entry("wrong_key").or_default() += 1;
        let own = partition_of(self.org.as_bytes(), i32::try_from(e2e::PARTITIONS)?);
        self.log.publish_to(i32::from(own == 0), &self.org, good)?;
        *self.published.entry("wrong_partition").or_default() += 1;
        let unopened = unique("unopened");
        let value = encode_usage(&event(&unopened, &mut self.random)?.0)?;
        self.log.publish(&unopened, &value)?;
        *self.published.entry("org_not_open").or_default() += 1;
        Ok(())
    }

    /// Grants that nobody who may has signed.
    fn publish_forged(&mut self) -> Result<()> {
        let mut altered = opening(&self.issuer, &self.org)?;
        *altered.last_mut().context("empty")? ^= 1;
        self.publish("bad_signature", &altered)?;
        for stranger in [self.issuer.log_id(), LogId(Uuid::nil())] {
            let forged = opening(&Issuer::new(stranger, "cli", [7; 32]), &self.org)?;
            self.publish("unknown_key", &forged)?;
        }
        let root = Issuer::read(&self.pipeline.keys_folder().join("root.key"))?;
        let overreaching = opening(&root, &self.org)?;
        self.publish("not_permitted", &overreaching)
    }
}

/// Seven bits a byte, the lowest first, and a mark on all but the last.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[test]
fn duplicates_disorder_and_poison_of_every_kind_change_no_balance() -> Result<()> {
    let seed = seed("duplicates_disorder_and_poison_of_every_kind_change_no_balance")?;
    let pipeline = ledger_at(endpoints()?)?;
    let issuer = Issuer::read(&pipeline.keys_folder().join("cli.key"))?;
    let org = unique("poison");
    let log = RawLog::of(&pipeline)?;
    log.publish(&org, &opening(&issuer, &org)?)?;
    let random = StdRng::seed_from_u64(seed);
    let mut poison =
        Poison { pipeline: &pipeline, log, org, random, issuer, published: BTreeMap::new(), debited: 0 };
    let load = Load::begin(&pipeline, 4_000, seed)?;
    for _ in 0..3 {
        load.wait_for_more(500)?;
        poison.publish_all()?;
    }
    load.wait_for_more(500)?;
    let emitted = load.end()?;
    emitted.expect_applied_once(&pipeline, poison.debited)?;
    let rows =
        sql(&pipeline, "SELECT reason, count(*) FROM ledger.quarantine GROUP BY reason ORDER BY reason")?;
    let expected: Vec<Vec<String>> = poison
        .published
        .iter()
        .map(|(reason, count)| vec![(*reason).to_owned(), count.to_string()])
        .collect();
    ensure!(rows == expected, "in the quarantine are {rows:?} and not {expected:?}");
    let duplicates = sql(&pipeline, "SELECT sum(duplicates) FROM ledger.partition_cursors")?;
    ensure!(duplicates == [[emitted.duplicates().to_string()]], "{duplicates:?}, {}", emitted.duplicates());
    verify(&pipeline)
}
