//! The emitter: Kafka away, disks that are full, processes that are killed. Each ends with every accepted event debited once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::load::{Source, is_soak, seed};
use e2e::{apply_rates, endpoints, eventually, pipeline_at, server_options, setting, verify};
use fluxori_emitter::{Accepted, EmitError, Emitted, Emitter, EmitterOptions, SpoolOptions};
use fluxori_stack::Endpoints;
use fluxori_stack::pipeline::Pipeline;
use fluxori_stack::server::{Server, check_small_disk};
use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

const PATIENCE: Duration = Duration::from_secs(120);

/// A Kafka of its own, because the others' tests need theirs, and the ledger consumer on it.
fn with_own_kafka() -> Result<(Server, Pipeline)> {
    let server = Server::kafka(&server_options()?)?;
    let pipeline =
        pipeline_at(Endpoints { kafka_brokers: server.endpoint().to_owned(), ..endpoints()? }, &[])?;
    pipeline.start("ledger-consumer")?;
    pipeline.wait_ready("ledger-consumer")?;
    apply_rates(&pipeline)?;
    Ok((server, pipeline))
}

fn options(pipeline: &Pipeline, folder: PathBuf) -> Result<EmitterOptions> {
    Ok(EmitterOptions {
        topic: setting(pipeline, "FLUXORI__KAFKA__TOPIC")?.to_owned(),
        spool: SpoolOptions::in_folder(folder),
        ..EmitterOptions::new(setting(pipeline, "KAFKA_BROKERS")?)
    })
}

fn spool_folder(pipeline: &Pipeline) -> PathBuf {
    pipeline.keys_folder().with_file_name("spool")
}

fn emitter(pipeline: &Pipeline) -> Result<Emitter> {
    Ok(Emitter::new(options(pipeline, spool_folder(pipeline))?)?)
}

