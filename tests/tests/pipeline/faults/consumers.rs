//! Consumers that are killed, frozen, joined by others and asked to leave while usage flows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::load::{Emitted, Load, is_soak, millionths, seed};
use e2e::{apply_rates, endpoints, eventually, ledger_at, pipeline, rollups, sql, text};
use fluxori_stack::pipeline::Pipeline;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const CONSUMERS: [&str; 2] = ["ledger-consumer", "analytics-consumer"];
const IN_FLIGHT: u64 = 4_000;

/// A pipeline with small batches, of which only the consumers run.
fn consumers() -> Result<Pipeline> {
    let pipeline = pipeline(&[
        ("FLUXORI__LEDGER__BATCH_MAX_RECORDS", "200"),
        ("FLUXORI__ANALYTICS__BATCH_MAX_RECORDS", "500"),
        ("FLUXORI__ANALYTICS__BATCH_LINGER_MS", "50"),
    ])?;
    CONSUMERS.iter().try_for_each(|consumer| pipeline.start(consumer))?;
    CONSUMERS.iter().try_for_each(|consumer| pipeline.wait_ready(consumer))?;
    apply_rates(&pipeline)?;
    Ok(pipeline)
}

/// The usage log and both rollups hold what was emitted, each event once.
fn expect_in_clickhouse(pipeline: &Pipeline, emitted: &Emitted) -> Result<()> {
    eventually("usage log and rollups have all of it", || {
        let (events, raw, hourly, daily) = rollups(pipeline)?;
        let events: u64 = events.parse()?;
        ensure!(events <= emitted.events(), "{events} rows of {} events", emitted.events());
        let sums = [millionths(&raw)?, millionths(&hourly)?, millionths(&daily)?];
        ensure!(sums == [emitted.credits(); 3], "{sums:?} and not {}", emitted.credits());
        Ok((events == emitted.events()).then_some(()))
    })?;
    expect_arrivals(pipeline)
}

/// Every record of usage in the log, duplicates too, has arrived from its producer once.
fn expect_arrivals(pipeline: &Pipeline) -> Result<()> {
    let all = ["tail", "--kind", "usage", "--from-beginning", "--no-follow"];
    let output = pipeline.command("credits").args(all).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let in_log = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    eventually("each of them is counted as it came", || {
        let rows = pipeline.clickhouse("SELECT toString(sum(events)) AS events FROM v_producers")?;
        let counted: usize = text(rows.first().context("no row")?, "events")?.parse()?;
        ensure!(counted <= in_log, "{counted} of {in_log}");
        Ok((counted == in_log).then_some(()))
    })
}

/// The moment of a fault, which is not to be foreseen.
fn wait_at_random(random: &mut StdRng, most: u64) {
    std::thread::sleep(Duration::from_millis(random.random_range(0..most)));
}

#[test]
fn consumers_killed_at_random_moments_lose_and_double_nothing() -> Result<()> {
    let seed = seed("consumers_killed_at_random_moments_lose_and_double_nothing")?;
    let random = &mut StdRng::seed_from_u64(seed);
    let pipeline = consumers()?;
    let load = Load::begin(&pipeline, IN_FLIGHT, seed)?;
    load.wait_for_more(1)?;
    for _ in 0..if is_soak() { 50 } else { 10 } {
        // Mostly between, before or after commits; one in five while it still joins or takes its partitions over.
        if random.random_range(0..5) == 0 {
            wait_at_random(random, 8_000);
        } else {
            load.wait_for_more(1)?;
            wait_at_random(random, 600);
        }
        for consumer in CONSUMERS {
            pipeline.kill(consumer)?;
            pipeline.start(consumer)?;
        }
    }
    load.wait_for_more(1)?;
    let emitted = load.end_and_compare(&pipeline)?;
    expect_in_clickhouse(&pipeline, &emitted)
}

#[test]
fn a_zombie_cannot_commit_after_its_partition_moved() -> Result<()> {
    let seed = seed("a_zombie_cannot_commit_after_its_partition_moved")?;
    let pipeline = consumers()?;
    let load = Load::begin(&pipeline, IN_FLIGHT, seed)?;
    load.wait_for_more(500)?;
    for consumer in CONSUMERS {
        pipeline.signal(consumer, Signal::SIGSTOP)?;
        pipeline.start_instance(consumer, &format!("successor-of-{consumer}"), &[])?;
    }
    // So much comes only of the successors, when they have got the frozen members' partitions.
    load.wait_for_more(IN_FLIGHT)?;
    for consumer in CONSUMERS {
        pipeline.signal(consumer, Signal::SIGCONT)?;
    }
    // The zombies wake with batches in hand; they must rejoin, while usage flows on.
    load.wait_for_more(IN_FLIGHT)?;
    expect_members(&pipeline, 2)?;
    pipeline.wait_ready("ledger-consumer")?;
    let emitted = load.end_and_compare(&pipeline)?;
    expect_in_clickhouse(&pipeline, &emitted)
}

/// Waits until so many consumers have taken partitions over.
fn expect_members(pipeline: &Pipeline, members: usize) -> Result<()> {
    eventually("the partitions are shared out", || {
        let owners = sql(pipeline, "SELECT DISTINCT owner FROM control.partition_epochs")?;
        Ok((owners.len() == members).then_some(()))
    })
}

#[test]
fn consumers_that_join_and_leave_while_events_flow_lose_and_double_nothing() -> Result<()> {
    let seed = seed("consumers_that_join_and_leave_while_events_flow_lose_and_double_nothing")?;
    let pipeline = ledger_at(endpoints()?)?;
    let load = Load::begin(&pipeline, IN_FLIGHT, seed)?;
    let began = Instant::now();
    for round in 1..=if is_soak() { 15 } else { 2 } {
        load.wait_for_more(500)?;
        pipeline.start_instance("ledger-consumer", "second", &[])?;
        expect_members(&pipeline, 2)?;
        load.wait_for_more(500)?;
        pipeline.start_instance("ledger-consumer", "third", &[])?;
        expect_members(&pipeline, 3)?;
        load.wait_for_more(500)?;
        for leaving in ["ledger-consumer", "second"] {
            ensure!(pipeline.stop(leaving)?, "{leaving} does not end cleanly");
        }
        expect_members(&pipeline, 1)?;
        load.wait_for_more(500)?;
        pipeline.start("ledger-consumer")?;
        expect_members(&pipeline, 2)?;
        ensure!(pipeline.stop("third")?, "the third does not end cleanly");
        expect_members(&pipeline, 1)?;
        eprintln!("round {round} of joining and leaving ends after {:?}", began.elapsed());
    }
    load.end_and_compare(&pipeline).map(drop)
}
