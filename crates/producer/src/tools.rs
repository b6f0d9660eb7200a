//! `producer replay` and `producer generate`: events sent with the library, exactly as modules send theirs.

use std::path::PathBuf;
use std::time::Duration;

use fluxori_core::digest::Digest;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{ACCEPTANCE_WINDOW, UsageEvent, Violation};
use fluxori_emitter::{Emitter, EmitterOptions};
use fluxori_runtime::config::{self, Config, Sources};
use fluxori_runtime::{clock, telemetry};

use crate::cli::{GenerateArgs, Output, ReplayArgs, SendArgs};
use crate::error::ProducerError;
use crate::generator::{Generator, Profile};
use crate::progress::Progress;
use crate::sender::{Plan, Summary, send};
use crate::trace::Trace;

/// The log must answer in this time before anything is sent.
const ANSWER: Duration = Duration::from_secs(10);

/// Sends the requests of a trace.
pub(crate) fn replay(config_file: Option<PathBuf>, args: &ReplayArgs) -> Result<(), ProducerError> {
    let path = || args.file.clone();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|source| ProducerError::ReadTrace { path: path(), source })?;
    let trace = Trace::parse(&text).map_err(|source| ProducerError::Trace { path: path(), source })?;
    let total = args.events.unwrap_or_else(|| u64::try_from(trace.len()).unwrap_or(u64::MAX));
    let now = Timestamp::from(clock::now());
    let until = args.send.until.unwrap_or(now);
    let shift = args.shift_to_now.then_some(until);
    if let Some(first) = trace.requests(total, shift).next()
        && first.at < now.before(ACCEPTANCE_WINDOW)
    {
        eprintln!(
            "note: the first event occurs at {}, more than 35 days ago; the ledger will quarantine such events",
            first.at
        );
    }
    let emitter = connect(config_file)?;
    let mut generator = Generator::new(&profile("trace", &args.send, until))?;
    let events =
        trace.requests(total, shift).filter_map(|request| generator.event(request.at, Some(request.tokens)));
    finish(&emitter, events, "replaying", total, &args.send)
}

/// Sends generated usage.
pub(crate) fn generate(config_file: Option<PathBuf>, args: &GenerateArgs) -> Result<(), ProducerError> {
    let until = args.send.until.unwrap_or_else(|| Timestamp::from(clock::now()));
    let generator = Generator::new(&profile("generator", &args.send, until))?;
    let span = Duration::from_hours(24 * u64::from(args.days));
    let emitter = connect(config_file)?;
    let events = generator.events(args.events, span, until);
    finish(&emitter, events, "generating", args.events, &args.send)
}

fn profile(source: &'static str, args: &SendArgs, until: Timestamp) -> Profile {
    Profile { source, seed: args.seed, orgs: args.orgs, org_prefix: args.org_prefix.clone(), until }
}

/// An emitter on the configured log, which must be there, and the pinned one where one is pinned.
fn connect(config_file: Option<PathBuf>) -> Result<Emitter, ProducerError> {
    let config: Config = config::load(&Sources::of_process(config_file))?;
    telemetry::init_logs(&config.telemetry)?;
    let kafka = config.require_kafka()?;
    let emitter =
        Emitter::new(EmitterOptions { topic: kafka.topic.clone(), ..EmitterOptions::new(&kafka.brokers) })?;
    emitter.log_identity(config.log.genesis.map(|digest| Digest(*digest.bytes())), ANSWER)?;
    Ok(emitter)
}

fn finish(
    emitter: &Emitter,
    events: impl Iterator<Item = Result<UsageEvent, Violation>>,
    what: &'static str,
    total: u64,
    args: &SendArgs,
) -> Result<(), ProducerError> {
    let mut progress = Progress::new(what, total);
    let plan = Plan { speed: args.speed, duplicate_every: args.duplicate_every };
    let sent = send(emitter, events, plan, &mut progress);
    progress.end();
    let summary = sent?;
    match args.output {
        Output::Text => print_text(&summary),
        Output::Json => println!("{}", serde_json::json!(summary)),
    }
    if summary.failed > 0 { Err(ProducerError::Failed(summary.failed)) } else { Ok(()) }
}

fn print_text(summary: &Summary) {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    println!(
        "{} events of {} orgs, {} of them sent twice: {} records acknowledged, {} failed, in {} s ({} per second)",
        summary.emitted,
        summary.orgs,
        summary.duplicates_sent,
        summary.acknowledged,
        summary.failed,
        summary.seconds,
        summary.events_per_s
    );
    println!("occurred from {} to {}", time(summary.first_occurred_at), time(summary.last_occurred_at));
}
