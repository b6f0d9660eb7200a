//! `cargo xtask demo`: the whole pipeline at work on the real servers.
//!
//! Servers and services up, rates in force, credits granted over REST, usage replayed with duplicates while consumers are
//! killed, and in the end one table: what the ledger says, what the rollups say, and whether they agree.

mod report;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fluxori_stack::Stack;
use fluxori_stack::pipeline::{Pipeline, PipelineOptions, SERVICES};
use serde_json::{Value, json};

use crate::StackArguments;
use crate::cargo::{binaries, build, now, workspace};
use report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stack: StackArguments,
    /// Replay this trace (CSV: time, input tokens, output tokens) instead of generated usage.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// How many requests to replay.
    #[arg(long, default_value_t = 60_000)]
    events: u64,
    /// How many orgs they are spread over.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(2..=500))]
    orgs: u64,
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object as the last line instead of tables.
    #[arg(long)]
    json: bool,
}

/// Every so many events, one is sent twice.
const DUPLICATE_EVERY: u64 = 1000;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let say = |text: &str| eprintln!("[{:5.1} s] {text}", begin.elapsed().as_secs_f32());
    fluxori_stack::check_tools(&arguments.stack.options())?;
    say("building the binaries");
    build()?;
    say("starting Postgres, Kafka and ClickHouse");
    let options = fluxori_stack::Options { binaries: Some(binaries("debug")), ..arguments.stack.options() };
    let stack = Stack::start(&options)?;
    let name = format!("demo_{}", std::process::id());
    remove_leftovers();
    let folder = binaries("stack").join(&name);
    let pipeline = Pipeline::init(PipelineOptions {
        endpoints: stack.endpoints().clone(),
        binaries: binaries("debug"),
        folder: folder.clone(),
        name,
        partitions: 8,
        org_keys: Vec::new(),
        settings: vec![("FLUXORI__KAFKA__SESSION_TIMEOUT_MS".to_owned(), "6000".to_owned())],
    })?;
    say("starting the producer, both consumers, the scheduler and the edge");
    pipeline.start_all()?;
    say("putting the rate card in force");
    let card = workspace().join("rates/2026-11");
    let card = card.to_str().context("path")?;
    pipeline.credits(&["rates", "apply", card, "--timeout", "60s", "--output", "json"])?;
    say(&format!("granting credits to {} orgs over REST", arguments.orgs));
    grant_all(&pipeline, arguments)?;
    say(&format!("replaying {} requests, every {DUPLICATE_EVERY}th sent twice", arguments.events));
    let sent = replay(&pipeline, arguments, &say)?;
    say("waiting until ledger and rollups have all of it");
    let report = wait_for_agreement(&pipeline, arguments, &sent)?;
    say("done");
    if !arguments.json {
        report.print();
        print_urls(&pipeline)?;
    }
    let verdict = report.verdict();
    if arguments.json {
        println!("{}", report.json(urls(&pipeline)?));
    }
    if arguments.keep {
        eprintln!("left running until Ctrl-C; logs and keys are in {}", pipeline.keys_folder().display());
        loop {
            std::thread::park();
        }
    }
    drop(pipeline);
    match &verdict {
        Ok(()) => std::fs::remove_dir_all(&folder)?,
        Err(_) => eprintln!("logs of the services are in {}", folder.display()),
    }
    verdict
}

