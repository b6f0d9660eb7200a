//! Processes that are killed, stopped and restarted while usage flows.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    apply_rates, emit, eventually, grant, pipeline, pipeline_without_ledger, rollups, started, text, unique,
    usage, verify,
};
use fluxori_stack::pipeline::Pipeline;
use nix::sys::signal::Signal;
use serde_json::Value;

const EVENTS: i64 = 30_000;
const ORGS: u32 = 20;

fn open_orgs(pipeline: &Pipeline) -> Result<()> {
    (0..ORGS).try_for_each(|number| {
        let body = serde_json::json!({
            "org_id": format!("org-{number:03}"), "kind": "prepaid", "amount": "100000",
            "effective_at": e2e::ago(30 * 24 * 3600), "reason": "test",
        });
        let answer = pipeline.post("edge", "/v1/allocations", &body)?;
        ensure!(answer.status == 201, "{}", answer.body);
        Ok(())
    })
}

/// Emits in the background, every 500th event twice.
fn generate(pipeline: &Pipeline) -> Result<Child> {
    let (events, orgs) = (EVENTS.to_string(), ORGS.to_string());
    pipeline
        .command("producer")
        .args([
            "generate",
            "--events",
            &events,
            "--orgs",
            &orgs,
            "--org-prefix",
            "org",
            "--duplicate-every",
            "500",
        ])
        .args(["--output", "json"])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start producer")
}

fn records(pipeline: &Pipeline) -> Result<(i64, i64)> {
    let listed = pipeline.credits(&["org", "list", "--output", "json"])?;
    let records = listed.get("records").context("no records")?;
    let number =
        |field: &str| records.get(field).and_then(Value::as_i64).with_context(|| format!("no {field}"));
    Ok((number("debited")?, number("duplicates")?))
}

/// What the ledger has debited, as the sum over all orgs.
fn debited(pipeline: &Pipeline) -> Result<String> {
    let listed = pipeline.credits(&["org", "list", "--output", "json"])?;
    let total = listed.get("totals").context("no totals")?;
    Ok(text(total, "debited")?.to_owned())
}

/// Everything applied exactly once, in the ledger and in ClickHouse.
fn expect_all_once(pipeline: &Pipeline) -> Result<()> {
    eventually("all events are applied", || {
        let (debited, duplicates) = records(pipeline)?;
        ensure!(debited <= EVENTS, "{debited} debits of {EVENTS} events");
        Ok((debited == EVENTS && duplicates == EVENTS / 500).then_some(()))
    })?;
    verify(pipeline)?;
    let ledger = debited(pipeline)?;
    eventually("usage log and rollups have all of it", || {
        let (events, raw, hourly, daily) = rollups(pipeline)?;
        ensure!(events.parse::<i64>()? <= EVENTS, "{events} rows of {EVENTS} events");
        ensure!(
            (&raw, &hourly, &daily) == (&ledger, &ledger, &ledger),
            "{raw} {hourly} {daily}, ledger {ledger}"
        );
        Ok((events == EVENTS.to_string()).then_some(()))
    })
}

#[test]
fn consumers_killed_in_the_middle_of_batches_lose_and_double_nothing() -> Result<()> {
    let small = [
        ("FLUXORI__LEDGER__BATCH_MAX_RECORDS", "200"),
        ("FLUXORI__ANALYTICS__BATCH_MAX_RECORDS", "500"),
        ("FLUXORI__ANALYTICS__BATCH_LINGER_MS", "50"),
    ];
    let pipeline = started(&small)?;
    open_orgs(&pipeline)?;
    let mut generator = generate(&pipeline)?;
    for round in 1..=4_u64 {
        std::thread::sleep(Duration::from_millis(300 + 170 * round));
        for consumer in ["ledger-consumer", "analytics-consumer"] {
            pipeline.kill(consumer)?;
            pipeline.start(consumer)?;
        }
    }
    ensure!(generator.wait()?.success(), "the generator failed");
    expect_all_once(&pipeline)
}

#[test]
fn a_zombie_cannot_commit_after_its_partition_moved() -> Result<()> {
    let pipeline = started(&[("FLUXORI__LEDGER__BATCH_MAX_RECORDS", "200")])?;
    open_orgs(&pipeline)?;
    let mut generator = generate(&pipeline)?;
    eventually("the first events are debited", || Ok((records(&pipeline)?.0 > 500).then_some(())))?;
    for consumer in ["ledger-consumer", "analytics-consumer"] {
        pipeline.signal(consumer, Signal::SIGSTOP)?;
        pipeline.start_instance(consumer, &format!("successor-of-{consumer}"), &[])?;
    }
    ensure!(generator.wait()?.success(), "the generator failed");
    // The successors have everything only if they got the frozen members' partitions.
    eventually("the successors take over", || Ok((records(&pipeline)?.0 == EVENTS).then_some(())))?;
    for consumer in ["ledger-consumer", "analytics-consumer"] {
        pipeline.signal(consumer, Signal::SIGCONT)?;
    }
    // The zombies wake with batches in hand; they must rejoin, and more usage flows to whoever has the partitions.
    let org = unique("after-the-zombie");
    grant(&pipeline, &org, "10")?;
    emit(&pipeline, &usage(&org))?;
    eventually("both members are at work", || {
        pipeline.wait_ready("ledger-consumer")?;
        Ok((records(&pipeline)?.0 == EVENTS + 1).then_some(()))
    })?;
    verify(&pipeline)
}

