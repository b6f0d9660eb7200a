//! Corrections, superseding events and releases: the ledger, the usage log and its rollups stay one.

use anyhow::{Context as _, Result};
use e2e::{ago, balance_at, charged, emit, grant, publish, shared, text, unique, usage, verify};
use fluxori_core::command::{Change, Command, CommandBody, Correct, Release};
use fluxori_core::id::{CommandId, OrgId};
use fluxori_core::usage::{Quantities, UsageEvent};
use fluxori_stack::pipeline::Pipeline;
use fluxori_wire::Issuer;
use serde_json::{Value, json};
use uuid::Uuid;

/// An org, and the operators' key.
struct Org<'pipeline> {
    pipeline: &'pipeline Pipeline,
    name: String,
    issuer: Issuer,
}

/// A usage event of 3.25 credits, with other fields.
fn event(org: &str, fields: Value) -> Result<Value> {
    let mut event = usage(org);
    let known = event.as_object_mut().context("no object")?;
    known.insert("occurred_at".to_owned(), json!(ago(10)));
    known.extend(fields.as_object().context("no object")?.clone());
    Ok(event)
}

fn read(event: &Value) -> Result<UsageEvent> {
    Ok(fluxori_ingest::usage_from_json(event.clone(), "2026-01-01T00:00:00Z".parse()?)?)
}

/// So many tokens in and none out: 1.25 credits a thousand.
fn tokens(input: i64) -> Change {
    let mut quantities = Quantities::default();
    quantities.tokens.input = input;
    Change::Replace(Box::new(quantities))
}

impl Org<'_> {
    /// Publishes a signed command and returns its bytes.
    fn command(&self, body: impl FnOnce(OrgId) -> CommandBody) -> Result<Vec<u8>> {
        let command = Command {
            command_id: CommandId(Uuid::now_v7()),
            issued_at: ago(0).parse()?,
            actor: "tester".to_owned(),
            reason: "the invoice says otherwise".to_owned(),
            reference: None,
            body: body(OrgId::new(&self.name)?),
        };
        let value = self.issuer.sign(&command)?;
        publish(self.pipeline, &self.name, &value)?;
        Ok(value)
    }

    fn correct(&self, event: &Value, revision: i32, change: Change) -> Result<Vec<u8>> {
        let event_id = text(event, "event_id")?.parse()?;
        self.command(|org| CommandBody::Correct(org, Correct { event_id, revision, change }))
    }

    fn release(&self, event: &UsageEvent) -> Result<Vec<u8>> {
        let (event_id, billing_digest) = (event.event_id, event.billing_digest());
        self.command(|org| CommandBody::Release(org, Release { event_id, billing_digest }))
    }

    /// The usage log comes to the ledger's charges, by all ways.
    fn expect(&self, events: u32, credits: &str) -> Result<()> {
        charged(self.pipeline, &self.name, events, credits)
    }
}

#[test]
fn corrections_superseding_events_and_releases_come_to_the_same_in_ledger_and_usage_log() -> Result<()> {
    let pipeline = shared()?;
    let name = unique("corrected");
    grant(&pipeline, &name, "1000")?;
    let issuer = Issuer::read(&pipeline.keys_folder().join("cli.key"))?;
    let org = Org { pipeline: &pipeline, name: name.clone(), issuer };
    let [voided, replaced, early, exact] = [(); 4].map(|()| event(&name, json!({})));
    let (voided, replaced, early, exact) = (voided?, replaced?, early?, exact?);
    let uncertain = event(&name, json!({"certainty": "at_least"}))?;
    let late = event(&name, json!({"occurred_at": ago(40 * 24 * 3600)}))?;
    // Before its event.
    org.correct(&early, 1, tokens(800))?;
    emit(&pipeline, &json!([voided, replaced, early, exact, uncertain]))?;
    let late = read(&late)?;
    publish(&pipeline, &name, &fluxori_wire::encode_usage(&late)?)?;
    org.expect(5, "14")?;
    // After it, from what the tables hold of it.
    org.correct(&voided, 1, Change::Void)?;
    let again = org.correct(&replaced, 1, tokens(400))?;
    org.release(&late)?;
    org.expect(5, "11.25")?;
    // The same command again, a revision that is no longer current, a release of what was released: nothing.
    publish(&pipeline, &name, &again)?;
    org.correct(&replaced, 1, tokens(999_999))?;
    org.release(&late)?;
    // Superseded by what is certain, then corrected twice in a row; what was voided comes back.
    let mut certain = uncertain.clone();
    certain["certainty"] = json!("exact");
    certain["revision"] = json!(2);
    certain["input_tokens"] = json!(2_000);
    certain["output_tokens"] = json!(0);
    emit(&pipeline, &certain)?;
    org.correct(&uncertain, 2, Change::Void)?;
    org.correct(&uncertain, 3, tokens(4_000))?;
    org.correct(&voided, 2, tokens(1_600))?;
    // An exact event is superseded by none.
    let mut second = exact.clone();
    second["revision"] = json!(2);
    second["input_tokens"] = json!(5_000);
    emit(&pipeline, &second)?;
    org.expect(6, "15")?;
    let marker = emit(&pipeline, &exact)?;
    let balance = balance_at(&pipeline, &name, text(&marker, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "985");
    org.expect(6, "15")?;
    verify(&pipeline)
}
