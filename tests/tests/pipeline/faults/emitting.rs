//! The emitter: Kafka away, disks that are full, processes that are killed. Each ends with every accepted event debited once.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::load::{Cost, Source, is_soak, seed};
use e2e::{apply_rates, endpoints, eventually, pipeline_at, server_options, setting, verify};
use fluxori_emitter::{Accepted, EmitError, Emitted, Emitter, EmitterOptions, SpoolOptions};
use fluxori_stack::Endpoints;
use fluxori_stack::pipeline::Pipeline;
use fluxori_stack::server::{Server, check_small_disk};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

const PATIENCE: Duration = Duration::from_secs(120);

/// A Kafka of its own, because the others' tests need theirs, and the ledger consumer on it.
fn with_own_kafka() -> Result<(Server, Pipeline)> {
    let server = Server::kafka(&server_options()?)?;
    let pipeline = with_ledger(Endpoints { kafka_brokers: server.endpoint().to_owned(), ..endpoints()? })?;
    Ok((server, pipeline))
}

/// A pipeline of which only the ledger consumer runs, with batches as large as in service.
fn with_ledger(endpoints: Endpoints) -> Result<Pipeline> {
    let pipeline = pipeline_at(endpoints, &[])?;
    pipeline.start("ledger-consumer")?;
    pipeline.wait_ready("ledger-consumer")?;
    apply_rates(&pipeline)?;
    Ok(pipeline)
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
        // Every record is larger than that.
        set_max_message_bytes(&pipeline, "100")?;
        eventually("the broker refuses records", || {
            emit(&emitter, &mut source, 500)?;
            Ok(emitter.flush(Duration::from_secs(1)).is_err().then_some(()))
        })?;
        emit(&emitter, &mut source, 2_000)?;
        set_max_message_bytes(&pipeline, "2097152")?;
    }
    expect_debited_once(&emitter, &source, &pipeline)
}

fn set_max_message_bytes(pipeline: &Pipeline, bytes: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", setting(pipeline, "KAFKA_BROKERS")?).create()?;
    let topic = ResourceSpecifier::Topic(setting(pipeline, "FLUXORI__KAFKA__TOPIC")?);
    let config = AlterConfig::new(topic)
        .set("max.message.bytes", bytes)
        .set("message.timestamp.type", "LogAppendTime")
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

/// What is known of the events that a process was given: their lines and costs, by id.
type Unanswered = BTreeMap<String, (String, Cost)>;

#[test]
fn an_emitting_process_killed_twenty_times_under_load_loses_and_doubles_nothing() -> Result<()> {
    const EVENTS_A_KILL: usize = 1_500;
    let seed = seed("an_emitting_process_killed_twenty_times_under_load_loses_and_doubles_nothing")?;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut server, pipeline) = with_own_kafka()?;
    let mut source = Source::open(&pipeline, seed)?;
    let mut unanswered = Unanswered::new();
    let kills = if is_soak() { 100 } else { 20 };
    for kill in 0..kills {
        // With no broker everything that was accepted is still in the spool at the kill.
        match kill {
            _ if kill == kills / 4 => server.end(Signal::SIGKILL)?,
            _ if kill == kills * 3 / 4 => server.start()?,
            _ => {}
        }
        while unanswered.len() < EVENTS_A_KILL {
            let (event, cost) = source.next()?;
            let line = serde_json::to_string(&event.clone().into_fields())?;
            unanswered.insert(event.event_id.to_string(), (line, cost));
        }
        let kill_after = random.random_range(1..EVENTS_A_KILL);
        emit_until(&pipeline, &mut source, &mut unanswered, Some(kill_after))?;
        if random.random() {
            tear_the_tail(&spool_folder(&pipeline), &mut random)?;
        }
    }
    emit_until(&pipeline, &mut source, &mut unanswered, None)?;
    ensure!(unanswered.is_empty(), "{} events have no outcome", unanswered.len());
    source.emitted().expect_applied_once(&pipeline, 0)?;
    verify(&pipeline)
}