#[test]
fn services_that_start_before_their_servers_say_so_and_recover() -> Result<()> {
    let pipeline = pipeline_without_ledger(&[])?;
    // No port 1 ever answers.
    let nowhere =
        [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"), ("KAFKA_BROKERS", "127.0.0.1:1")];
    pipeline.start_instance("ledger-consumer", "nowhere", &nowhere)?;
    eventually("the log names what does not answer", || {
        let log = std::fs::read_to_string(pipeline.log_file("nowhere"))?;
        Ok((log.contains("Postgres") && log.contains("WARN") && !log.contains("panicked")).then_some(()))
    })?;
    assert!(pipeline.stop("nowhere")?, "it ends cleanly while it waits");
    // Postgres is there, but nobody has made the ledger yet.
    pipeline.start("edge")?;
    eventually("the edge answers 503", || {
        let answer = pipeline.get("edge", "/v1/balance?org_id=acme")?;
        Ok((answer.status == 503 && answer.content_type == "application/problem+json").then_some(()))
    })?;
    pipeline.start("ledger-consumer")?;
    eventually("the ledger consumer says what it waits for", || {
        let answer = pipeline.get("ledger-consumer", "/readyz")?;
        let says = answer.body.to_string().contains("run `credits ledger migrate`");
        Ok((answer.status == 503 && says).then_some(()))
    })?;
    pipeline.migrate()?;
    pipeline.start("producer")?;
    for service in ["ledger-consumer", "producer", "edge"] {
        pipeline.wait_ready(service)?;
    }
    apply_rates(&pipeline)?;
    grant(&pipeline, "acme", "10").map(drop)
}

#[test]
fn a_service_refuses_a_wrong_configuration_and_another_log() -> Result<()> {
    let pipeline = pipeline(&[])?;
    let said = |binary: &str, name: &str, value: &str| -> Result<(Option<i32>, String)> {
        let output = pipeline.command(binary).env(name, value).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    for binary in ["producer", "ledger-consumer", "analytics-consumer", "expiry-scheduler", "edge"] {
        let (code, text) = said(binary, "FLUXORI__LEDGER__BATCH_MAX_RECORD", "5")?;
        assert_eq!(code, Some(78), "{binary}: {text}");
        assert!(text.contains("batch_max_record"), "{binary}: {text}");
    }
    let another = "0000000000000000000000000000000000000000000000000000000000000001";
    for binary in ["producer", "expiry-scheduler", "edge"] {
        let (code, text) = said(binary, "FLUXORI__LOG__GENESIS", another)?;
        assert!(code.is_some_and(|code| code != 0), "{binary}: {text}");
        assert!(text.contains("genesis"), "{binary}: {text}");
    }
    Ok(())
}

#[test]
fn log_init_twice_is_one_log_and_verify_names_a_difference() -> Result<()> {
    let pipeline = started(&[])?;
    let keys = pipeline.keys_folder();
    let keys = keys.to_str().context("path")?;
    let again =
        pipeline.credits(&["log", "init", "--partitions", "8", "--keys", keys, "--output", "json"])?;
    let pinned =
        pipeline.environment().iter().find(|(name, _)| name == "FLUXORI__LOG__GENESIS").context("genesis")?;
    assert_eq!(text(&again, "genesis")?, pinned.1);
    let org = unique("tampered");
    let granted = grant(&pipeline, &org, "10")?;
    e2e::balance_at(&pipeline, &org, text(&granted, "position")?)?;
    verify(&pipeline)?;
    let url = pipeline.owner_url();
    let allocation = text(&granted, "allocation_id")?;
    for (tampering, named) in [
        (
            format!("UPDATE ledger.organizations SET balance = balance + 1 WHERE org_id = '{org}'"),
            format!("org {org}: the balance is 10 by the log and 11 in Postgres"),
        ),
        (
            format!(
                "UPDATE ledger.credit_transactions SET amount = 99 WHERE org_id = '{org}' AND number = 2"
            ),
            format!("org {org}: amount of posting 2 is 10 by the log and 99 in Postgres"),
        ),
        (
            format!("UPDATE ledger.credit_allocations SET priority = 7 WHERE org_id = '{org}'"),
            format!("org {org}: priority of allocation {allocation} is 0 by the log and 7 in Postgres"),
        ),
        (
            format!("UPDATE ledger.commands SET rejection = 'no' WHERE org_id = '{org}'"),
            format!("org {org}: rejection of command {allocation} is null by the log and no in Postgres"),
        ),
    ] {
        let tampered =
            std::process::Command::new("psql").args([url, "--quiet", "--command", &tampering]).status()?;
        ensure!(tampered.success(), "psql failed");
        let output = pipeline.command("credits").args(["ledger", "verify"]).output()?;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(&named), "{named}\n{text}");
    }
    Ok(())
}
