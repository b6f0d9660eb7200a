//! Services that start without their servers, with a wrong configuration, or over another log.

use anyhow::{Context, Result, ensure};
use e2e::{apply_rates, eventually, grant, pipeline, pipeline_without_ledger, started, text, unique, verify};

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
            format!("org {org}: rejected of command {allocation} is false by the log and true in Postgres"),
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
