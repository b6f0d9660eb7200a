//! Postgres: commits whose answers are lost, restarts, backends that are ended, and a disk that is full.

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use e2e::commit_proxy::{CommitProxy, Cut};
use e2e::load::{Load, is_soak, seed};
use e2e::{endpoints, eventually, ledger_at, readiness, server_options, try_sql};
use fluxori_stack::Endpoints;
use fluxori_stack::pipeline::Pipeline;
use fluxori_stack::server::{Server, check_small_disk};
use nix::sys::signal::Signal;

const IN_FLIGHT: u64 = 4_000;

/// Our other servers, and this Postgres.
fn with_postgres(database_url: impl Into<String>) -> Result<Endpoints> {
    Ok(Endpoints { database_url: database_url.into(), ..endpoints()? })
}

/// Waits until the consumer is not ready and says so with these words.
fn expect_not_ready(pipeline: &Pipeline, words: &str) -> Result<()> {
    eventually(&format!("/readyz says {words}"), || {
        let (ready, text) = readiness(pipeline)?;
        Ok((!ready && text.contains(words)).then_some(()))
    })
}

#[test]
fn a_commit_counts_once_when_its_answer_is_lost_and_never_when_it_is_lost_itself() -> Result<()> {
    const AT_ONCE: u32 = 3;
    let seed = seed("a_commit_counts_once_when_its_answer_is_lost_and_never_when_it_is_lost_itself")?;
    let (proxy, url) = CommitProxy::before(&endpoints()?.database_url)?;
    let pipeline = ledger_at(with_postgres(url)?)?;
    let load = Load::begin(&pipeline, IN_FLIGHT, seed)?;
    for round in 0..if is_soak() { 20 } else { 5 } {
        load.wait_for_more(500)?;
        let wanted = proxy.cuts() + AT_ONCE;
        proxy.cut_next(if round % 2 == 0 { Cut::BeforeAnswer } else { Cut::BeforeCommit }, AT_ONCE);
        eventually("connections are cut", || Ok((proxy.cuts() >= wanted).then_some(())))?;
    }
    load.wait_for_more(500)?;
    load.end_and_compare(&pipeline).map(drop)
}

#[test]
fn a_postgres_that_restarts_or_ends_its_backends_in_mid_stream_loses_and_doubles_nothing() -> Result<()> {
    let seed = seed("a_postgres_that_restarts_or_ends_its_backends_in_mid_stream_loses_and_doubles_nothing")?;
    let mut server = Server::postgres(&server_options()?)?;
    let pipeline = ledger_at(with_postgres(server.endpoint())?)?;
    let load = Load::begin(&pipeline, IN_FLIGHT, seed)?;
    for _ in 0..if is_soak() { 10 } else { 1 } {
        // Its fast and its immediate mode: the first rolls transactions back, the second is a crash.
        for mode in [Signal::SIGINT, Signal::SIGQUIT] {
            load.wait_for_more(500)?;
            server.end(mode)?;
            expect_not_ready(&pipeline, "Postgres")?;
            server.start()?;
        }
        for _ in 0..3 {
            load.wait_for_more(500)?;
            eventually("connections are ended", || {
                // All but our own, which are the server's superuser's.
                let ended = try_sql(
                    server.endpoint(),
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE backend_type = 'client backend' AND usename <> current_user",
                )?;
                Ok((!ended.is_empty()).then_some(()))
            })?;
        }
    }
    load.wait_for_more(500)?;
    pipeline.wait_ready("ledger-consumer")?;
    load.end_and_compare(&pipeline).map(drop)
}

#[test]
fn a_full_disk_is_waited_for_and_said_and_work_goes_on_when_there_is_space() -> Result<()> {
    if let Err(reason) = check_small_disk() {
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "CI runs every test, and {reason:#}");
        eprintln!("not run: a full disk ({reason:#})");
        return Ok(());
    }
    let seed = seed("a_full_disk_is_waited_for_and_said_and_work_goes_on_when_there_is_space")?;
    let server = Server::postgres_with_small_disk(&server_options()?, 64)?;
    let (folder, reached) = server.small_disk().context("the server has no small disk")?;
    // Whatever database is made from now on lies on the small disk.
    for statement in [
        format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()),
        "ALTER DATABASE template1 SET TABLESPACE small".to_owned(),
    ] {
        try_sql(server.endpoint(), &statement)?;
    }
    let pipeline = ledger_at(with_postgres(server.endpoint())?)?;
    let load = Load::begin(&pipeline, IN_FLIGHT, seed)?;
    load.wait_for_more(500)?;

    let ballast = reached.join("ballast");
    fill(&ballast)?;
    expect_not_ready(&pipeline, "No space left on device")?;
    let given_up = failed_memberships(&pipeline)?;
    let ready = eventually("it has tried again, twice", || {
        let tried = failed_memberships(&pipeline)? >= given_up + 2;
        let ready = readiness(&pipeline)?.0;
        Ok((tried || ready).then_some(ready))
    })?;
    ensure!(!ready, "it says that it is ready while the disk is full");
    std::fs::remove_file(&ballast)?;
    load.wait_for_more(500)?;
    pipeline.wait_ready("ledger-consumer")?;
    load.end_and_compare(&pipeline).map(drop)
}

/// How often the consumer has left its group to begin again from what is stored.
fn failed_memberships(pipeline: &Pipeline) -> Result<usize> {
    let log = std::fs::read_to_string(pipeline.log_file("ledger-consumer"))?;
    Ok(log.matches("joining anew in").count())
}

/// Writes until nothing more fits.
fn fill(path: &std::path::Path) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    for size in [65_536, 4_096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    Ok(())
}
