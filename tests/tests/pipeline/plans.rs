//! Plans: the coming periods are granted without anybody asking.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{RawLog, eventually, quarantined, shared, started, text, unique, verify};
use fluxori_core::command::{
    AllocationKind, Command, CommandBody, Plan, PlanItem, Policy, Scope, SetPlan, Share,
};
use fluxori_core::id::{CommandId, OrgId};
use fluxori_core::period::{IntervalUnit, Recurrence};
use fluxori_core::time::Timestamp;
use fluxori_wire::Issuer;
use serde_json::{Value, json};
use uuid::Uuid;

fn command(at: Timestamp, body: CommandBody) -> Command {
    let (actor, reason) = ("test".to_owned(), "test".to_owned());
    Command { command_id: CommandId(Uuid::now_v7()), issued_at: at, actor, reason, reference: None, body }
}

/// 1,000 credits a period, from a recurrence whose boundary is the end of the period in course.
fn plan(unit: IntervalUnit, start: Timestamp, end: Timestamp) -> Result<Plan> {
    Ok(Plan {
        name: "team".parse()?,
        trial: false,
        seats: 0,
        users: BTreeSet::new(),
        items: vec![PlanItem {
            id: "base".parse()?,
            kind: AllocationKind::Subscription,
            amount: "1000".parse()?,
            share: Share::Organization,
            priority: 0,
            scope: Scope::default(),
            purchased: true,
            max_rollover: "200".parse()?,
            recurrence: Recurrence {
                every: 1,
                unit,
                anchor: end.to_datetime().context("out of range")?.naive_utc(),
                time_zone: "UTC".parse()?,
            },
            period_start: start,
            period_end: end,
        }],
    })
}

#[test]
fn the_next_period_is_granted_once_by_two_schedulers_and_the_last_rolls_over() -> Result<()> {
    let pipeline = shared()?;
    let second = pipeline.start_instance("expiry-scheduler", "second-plan-scheduler", &[]);
    let org = unique("planned");
    let id = OrgId::new(&org)?;
    let now: Timestamp = e2e::ago(0).parse()?;
    // The boundary is some seconds ahead; half of the period in course is over.
    let (start, end) = (now.before(Duration::from_secs(8)), now.after(Duration::from_secs(8)));
    let log = RawLog::of(&pipeline)?;
    let issuer = Issuer::read(&pipeline.keys_folder().join("cli.key"))?;
    let policy = Policy { grace: Duration::ZERO, ..Policy::default() };
    log.publish(&org, &issuer.sign(&command(now, CommandBody::OpenOrg(id.clone(), policy)))?)?;
    let set_plan = SetPlan { effective_at: now, plan: Some(plan(IntervalUnit::Year, start, end)?) };
    log.publish(&org, &issuer.sign(&command(now, CommandBody::SetPlan(id, set_plan)))?)?;

    let postings = |kind: &str| -> Result<Vec<Value>> {
        let answer = pipeline.get("edge", &format!("/v1/transactions?org_id={org}"))?;
        let rows = answer.body.get("transactions").and_then(Value::as_array).context("no transactions")?;
        Ok(rows.iter().filter(|row| row.get("kind") == Some(&json!(kind))).cloned().collect())
    };
    let closed = eventually("the period in course closes", || Ok(postings("close")?.into_iter().next()))?;
    // 500 were granted for its second half, of which 200 rolled over.
    assert_eq!(text(&closed, "amount")?, "300");
    let rolled = eventually("it rolls over", || Ok(postings("rollover")?.into_iter().next()))?;
    assert_eq!(text(&rolled, "amount")?, "200");
    // More rounds of both change nothing.
    std::thread::sleep(Duration::from_secs(1));
    let mut granted: Vec<String> =
        postings("grant")?.iter().map(|row| text(row, "amount").map(str::to_owned)).collect::<Result<_>>()?;
    granted.sort();
    assert_eq!(granted, ["1000", "500"]);
    assert_eq!((postings("close")?.len(), postings("rollover")?.len()), (1, 1));
    let balance = pipeline.get("edge", &format!("/v1/balance?org_id={org}"))?;
    assert_eq!(text(&balance.body, "balance")?, "1200");
    assert!(quarantined(&pipeline, &org)?.is_empty());
    second?;
    pipeline.stop("second-plan-scheduler")?;
    verify(&pipeline)
}

#[test]
fn a_scheduler_whose_key_is_revoked_and_issued_again_goes_on_with_every_series() -> Result<()> {
    let pipeline = started(&[])?;
    let (root, key) = (pipeline.keys_folder().join("root.key"), pipeline.keys_folder().join("scheduler.key"));
    let (root, file) = (root.to_str().context("not UTF-8")?, key.to_str().context("not UTF-8")?);
    let scheduler = Issuer::read(&key)?;
    pipeline.credits(&[
        "keys",
        "revoke",
        &scheduler.key_id().to_string(),
        "--root-key",
        root,
        "--output",
        "json",
    ])?;

    let org = unique("rekeyed");
    let id = OrgId::new(&org)?;
    let now: Timestamp = e2e::ago(0).parse()?;
    let (start, end) = (now.before(Duration::from_hours(23)), now.after(Duration::from_hours(1)));
    let log = RawLog::of(&pipeline)?;
    let issuer = Issuer::read(&pipeline.keys_folder().join("cli.key"))?;
    log.publish(&org, &issuer.sign(&command(now, CommandBody::OpenOrg(id.clone(), Policy::default())))?)?;
    let daily = SetPlan { effective_at: now, plan: Some(plan(IntervalUnit::Day, start, end)?) };
    log.publish(&org, &issuer.sign(&command(now, CommandBody::SetPlan(id, daily)))?)?;
    // One period and no other, more than once: none of those after it uses up its id.
    let lost = eventually("the period is in the quarantine twice", || {
        let records = quarantined(&pipeline, &org)?;
        Ok((records.len() > 1).then_some(records))
    })?;
    assert!(lost.iter().all(|record| record["reason"] == "unknown_key"), "{lost:?}");

    let again =
        ["keys", "issue", scheduler.name(), "--kind", "grant", "--root-key", root, "--key-file", file];
    pipeline.credits(&[&again[..], &["--output", "json"]].concat())?;
    let horizon = now.after(Duration::from_hours(8 * 24));
    eventually("the periods of eight days are granted", || {
        let shown = pipeline.credits(&["plan", "show", &org, "--output", "json"])?;
        let until: Timestamp = text(&shown["granted_until"][0], "until")?.parse()?;
        Ok((until >= horizon).then_some(()))
    })?;
    verify(&pipeline)
}
