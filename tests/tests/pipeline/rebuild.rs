//! The ledger is made again from the log, from an archive, from a checkpoint, and takes the live one's place.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    apply_rates, balance_at, emit, eventually, grant, pipeline, rollups, started, text, unique, usage, verify,
};
use fluxori_stack::pipeline::{Pipeline, SERVICES};
use serde_json::Value;

const ORGS: u32 = 20;

/// What ledgers need, and no more.
const LEDGER: [&str; 4] = ["producer", "ledger-consumer", "expiry-scheduler", "edge"];

fn ledger_alone() -> Result<Pipeline> {
    let pipeline = pipeline(&[("FLUXORI__LEDGER__BATCH_MAX_RECORDS", "500")])?;
    LEDGER.iter().try_for_each(|service| pipeline.start(service))?;
    LEDGER.iter().try_for_each(|service| pipeline.wait_ready(service))?;
    apply_rates(&pipeline)?;
    open_orgs(&pipeline)?;
    Ok(pipeline)
}

fn open_orgs(pipeline: &Pipeline) -> Result<()> {
    (0..ORGS).try_for_each(|number| grant(pipeline, &format!("org-{number:03}"), "100000").map(drop))
}

/// Emits, every 100th event twice.
fn generate(pipeline: &Pipeline, events: u32, seed: u32) -> Result<()> {
    let (events, orgs, seed) = (events.to_string(), ORGS.to_string(), seed.to_string());
    let mut producer = pipeline.command("producer");
    producer.args(["generate", "--events", &events, "--orgs", &orgs, "--seed", &seed, "--org-prefix", "org"]);
    let output = producer.args(["--duplicate-every", "100", "--output", "json"]).output()?;
    ensure!(output.status.success(), "the generator failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn debited(pipeline: &Pipeline) -> Result<i64> {
    let listed = pipeline.credits(&["org", "list", "--output", "json"])?;
    let records = listed.get("records").context("no records")?;
    records.get("debited").and_then(Value::as_i64).context("no debited")
}

fn wait_for_debits(pipeline: &Pipeline, events: i64) -> Result<()> {
    eventually("all events are debited", || Ok((debited(pipeline)? == events).then_some(())))
}

/// `credits`, as the ledger's owner, who makes and changes schemas.
fn owner(pipeline: &Pipeline) -> Command {
    let mut command = pipeline.command("credits");
    command.env("FLUXORI__POSTGRES__MIGRATE_URL", pipeline.owner_url());
    command
}

pub(crate) fn credits_of_owner(pipeline: &Pipeline, arguments: &[&str]) -> Result<Value> {
    let output = owner(pipeline).args(arguments).args(["--output", "json"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "credits {}: {}", arguments.join(" "), said.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What `credits` says when it fails.
fn refusal(pipeline: &Pipeline, arguments: &[&str]) -> Result<String> {
    let output = owner(pipeline).args(arguments).output()?;
    ensure!(!output.status.success(), "credits {} succeeded", arguments.join(" "));
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn folder(pipeline: &Pipeline, name: &str) -> Result<(PathBuf, String)> {
    let path = pipeline.keys_folder().with_file_name(name);
    let text = path.to_str().context("a path")?.to_owned();
    Ok((path, text))
}

/// The digest of every table of a schema, of its cursors without the time of their commit.
fn digests(pipeline: &Pipeline, schema: &str) -> Result<Value> {
    let name = unique("checkpoint");
    let (path, checkpoint) = folder(pipeline, &name)?;
    pipeline.credits(&[
        "ledger",
        "checkpoint",
        "--to",
        &checkpoint,
        "--schema",
        schema,
        "--output",
        "json",
    ])?;
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(path.join("checkpoint.json"))?)?;
    let tables = manifest.get_mut("tables").context("tables")?.take();
    let tables = tables.as_array().context("tables")?.iter().filter(|table| {
        // Compared by `promote` and `verify`; it holds when the cursor was committed.
        table.get("table").and_then(Value::as_str) != Some("partition_cursors")
    });
    let digests = tables.map(|table| (text(table, "table").map(str::to_owned), table.get("sha256").cloned()));
    let digests: Result<Vec<_>> = digests.map(|(name, digest)| Ok((name?, digest))).collect();
    std::fs::remove_dir_all(path)?;
    Ok(serde_json::json!({"cursors": manifest.get("cursors"), "tables": digests?}))
}

fn expect_equal(pipeline: &Pipeline, schema: &str) -> Result<()> {
    let (live, rebuilt) = (digests(pipeline, "ledger")?, digests(pipeline, schema)?);
    ensure!(live == rebuilt, "live: {live}\n{schema}: {rebuilt}");
    Ok(())
}

/// Nothing is published any more, so that the ledger stays as it is.
fn stop_ticking(pipeline: &Pipeline) -> Result<()> {
    pipeline.stop("expiry-scheduler")?;
    eventually("the ledger has come to the end of the log", || {
        let verified = pipeline.credits(&["ledger", "verify", "--output", "json"])?;
        Ok((verified.get("behind") == Some(&Value::from(0))).then_some(()))
    })
}

fn sql(pipeline: &Pipeline, statement: &str) -> Result<()> {
    let mut psql = Command::new("psql");
    psql.args([pipeline.owner_url(), "--quiet", "--set", "ON_ERROR_STOP=1", "--command", statement]);
    psql.env("PGOPTIONS", "--client-min-messages=warning");
    ensure!(psql.status()?.success(), "psql failed: {statement}");
    Ok(())
}

#[test]
fn a_ledger_rebuilt_from_the_log_or_from_a_checkpoint_equals_the_live_one() -> Result<()> {
    let pipeline = ledger_alone()?;
    generate(&pipeline, 3_000, 1)?;
    wait_for_debits(&pipeline, 3_000)?;
    let (_, checkpoint) = folder(&pipeline, "checkpoint")?;
    pipeline.credits(&["ledger", "checkpoint", "--to", &checkpoint, "--verify", "--output", "json"])?;
    generate(&pipeline, 2_000, 2)?;
    wait_for_debits(&pipeline, 5_000)?;
    stop_ticking(&pipeline)?;
    let rebuilt = credits_of_owner(&pipeline, &["ledger", "rebuild"])?;
    ensure!(rebuilt.get("records").and_then(Value::as_i64) > Some(5_000), "{rebuilt}");
    expect_equal(&pipeline, "ledger_rebuild")?;
    pipeline.credits(&["ledger", "verify", "--schema", "ledger_rebuild", "--output", "json"])?;
    let again = credits_of_owner(&pipeline, &["ledger", "rebuild"])?;
    assert_eq!(again.get("records"), Some(&Value::from(0)), "it goes on where it was");
    let arguments = ["ledger", "rebuild", "--schema", "from_checkpoint", "--from-checkpoint", &checkpoint];
    let rebuilt = credits_of_owner(&pipeline, &arguments)?;
    let records = rebuilt.get("records").and_then(Value::as_i64).context("records")?;
    ensure!((2_000..3_000).contains(&records), "it began at the checkpoint: {rebuilt}");
    expect_equal(&pipeline, "from_checkpoint")?;
    let (_, unverified) = folder(&pipeline, "unverified")?;
    pipeline.credits(&["ledger", "checkpoint", "--to", &unverified, "--output", "json"])?;
    let arguments = ["ledger", "rebuild", "--schema", "other", "--from-checkpoint", &unverified];
    let refused = refusal(&pipeline, &arguments)?;
    ensure!(refused.contains("never compared with the log"), "{refused}");
    let refused = refusal(&pipeline, &["ledger", "rebuild", "--schema", "ledger"])?;
    ensure!(refused.contains("is the live ledger"), "{refused}");
    Ok(())
}

#[test]
fn a_log_whose_beginning_was_archived_and_deleted_goes_on_and_is_rebuilt_with_the_archive() -> Result<()> {
    let pipeline = started(&[])?;
    open_orgs(&pipeline)?;
    generate(&pipeline, 3_000, 1)?;
    wait_for_debits(&pipeline, 3_000)?;
    let (path, archive) = folder(&pipeline, "archive")?;
    let json = ["--output", "json"];
    let first = pipeline.credits(&[&["log", "archive", "--to", &archive][..], &json].concat())?;
    ensure!(first.get("records").and_then(Value::as_i64) > Some(3_000), "{first}");
    let verified = pipeline.credits(&[&["log", "archive", "--verify", &archive][..], &json].concat())?;
    assert_eq!(verified.get("records"), first.get("records"));
    let (_, partial) = folder(&pipeline, "partial")?;
    pipeline.credits(&[&["log", "archive", "--to", &partial, "--until", "10"][..], &json].concat())?;
    let first_org = unique("first");
    let granted = |amount: &str| {
        pipeline.credits(&[&["grant", &first_org, amount, "--idempotency-key", "first"][..], &json].concat())
    };
    granted("10")?;
    // What the archive does not have yet is archived and deleted, too.
    generate(&pipeline, 300, 2)?;
    wait_for_debits(&pipeline, 3_300)?;
    let (_, one) = folder(&pipeline, "one-partition")?;
    pipeline.credits(&[&["log", "archive", "--to", &one, "--partition", "0"][..], &json].concat())?;
    let refused = refusal(&pipeline, &["log", "trim", "--archive", &one, "--dry-run"])?;
    ensure!(refused.contains("has no records of partition 1"), "{refused}");
    let (_, checkpoint) = folder(&pipeline, "checkpoint")?;
    pipeline.credits(&[&["ledger", "checkpoint", "--to", &checkpoint][..], &json].concat())?;
    stop_ticking(&pipeline)?;
    let trim = ["log", "trim", "--archive", &archive];
    let for_checkpoint = [&trim[..], &["--checkpoint", &checkpoint, "--dry-run"], &json].concat();
    let for_checkpoint = pipeline.credits(&for_checkpoint)?;
    assert_eq!(for_checkpoint.get("deleted"), Some(&0.into()), "no copy of the genesis lies before it yet");
    let dry = pipeline.credits(&[&trim[..], &["--dry-run"], &json].concat())?;
    let trimmed = pipeline.credits(&[&trim[..], &json].concat())?;
    ensure!(trimmed.get("deleted").and_then(Value::as_i64) > Some(3_300), "{trimmed}");
    assert_eq!(dry.get("deleted"), trimmed.get("deleted"), "{dry} {trimmed}");
    let begins_at = |answer: &Value| -> Vec<Value> {
        let partitions = answer.get("partitions").and_then(Value::as_array).into_iter().flatten();
        partitions.filter_map(|partition| partition.get("begins_at").cloned()).collect()
    };
    assert_eq!(begins_at(&dry), begins_at(&trimmed));
    // The record of the first grant is gone from the log, and it is known all the same.
    assert_eq!(text(&granted("10")?, "status")?, "repeated");
    ensure!(granted("11").is_err(), "another grant passes for the first");
    pipeline.start("expiry-scheduler")?;
    // Every service begins anew and finds its log.
    for (service, _) in SERVICES {
        ensure!(pipeline.stop(service)?, "{service} did not end cleanly");
        pipeline.start(service)?;
    }
    SERVICES.iter().try_for_each(|(service, _)| pipeline.wait_ready(service))?;
    let org = unique("after");
    grant(&pipeline, &org, "10")?;
    let spent = emit(&pipeline, &usage(&org))?;
    assert_eq!(text(&balance_at(&pipeline, &org, text(&spent, "position")?)?, "balance")?, "6.75");
    eventually("analytics goes on, too", || Ok((rollups(&pipeline)?.0 == "3301").then_some(())))?;
    let keys = pipeline.keys_folder();
    let keys = keys.to_str().context("a path")?;
    let init = pipeline.credits(&[&["log", "init", "--keys", keys][..], &json].concat())?;
    assert_eq!(
        (text(&init, "status")?, init.get("records_published")),
        ("already_initialised", Some(&0.into()))
    );
    // What is not in the log any more is named, and the archive has it.
    let refused = refusal(&pipeline, &["ledger", "verify"])?;
    ensure!(refused.contains("offsets 0 to ") && refused.contains("--archive"), "{refused}");
    let refused = refusal(&pipeline, &["ledger", "verify", "--archive", &partial])?;
    ensure!(
        refused.contains("offsets 10 to ") && refused.contains("the archive ends before offset 10"),
        "{refused}"
    );
    let refused = refusal(&pipeline, &["log", "archive", "--to", &partial])?;
    ensure!(refused.contains("ends before offset 10 and the log begins at"), "{refused}");
    let refused = refusal(&pipeline, &["log", "trim", "--archive", &partial, "--dry-run"])?;
    ensure!(refused.contains("ends before offset 10 and the log begins at"), "{refused}");
    pipeline.credits(&[&["ledger", "verify", "--archive", &archive][..], &json].concat())?;
    pipeline.stop("expiry-scheduler")?;
    credits_of_owner(&pipeline, &["ledger", "rebuild", "--archive", &archive])?;
    expect_equal(&pipeline, "ledger_rebuild")?;
    let one = pipeline
        .credits(&[&["ledger", "rebuild", "--org", &org, "--archive", &archive][..], &json].concat())?;
    assert_eq!((one.get("organizations"), one.get("agree")), (Some(&1.into()), Some(&true.into())));
    assert_eq!(text(one.get("organization").context("organization")?, "balance")?, "6.75");
    expect_damage_is_found(&pipeline, &path, &archive)
}

fn expect_damage_is_found(pipeline: &Pipeline, path: &Path, archive: &str) -> Result<()> {
    let mut files: Vec<_> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "avro"));
    let largest = files.into_iter().max_by_key(|file| file.metadata().map_or(0, |found| found.len()));
    let file = largest.context("no files")?;
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("empty")? ^= 1;
    std::fs::write(&file, bytes)?;
    for arguments in [
        &["log", "archive", "--verify", archive][..],
        &["ledger", "verify", "--archive", archive],
        &["log", "trim", "--archive", archive, "--without-analytics", "--dry-run"],
    ] {
        let refused = refusal(pipeline, arguments)?;
        ensure!(refused.contains("is damaged"), "{arguments:?}: {refused}");
    }
    Ok(())
}

/// Emits until it is told to stop, and says how many events.
fn emit_until(pipeline: &Pipeline, stop: &AtomicBool) -> Result<i64> {
    const ROUND: u32 = 500;
    let mut events = 0;
    for seed in 1.. {
        generate(pipeline, ROUND, seed)?;
        events += i64::from(ROUND);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(events)
}

/// Rebuilds a ledger and promotes it, and says how the former one is named.
fn replace_ledger(pipeline: &Pipeline, schema: &str) -> Result<String> {
    let rebuilt = credits_of_owner(pipeline, &["ledger", "rebuild", "--schema", schema])?;
    let promoted = credits_of_owner(pipeline, &["ledger", "promote", "--schema", schema])?;
    assert_eq!(promoted.get("fenced"), Some(&8.into()), "{promoted}");
    let held = promoted.get("held_up_ms").and_then(Value::as_u64).context("held_up_ms")?;
    ensure!(held < 8_000, "{promoted}");
    let (records, rate) = (rebuilt.get("records"), rebuilt.get("records_per_s"));
    println!("rebuilt {records:?} records, {rate:?} per second; commits were held up for {held} ms");
    Ok(text(&promoted, "former")?.to_owned())
}

#[test]
fn promote_under_load_loses_and_doubles_nothing() -> Result<()> {
    let pipeline = ledger_alone()?;
    let stop = AtomicBool::new(false);
    let emitted = std::thread::scope(|scope| {
        let emitting = scope.spawn(|| emit_until(&pipeline, &stop));
        let promoted = (|| {
            eventually("usage flows", || Ok((debited(&pipeline)? > 1_000).then_some(())))?;
            let former = replace_ledger(&pipeline, "ledger_rebuild")?;
            let before = debited(&pipeline)?;
            eventually("usage flows into the promoted ledger", || {
                Ok((debited(&pipeline)? > before + 1_000).then_some(()))
            })?;
            // The way back, under load, too.
            replace_ledger(&pipeline, &former)
        })();
        stop.store(true, Ordering::Relaxed);
        let emitted = emitting.join().map_err(|_| anyhow::anyhow!("the emitting thread panicked"))?;
        promoted.and(emitted)
    })?;
    wait_for_debits(&pipeline, emitted)?;
    std::thread::sleep(Duration::from_millis(500));
    wait_for_debits(&pipeline, emitted)?;
    verify(&pipeline)?;
    // Its readers, and whoever writes it now, go on as before.
    let org = unique("after");
    grant(&pipeline, &org, "10")?;
    let spent = emit(&pipeline, &usage(&org))?;
    assert_eq!(text(&balance_at(&pipeline, &org, text(&spent, "position")?)?, "balance")?, "6.75");
    Ok(())
}

#[test]
fn verify_names_the_first_posting_that_was_tampered_with_and_a_rebuild_mends_it() -> Result<()> {
    let pipeline = ledger_alone()?;
    generate(&pipeline, 1_000, 1)?;
    wait_for_debits(&pipeline, 1_000)?;
    stop_ticking(&pipeline)?;
    let (org, healthy) = ("org-000", "org-001");
    for (tampering, named) in [
        (
            format!(
                "UPDATE ledger.credit_transactions SET amount = amount + 1 WHERE org_id = '{org}' AND number IN (5, 9)"
            ),
            "amount of posting 5 is ".to_owned(),
        ),
        (
            format!("DELETE FROM ledger.credit_transactions WHERE org_id = '{org}' AND number = 4"),
            "posting 4 is there by the log and not there in Postgres".to_owned(),
        ),
        (
            "UPDATE ledger.global_records SET value = 'x' WHERE log_partition = 3 AND log_offset = 1"
                .to_owned(),
            "partition 3: digest of the value of the global record at offset 1 is ".to_owned(),
        ),
        (
            "DELETE FROM ledger.credit_pricing_tiers WHERE model = 'gpt-5'".to_owned(),
            "the price openai/gpt-5".to_owned(),
        ),
    ] {
        sql(&pipeline, &tampering)?;
        let differs = refusal(&pipeline, &["ledger", "verify"])?;
        ensure!(differs.contains(&named), "{named}\n{differs}");
    }
    let differs = refusal(&pipeline, &["ledger", "verify", "--org", org])?;
    ensure!(differs.contains("posting 4 is there by the log"), "{differs}");
    let agrees = pipeline.credits(&["ledger", "verify", "--org", healthy, "--output", "json"])?;
    assert_eq!(agrees.get("agree"), Some(&true.into()), "{agrees}");
    sql(&pipeline, &format!("UPDATE ledger.organizations SET balance = 0 WHERE org_id = '{org}'"))?;
    credits_of_owner(&pipeline, &["ledger", "rebuild"])?;
    let refused = refusal(&pipeline, &["ledger", "promote"])?;
    ensure!(refused.contains(&format!("org {org}: head, balance or overdraft differ")), "{refused}");
    credits_of_owner(&pipeline, &["ledger", "promote", "--accept-differences"])?;
    verify(&pipeline)?;
    // Nothing is left of the ledger at all.
    pipeline.stop("ledger-consumer")?;
    sql(&pipeline, "DROP SCHEMA ledger CASCADE")?;
    pipeline.migrate()?;
    credits_of_owner(&pipeline, &["ledger", "rebuild"])?;
    let refused = refusal(&pipeline, &["ledger", "promote"])?;
    ensure!(refused.contains("did not come to stand where the live ledger does"), "{refused}");
    credits_of_owner(&pipeline, &["ledger", "promote", "--accept-differences"])?;
    pipeline.start("ledger-consumer")?;
    grant(&pipeline, healthy, "1")?;
    verify(&pipeline)
}
