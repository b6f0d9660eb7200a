//! The whole pure path of a usage event, from the bytes of its record to its posting, on one core, without any server.
//!
//! The floor is what no ledger over this log can do without: decoding the same records and nothing else. The last line is
//! one JSON object: `debits_per_s`, `floor_per_s` (records decoded), `ratio` (the first by the second).

use std::collections::BTreeSet;
use std::hint::black_box;

use anyhow::{Context as _, Result, ensure};
use benches::{interleaved, per_second};
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, CommandKind, Genesis, Grant, IssueKey, RatesSeal, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Counters, PartitionFold, Past, RULES_VERSION};
use fluxori_core::id::{CommandId, EventId, GLOBAL_KEY, LogId, OrgId};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{Card, ModelRates, Price};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_wire::{Issuer, decode, encode_usage};
use serde_json::json;
use uuid::Uuid;

const EVENTS: u32 = 200_000;
const ORGS: u32 = 1_000;
const NOW: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);

/// Key and value of a record.
type Raw = (Vec<u8>, Vec<u8>);

fn main() -> Result<()> {
    let log = log()?;
    let begin = log.len() - usize::try_from(EVENTS)?;
    let events = log.get(begin..).context("events")?;
    let fold_all = || -> Result<()> {
        let mut fold = PartitionFold::new(Context::new(0, None), Counters::default(), Digest::default());
        let mut past = Past::default();
        for (key, value) in &log {
            let record = decode(Some(key), Some(value), NOW);
            black_box(fold.apply(&mut past, &record)?);
        }
        ensure!(fold.counters().debited == i64::from(EVENTS), "not all events were debited");
        Ok(())
    };
    let decode_all = || -> Result<()> {
        for (key, value) in events {
            black_box(decode(Some(key), Some(value), NOW));
        }
        Ok(())
    };
    let (subject, floor) = interleaved(fold_all, decode_all)?;
    let (debits, decoded) = (per_second(events.len(), subject), per_second(events.len(), floor));
    println!("decode, admit, price, burn, digest: {debits:>12.0} debits/s");
    println!("decode alone (the floor):           {decoded:>12.0} records/s");
    println!(
        "{}",
        json!({"debits_per_s": debits.round(), "floor_per_s": decoded.round(), "ratio": debits / decoded})
    );
    Ok(())
}

fn command(number: u32, body: CommandBody) -> Command {
    Command {
        command_id: CommandId(Uuid::from_u128(u128::from(number))),
        issued_at: NOW,
        actor: "bench".to_owned(),
        reason: "bench".to_owned(),
        reference: None,
        body,
    }
}

/// Genesis, a key, the price of one model, a grant for every org, then the events.
fn log() -> Result<Vec<Raw>> {
    let log_id = LogId(Uuid::from_u128(7));
    let (root, issuer) = (Issuer::new(log_id, "root", [1; 32]), Issuer::new(log_id, "bench", [2; 32]));
    let global = |issuer: &Issuer, number, body| -> Result<Raw> {
        Ok((GLOBAL_KEY.as_bytes().to_vec(), issuer.sign(&command(number, body))?))
    };
    let genesis =
        Genesis { log_id, root_key: root.public_key(), rules_version: RULES_VERSION, partitions: 1 };
    let key = IssueKey {
        issuer: "bench".to_owned(),
        public_key: issuer.public_key(),
        kinds: BTreeSet::from([CommandKind::Rates, CommandKind::Grant]),
    };
    let rates = [(Meter::Input, "1.25"), (Meter::Output, "10"), (Meter::CacheRead, "0.125")];
    let rates = rates.into_iter().map(|(meter, rate)| Ok((meter, rate.parse()?))).collect::<Result<_>>()?;
    let price = Price::new("2025-08-07T00:00:00Z".parse()?, rates);
    let card = Card {
        models: vec![ModelRates::new("openai".parse()?, "gpt-5".parse()?, vec![price])],
        ..Card::default()
    };
    let (parts, seal) = RatesSeal::of(&"bench".parse()?, vec![card]);
    let mut log =
        vec![global(&root, 1, CommandBody::Genesis(genesis))?, global(&root, 2, CommandBody::IssueKey(key))?];
    for part in parts {
        log.push(global(&issuer, 3, CommandBody::RatesPart(part))?);
    }
    log.push(global(&issuer, 4, CommandBody::RatesSeal(seal))?);
    let orgs: Vec<OrgId> =
        (0..ORGS).map(|number| format!("org-{number}").parse()).collect::<Result<_, _>>()?;
    for (number, org) in (5..).zip(&orgs) {
        let grant = Grant {
            account: Account::Organization,
            kind: AllocationKind::Prepaid,
            amount: "1000000".parse()?,
            effective_at: NOW.before(std::time::Duration::from_hours(1)),
            expires_at: None,
            priority: 0,
            scope: Scope::default(),
            purchased: true,
            period: None,
        };
        let value = issuer.sign(&command(number, CommandBody::Grant(org.clone(), grant)))?;
        log.push((org.as_str().as_bytes().to_vec(), value));
    }
    for (number, org) in (0..EVENTS).zip(orgs.iter().cycle()) {
        log.push((org.as_str().as_bytes().to_vec(), encode_usage(&event(number, org)?)?));
    }
    Ok(log)
}

/// With the fields that a call site usually fills.
fn event(number: u32, org: &OrgId) -> Result<UsageEvent> {
    let id = EventId(Uuid::from_u128(u128::from(number) | 7 << 76 | 2 << 62));
    let mut fields =
        UsageFields::new(id, NOW, org.clone(), "rag-retrieval".parse()?, "openai".parse()?, "gpt-5".parse()?);
    fields.user_id = Some("ann".parse()?);
    fields.feature = Some("answer".parse()?);
    fields.response_model = Some("gpt-5-2025-08-07".parse()?);
    fields.input_tokens = i64::from(number % 8000);
    fields.cache_read_input_tokens = fields.input_tokens / 2;
    fields.output_tokens = i64::from(number % 900);
    fields.reasoning_output_tokens = fields.output_tokens / 3;
    fields.latency_ms = Some(1840);
    fields.tags.insert("environment".to_owned(), "production".to_owned());
    Ok(UsageEvent::new(fields)?)
}
