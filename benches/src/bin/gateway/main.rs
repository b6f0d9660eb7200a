//! The gateway: `POST /v1/events` of 1 and of 100 events from 64 clients, beside a bare axum handler that parses and answers.
//!
//! `docs/performance.md` says what each figure means. Needs `KAFKA_BROKERS` and the binaries beside this one: `cargo xtask bench
//! gateway` sees to both.

mod floor;
mod load;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use fluxori_stack::pipeline::Pipeline;
use serde_json::json;
use uuid::Uuid;

use crate::load::Load;

/// Callers at a time, each with a connection of its own.
const CLIENTS: usize = 64;
/// Rounds, of which the median counts; each measures every candidate.
const ROUNDS: usize = 3;
const FULL: Duration = Duration::from_secs(4);
const HALF: Duration = Duration::from_secs(6);

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serves the bare handler, in a process of its own as the gateway has.
    Floor,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match Arguments::parse().role {
        Some(Role::Floor) => runtime.block_on(floor::serve()),
        None => measure(&runtime),
    }
}

/// Requests a second.
#[derive(Debug, Default)]
struct Rates {
    floor: Vec<f64>,
    process: Vec<f64>,
    power: Vec<f64>,
    p99_ms: Vec<f64>,
    /// Events that waited for the broker at the end of the full load, in seconds of it.
    backlog_s: Vec<f64>,
}

fn measure(runtime: &tokio::runtime::Runtime) -> Result<()> {
    let options = benches::pipeline_options(benches::endpoints()?, "gateway")?;
    let pipeline = Pipeline::init_without_ledger(options)?;
    let floor = Floor::start()?;
    let mut figures = serde_json::Map::new();
    println!(
        "{CLIENTS} clients, requests/s       bare handler    process      power    p99 at half load    backlog"
    );
    for events in [1_u32, 100] {
        let mut rates = Rates::default();
        for _ in 0..ROUNDS {
            let bare = Load::new(floor.address, "none", body(events));
            rates.floor.push(runtime.block_on(bare.run(CLIENTS, None, FULL))?.per_second);

            let (process, p99_ms, backlog_s) = with_gateway(&pipeline, "process", |gateway| {
                let load = Load::new(gateway, pipeline.admin_key(), body(events));
                let full = runtime.block_on(load.run(CLIENTS, None, FULL))?;
                let backlog = waiting(&pipeline)? / (full.per_second * f64::from(events));
                let half = runtime.block_on(load.run(CLIENTS, Some(full.per_second / 2.0), HALF))?;
                Ok((full.per_second, half.p99_ms, backlog))
            })?;
            rates.process.push(process);
            rates.p99_ms.push(p99_ms);
            rates.backlog_s.push(backlog_s);
            rates.power.push(with_gateway(&pipeline, "power", |gateway| {
                let load = Load::new(gateway, pipeline.admin_key(), body(events));
                Ok(runtime.block_on(load.run(CLIENTS, None, FULL))?.per_second)
            })?);
        }
        let Rates { floor, process, power, p99_ms, backlog_s } = rates;
        let [floor, process, power, p99_ms, backlog_s] =
            [floor, process, power, p99_ms, backlog_s].map(median);
        println!(
            "{events:>3} events a request {floor:>21.0} {process:>10.0} {power:>10.0} {p99_ms:>16.1} ms {backlog_s:>8.2} s"
        );
        for (name, figure) in [
            ("floor_per_s", floor.round()),
            ("process_per_s", process.round()),
            ("power_per_s", power.round()),
            ("ratio", hundredths(process / floor)),
            ("ratio_power", hundredths(power / floor)),
            ("p99_ms", hundredths(p99_ms)),
            ("backlog_s", hundredths(backlog_s)),
        ] {
            figures.insert(format!("{name}_{events}"), json!(figure));
        }
    }
    let worst = |names: [&str; 2]| {
        names.into_iter().filter_map(|name| figures.get(name)?.as_f64()).fold(0.0, f64::max)
    };
    let p99_ms = worst(["p99_ms_1", "p99_ms_100"]);
    figures.insert("p99_ms".to_owned(), json!(p99_ms));
    println!("{}", serde_json::Value::Object(figures));
    Ok(())
}

/// Events that the gateway has accepted and the broker does not have, as it said within the last second.
fn waiting(pipeline: &Pipeline) -> Result<f64> {
    let metrics = pipeline.metrics("producer")?;
    let waiting = metrics.lines().find_map(|line| line.strip_prefix("producer_spool_events "));
    Ok(waiting.context("no metric producer_spool_events")?.parse()?)
}

/// Starts the gateway with a spool of this durability, and ends it afterwards.
fn with_gateway<T>(
    pipeline: &Pipeline,
    durability: &str,
    measure: impl FnOnce(SocketAddr) -> Result<T>,
) -> Result<T> {
    let folder = pipeline.keys_folder().with_file_name(format!("spool-{}", Uuid::now_v7()));
    let spool = folder.to_str().context("path")?;
    let settings = [
        ("FLUXORI__PRODUCER__SPOOL_DIR", spool),
        ("FLUXORI__PRODUCER__DURABILITY", durability),
        ("FLUXORI__PRODUCER__RATE_LIMIT_PER_SECOND", "1000000"),
        ("FLUXORI__PRODUCER__RATE_LIMIT_BURST", "1000000"),
    ];
    pipeline.start_with("producer", &settings)?;
    pipeline.wait_ready("producer")?;
    let measured = measure(pipeline.address("producer")?.parse()?);
    let ended = pipeline.stop("producer")?;
    std::fs::remove_dir_all(&folder)?;
    ensure!(ended, "the gateway did not end cleanly");
    measured
}

/// The bare handler's process.
struct Floor {
    child: Child,
    address: SocketAddr,
}

impl Floor {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).arg("floor").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().context("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A request's body: one event, or an array of them.
fn body(events: u32) -> String {
    let event = |n: u32| {
        json!({
            "event_id": Uuid::now_v7(), "org_id": format!("org-{}", n % 100), "module": "rag-retrieval",
            "provider": "openai", "request_model": "gpt-5", "response_model": "gpt-5-2025-08-07",
            "user_id": format!("user-{n}"), "input_tokens": 1000, "cache_read_input_tokens": 600,
            "output_tokens": 200, "latency_ms": 1234, "tags": {"environment": "production"},
        })
    };
    if events == 1 {
        event(0).to_string()
    } else {
        json!((0..events).map(event).collect::<Vec<_>>()).to_string()
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn hundredths(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