/// Emits so many events, all of which are to be accepted.
fn emit(emitter: &Emitter, source: &mut Source, events: u64) -> Result<()> {
    for _ in 0..events {
        let (event, cost) = source.next()?;
        match emitter.emit(event) {
            Emitted::Accepted(Accepted::Spooled) => source.accepted(cost),
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

/// Waits for the broker, and compares every org's debits with what was accepted.
fn expect_debited_once(emitter: &Emitter, source: &Source, pipeline: &Pipeline) -> Result<()> {
    emitter.close(PATIENCE)?;
    source.emitted().expect_applied_once(pipeline, 0)?;
    verify(pipeline)
}

#[test]
fn half_a_million_events_emitted_while_kafka_is_down_for_a_minute_are_debited_once() -> Result<()> {
    const EVENTS: u64 = 500_000;
    const AT_ONCE: u64 = 1_000;
    let seed = seed("half_a_million_events_emitted_while_kafka_is_down_for_a_minute_are_debited_once")?;
    let (mut server, pipeline) = with_own_kafka()?;
    let mut source = Source::open(&pipeline, seed)?;
    let emitter = emitter(&pipeline)?;
    emit(&emitter, &mut source, AT_ONCE)?;
    emitter.flush(PATIENCE)?;

    server.end(Signal::SIGKILL)?;
    let begin = Instant::now();
    for chunk in 1..=EVENTS / AT_ONCE {
        emit(&emitter, &mut source, AT_ONCE)?;
        // Spread over the minute.
        let due = Duration::from_millis(60_000 * chunk / (EVENTS / AT_ONCE));
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    let counts = emitter.counts();
    ensure!((counts.waiting, counts.rejected) == (EVENTS, 0), "{counts:?}");
    server.start()?;
    expect_debited_once(&emitter, &source, &pipeline)
}

#[test]
fn events_emitted_before_kafka_is_up_are_debited_once_when_it_is() -> Result<()> {
    let seed = seed("events_emitted_before_kafka_is_up_are_debited_once_when_it_is")?;
    let (mut server, pipeline) = with_own_kafka()?;
    let mut source = Source::open(&pipeline, seed)?;
    server.end(Signal::SIGTERM)?;
    // A process that came and went without ever seeing a broker, and the next one.
    for _ in 0..2 {
        let emitter = emitter(&pipeline)?;
        emit(&emitter, &mut source, 2_000)?;
        let drained = emitter.close(Duration::ZERO);
        ensure!(matches!(drained, Err(EmitError::NotDrained { spooled: true, .. })), "{drained:?}");
    }
    let emitter = emitter(&pipeline)?;
    emit(&emitter, &mut source, 2_000)?;
    server.start()?;
    expect_debited_once(&emitter, &source, &pipeline)
}

#[test]
fn a_broker_that_answers_errors_and_recovers_gets_every_event_once() -> Result<()> {
    let seed = seed("a_broker_that_answers_errors_and_recovers_gets_every_event_once")?;
    let (_server, pipeline) = with_own_kafka()?;
    let mut source = Source::open(&pipeline, seed)?;
    let emitter = emitter(&pipeline)?;
    for _ in 0..if is_soak() { 10 } else { 2 } {
        emit(&emitter, &mut source, 1_000)?;
        emitter.flush(PATIENCE)?;
        // One broker is too few for that: it refuses every record.
        set_min_insync_replicas(&pipeline, "2")?;
        eventually("the broker refuses records", || {
            emit(&emitter, &mut source, 500)?;
            Ok(emitter.flush(Duration::from_secs(1)).is_err().then_some(()))
        })?;
        emit(&emitter, &mut source, 2_000)?;
        set_min_insync_replicas(&pipeline, "1")?;
    }
    expect_debited_once(&emitter, &source, &pipeline)
}

fn set_min_insync_replicas(pipeline: &Pipeline, replicas: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", setting(pipeline, "KAFKA_BROKERS")?).create()?;
    let topic = ResourceSpecifier::Topic(setting(pipeline, "FLUXORI__KAFKA__TOPIC")?);
    let config = AlterConfig::new(topic)
        .set("min.insync.replicas", replicas)
        .set("message.timestamp.type", "LogAppendTime")
        .set("max.message.bytes", "2097152")
        .set("retention.ms", "-1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(admin.alter_configs([&config], &AdminOptions::new()))?;
    results.into_iter().try_for_each(|result| result.map(drop).map_err(|(_, code)| anyhow::anyhow!("{code}")))
}

#[test]
fn a_full_disk_gives_events_back_and_what_was_accepted_is_debited_once() -> Result<()> {
    if let Err(reason) = check_small_disk() {
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "CI runs every test, and {reason:#}");
        eprintln!("not run: a full disk ({reason:#})");
        return Ok(());
    }
    let seed = seed("a_full_disk_gives_events_back_and_what_was_accepted_is_debited_once")?;
    let (mut server, pipeline) = with_own_kafka()?;
    let mut source = Source::open(&pipeline, seed)?;
    // A disk of 40 MiB, which another server's namespace lends us.
    let lender = Server::postgres_with_small_disk(&server_options()?, 40)?;
    let (_, disk) = lender.small_disk().context("the server has no small disk")?;
    let emitter = Emitter::new(options(&pipeline, disk.join("spool"))?)?;
    server.end(Signal::SIGKILL)?;
    let mut accepted = 0_u64;
    let reason = loop {
        let (event, cost) = source.next()?;
        match emitter.emit(event.clone()) {
            Emitted::Accepted(_) => source.accepted(cost),
            Emitted::Rejected { event: back, reason } => {
                ensure!(*back == event, "given back as it was");
                break reason;
            }
            Emitted::Queued => bail!("queued"),
        }
        accepted += 1;
    };
    ensure!(reason.is_transient() && reason.to_string().contains("No space left"), "{reason}");
    ensure!(accepted > 20_000, "{accepted} events on 40 MiB");
    server.start()?;
    eventually("there is room again", || {
        let (event, cost) = source.next()?;
        let taken = matches!(emitter.emit(event), Emitted::Accepted(_));
        if taken {
            source.accepted(cost);
        }
        Ok(taken.then_some(()))
    })?;
    emit(&emitter, &mut source, 1_000)?;
    expect_debited_once(&emitter, &source, &pipeline)
}