/// Removes the folders of demos that were interrupted: their processes are gone.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(binaries("stack")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("demo_"));
        if process.is_some_and(|process| !std::path::Path::new("/proc").join(process).exists()) {
            // It is in nobody's way if it stays.
            _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The one org that gets too little: the one with the least usage.
fn poor(orgs: u64) -> u64 {
    orgs.saturating_sub(1)
}

fn org_name(number: u64) -> String {
    format!("org-{number:03}")
}

/// What the poor org gets, in credits: 25 for 60,000 events and less for fewer, so that it runs out.
fn too_little(events: u64) -> String {
    let thousandths = (events.min(60_000) * 25 / 60).max(1);
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// Every org gets plenty, from a month ago on; one gets too little.
fn grant_all(pipeline: &Pipeline, arguments: &Arguments) -> Result<()> {
    let (orgs, too_little) = (arguments.orgs, too_little(arguments.events));
    let month_ago = chrono::DateTime::<chrono::Utc>::from(now()) - chrono::Days::new(34);
    let effective_at = month_ago.to_rfc3339();
    for number in 0..orgs {
        let amount = if number == poor(orgs) { too_little.as_str() } else { "5000000" };
        let grant = json!({
            "org_id": org_name(number), "kind": "prepaid", "amount": amount, "effective_at": effective_at,
            "purchased": true, "reason": "demo",
        });
        let answer = pipeline.post("edge", "/v1/allocations", &grant)?;
        ensure!(answer.status == 201, "a grant was answered with {}: {}", answer.status, answer.body);
    }
    Ok(())
}

/// Runs the producer's replay, and kills a consumer of each kind in the middle of it.
fn replay(pipeline: &Pipeline, arguments: &Arguments, say: &dyn Fn(&str)) -> Result<Value> {
    let mut command = pipeline.command("producer");
    match &arguments.trace {
        Some(trace) => command.arg("replay").arg(trace),
        None => command.arg("generate"),
    };
    let (events, orgs, every) =
        (arguments.events.to_string(), arguments.orgs.to_string(), DUPLICATE_EVERY.to_string());
    command.args(["--events", &events, "--orgs", &orgs, "--org-prefix", "org", "--duplicate-every", &every]);
    command.args(["--output", "json"]).stdout(Stdio::piped());
    let replay = command.spawn().context("cannot start producer")?;
    let quarter = arguments.events / 4;
    let deadline = Instant::now() + Duration::from_secs(120);
    while applied(pipeline) < quarter && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    for consumer in ["ledger-consumer", "analytics-consumer"] {
        say(&format!("killing the {consumer} (SIGKILL) and starting it again"));
        pipeline.kill(consumer)?;
        pipeline.start(consumer)?;
    }
    let output = replay.wait_with_output()?;
    ensure!(output.status.success(), "the replay failed ({})", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let last =
        text.lines().rev().find(|line| line.starts_with('{')).context("the replay printed no summary")?;
    Ok(serde_json::from_str(last)?)
}

/// How many records the ledger consumer says that it has debited.
fn applied(pipeline: &Pipeline) -> u64 {
    let Ok(text) = pipeline.metrics("ledger-consumer") else { return 0 };
    text.lines()
        .filter(|line| line.starts_with("ledger_records_total") && line.contains("debited"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Reads both sides until they agree and hold everything that was sent, or two minutes are over.
fn wait_for_agreement(pipeline: &Pipeline, arguments: &Arguments, sent: &Value) -> Result<Report> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let report = Report::read(pipeline, arguments.orgs, arguments.events, sent);
        match report {
            Ok(report) if report.is_complete() || Instant::now() > deadline => {
                return report.with_checks(pipeline);
            }
            Err(error) if Instant::now() > deadline => bail!("the sums cannot be read: {error:#}"),
            _ => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

fn urls(pipeline: &Pipeline) -> Result<Value> {
    let mut urls = serde_json::Map::new();
    for (service, _) in SERVICES {
        urls.insert(service.to_owned(), pipeline.url(service)?.into());
    }
    for (name, value) in pipeline.environment() {
        let name = match name.as_str() {
            "KAFKA_BROKERS" => "kafka",
            "DATABASE_URL" => "postgres",
            "CLICKHOUSE_URL" => "clickhouse",
            _ => continue,
        };
        urls.insert(name.to_owned(), value.clone().into());
    }
    urls.insert("api_key".to_owned(), pipeline.admin_key().into());
    Ok(urls.into())
}

fn print_urls(pipeline: &Pipeline) -> Result<()> {
    let key = pipeline.admin_key();
    let value = |wanted: &str| {
        pipeline
            .environment()
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    };
    let database = value("FLUXORI__CLICKHOUSE__DATABASE");
    println!("\nWith --keep all of it stays up. For the snippets of the README and for examples/:");
    println!("  export KEY={key} PRODUCER={} EDGE={}", pipeline.url("producer")?, pipeline.url("edge")?);
    let (brokers, topic) = (value("KAFKA_BROKERS"), value("FLUXORI__KAFKA__TOPIC"));
    println!("  export KAFKA_BROKERS={brokers} FLUXORI__KAFKA__TOPIC={topic}");
    println!("How to ask each part:");
    println!("  edge        curl -H \"Authorization: Bearer $KEY\" \"$EDGE/v1/balance?org_id=org-000\"");
    println!("  ledger      psql {} -c 'SELECT * FROM ledger.organizations'", value("DATABASE_URL"));
    println!(
        "  rollups     curl '{}/?database={database}' --data 'SELECT * FROM v_usage_daily LIMIT 10 FORMAT PrettyCompact'",
        value("CLICKHOUSE_URL")
    );
    println!("  metrics     curl {}/metrics", pipeline.url("ledger-consumer")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_poor_org_gets_less_where_there_are_fewer_events() {
        assert_eq!([600_000, 60_000, 3_000, 1].map(too_little), ["25.000", "25.000", "1.250", "0.001"]);
    }
}