/// Emits what has no outcome with a process of its own, and kills it after so many outcomes. What it did not answer is for
/// the next one, under the same ids.
fn emit_until(
    pipeline: &Pipeline,
    source: &mut Source,
    unanswered: &mut Unanswered,
    kill_after: Option<usize>,
) -> Result<()> {
    let mut command = pipeline.command("credits");
    command
        .args(["emit", "-", "--output", "json", "--timeout", "60s", "--spool"])
        .arg(spool_folder(pipeline));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    let lines: Vec<String> = unanswered.values().map(|(line, _)| format!("{line}\n")).collect();
    // Killed, it reads no further.
    let writer =
        std::thread::spawn(move || lines.iter().all(|line| input.write_all(line.as_bytes()).is_ok()));
    let mut outcomes = 0;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let Ok(outcome) = serde_json::from_str::<serde_json::Value>(&line?) else { continue };
        if outcome.get("accepted").is_some_and(serde_json::Value::is_string) {
            let id = outcome.get("event_id").and_then(serde_json::Value::as_str).context("no id")?;
            let (_, cost) = unanswered.remove(id).context("an outcome of no event")?;
            source.accepted(cost);
            outcomes += 1;
        }
        if kill_after == Some(outcomes) {
            child.kill()?;
            break;
        }
    }
    let status = child.wait()?;
    ensure!(kill_after.is_some() || status.success(), "credits emit ended with {status}");
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
    Ok(())
}

/// Writes half a record behind the last one, as a process that is killed while it copies leaves it.
fn tear_the_tail(folder: &Path, random: &mut StdRng) -> Result<()> {
    for path in
        files_below(folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "segment"))
    {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let end = end_of_records(&bytes);
        // Its length, and something of what should follow.
        let mut torn = vec![200, 0, 0, 0];
        torn.extend((0..random.random_range(0..150)).map(|_| random.random::<u8>()));
        if end + torn.len() < bytes.len() {
            file.seek(SeekFrom::Start(u64::try_from(end)?))?;
            file.write_all(&torn)?;
        }
    }
    Ok(())
}

/// Where a segment's records end, by their lengths alone: 512 bytes of header, then each with its length and 4 bytes in front.
fn end_of_records(bytes: &[u8]) -> usize {
    let mut end = 512;
    while let Some((length, _)) = bytes.get(end..).and_then(|rest| rest.split_first_chunk::<4>()) {
        match u32::from_le_bytes(*length) {
            0 => break,
            length => end += 8 + usize::try_from(length).unwrap_or(usize::MAX),
        }
    }
    end
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

#[test]
fn two_gateways_killed_in_turns_and_clients_that_retry_at_either_lose_and_double_nothing() -> Result<()> {
    const CLIENTS: usize = 4;
    let test = "two_gateways_killed_in_turns_and_clients_that_retry_at_either_lose_and_double_nothing";
    let seed = seed(test)?;
    let mut random = StdRng::seed_from_u64(seed);
    let pipeline = with_ledger(endpoints()?)?;
    let mut source = Source::open(&pipeline, seed)?;
    let spool = spool_folder(&pipeline);
    let settings = [("FLUXORI__PRODUCER__SPOOL_DIR", spool.to_str().context("path")?)];
    let start = |instance: &str| pipeline.start_instance("producer", instance, &settings);
    let mut addresses = [start("gateway-0")?, start("gateway-1")?];

    // Each client posts its batches until either gateway has accepted every event, some of them to both.
    let rounds = if is_soak() { 30 } else { 6 };
    for round in 0..rounds {
        let mut batches = Vec::new();
        for _ in 0..CLIENTS * 10 {
            let mut batch = Vec::new();
            for _ in 0..random.random_range(1..40) {
                let (event, cost) = source.next()?;
                batch.push(serde_json::to_value(event.into_fields())?);
                // Nobody gives up before it is accepted.
                source.accepted(cost);
            }
            batches.push((serde_json::Value::from(batch).to_string(), random.random::<bool>()));
        }
        let killed = round % 2;
        std::thread::scope(|scope| {
            let clients: Vec<_> = batches
                .chunks(10)
                .map(|batches| {
                    scope.spawn(|| {
                        batches.iter().try_for_each(|batch| post_until_accepted(&pipeline, &addresses, batch))
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(30));
            pipeline.kill(&format!("gateway-{killed}"))?;
            clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        })?;
        if let Some(address) = addresses.get_mut(killed) {
            *address = start(&format!("gateway-{killed}"))?;
        }
    }
    source.emitted().expect_applied_once(&pipeline, 0)?;
    verify(&pipeline)
}

/// Posts a batch to one gateway after the other until one of them has accepted all of it, or both have.
fn post_until_accepted(pipeline: &Pipeline, addresses: &[String; 2], batch: &(String, bool)) -> Result<()> {
    let (body, to_both) = batch;
    let mut accepted = 0;
    let begin = Instant::now();
    for address in addresses.iter().cycle() {
        ensure!(begin.elapsed() < PATIENCE, "nobody accepts a batch");
        let headers = [("content-type", "application/json")];
        let url = format!("http://{address}/v1/events");
        let answer = pipeline.post_url(&url, &headers, body.as_bytes(), Some(pipeline.admin_key()));
        if answer.is_ok_and(|answer| answer.status == 200) {
            accepted += 1;
        }
        if accepted > usize::from(*to_both) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
