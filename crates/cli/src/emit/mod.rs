//! `credits emit`: usage into the log, through the library that modules link.

mod input;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use fluxori_core::id::{EventId, LogId, ProducerId};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageEvent;
use fluxori_emitter::{
    Accepted, Delivered, Durability, EmitError, Emitter, EmitterOptions, Receipt, Rejected, SpoolOptions,
};
use fluxori_runtime::clock;
use fluxori_wire::Position;
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::duration;
use crate::error::CliError;
use crate::output::Output;
use crate::progress;
use crate::session::Session;
use input::{EventArguments, Input, Item};

/// So many events may wait for their outcome.
const IN_FLIGHT: usize = 1_000;
/// How long to wait for room in a full spool before looking again.
const FULL: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct EmitArguments {
    /// A file with one event a line, as JSON; - is standard input [default: -, if no flags describe an event]
    #[arg(value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    event: EventArguments,
    /// Only check the events; nothing is emitted, and no server is needed
    #[arg(long)]
    dry_run: bool,
    /// Put events into a spool in this folder, and accept them at once: what the broker does not have at the end is sent by whoever
    /// opens the folder next
    #[arg(long, value_name = "FOLDER")]
    spool: Option<PathBuf>,
    /// What an accepted event in the spool outlives: the process, or the machine's power
    #[arg(long, value_name = "process|power", requires = "spool")]
    durability: Option<Durability>,
    /// How long to wait for the broker: for each event, or with --spool once at the end
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
}

/// What became of one event.
#[derive(Debug, Serialize)]
struct Line {
    line: u64,
    status: Status,
    event_id: Option<EventId>,
    /// As it came, where that is another text.
    #[serde(skip_serializing_if = "Option::is_none")]
    given_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// It can be emitted (dry run).
    Valid,
    /// The broker has it, or it is in the spool.
    Accepted,
    /// It is no usage event, or cannot be taken.
    Rejected,
    /// It was not taken for now, or whether the broker has it is not known; emitted again under its id, it counts once.
    Unknown,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    valid: u64,
    accepted: u64,
    rejected: u64,
    unknown: u64,
    /// Of all that the broker acknowledged: what a read names to see its effect.
    position: Option<String>,
    /// Events that an earlier process had left in the spool.
    recovered: u64,
    /// Events that wait in the spool for the next process that opens it.
    waiting: u64,
}

/// An event on its way.
enum Pending {
    Known(Line),
    /// Until then it may take.
    Waiting(Line, Receipt, Instant),
}

/// Where events go.
struct Target {
    emitter: Emitter,
    /// The log; not known while no broker answers, which only a spool bears.
    log_id: Option<LogId>,
    timeout: Duration,
}

pub(crate) async fn run(session: &Session, arguments: &EmitArguments) -> Result<(), CliError> {
    let input = Input::open(&arguments.event, arguments.input.as_ref())?;
    let target = if arguments.dry_run { None } else { Some(target(session, arguments).await?) };
    let (sender, mut pending) = mpsc::channel(IN_FLIGHT);
    let (emitter, timeout) = (target.as_ref().map(|target| target.emitter.clone()), arguments.timeout);
    let reading = tokio::task::spawn_blocking(move || feed(input, emitter.as_ref(), timeout, &sender));
    let mut out = Outcomes::new(session.output, target.as_ref().and_then(|target| target.log_id));
    let mut interrupted = false;
    let mut interruption = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            biased;
            _ = &mut interruption, if !interrupted => {
                // What is on its way is waited for; nothing more is taken.
                pending.close();
                interrupted = true;
                continue;
            }
            next = pending.recv() => next,
        };
        match next {
            None => break,
            Some(Pending::Known(line)) => out.add(line)?,
            Some(Pending::Waiting(line, mut receipt, until)) => {
                let accepted = tokio::time::timeout_at(until.into(), receipt.accepted()).await;
                out.add_accepted(line, accepted.ok())?;
            }
        }
    }
    let read = if interrupted { Ok(()) } else { finished(reading).await };
    if let (Some(target), true) = (target, arguments.spool.is_some()) {
        drain(target, &mut out.summary).await;
    }
    let (all, not_accepted) = out.finish()?;
    read?;
    if interrupted {
        return Err(CliError::Refused("interrupted; the events above are all that were emitted".to_owned()));
    }
    if not_accepted == 0 {
        return Ok(());
    }
    let verb = if not_accepted == 1 { "was" } else { "were" };
    let what = if arguments.dry_run { "refused" } else { "not accepted" };
    Err(CliError::Refused(format!("{not_accepted} of {all} events {verb} {what}")))
}

async fn finished(reading: tokio::task::JoinHandle<Result<(), std::io::Error>>) -> Result<(), CliError> {
    let read = reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|source| CliError::File { action: "cannot read", path: "the events".to_owned(), source })
}

/// Gives the broker time to take what is in the spool; what it has not taken is there for the next process.
async fn drain(target: Target, summary: &mut Summary) {
    let closing = tokio::task::spawn_blocking(move || {
        // What is left is counted below.
        _ = target.emitter.close(target.timeout);
        target.emitter.counts()
    });
    if let Ok(counts) = closing.await {
        (summary.recovered, summary.waiting) = (counts.recovered, counts.waiting);
    }
}

/// The emitter, once it is certain that the topic is the log that is meant. With a spool, brokers may be away.
async fn target(session: &Session, arguments: &EmitArguments) -> Result<Target, CliError> {
    let log_id = match session.log(&session.reader()?).await {
        Ok(log) => Some(log.genesis.log_id),
        Err(CliError::Stream(error)) if error.is_transient() && arguments.spool.is_some() => {
            eprintln!("credits: events wait in the spool: {error}");
            None
        }
        Err(error) => return Err(error),
    };
    let kafka = session.kafka()?;
    let mut options = EmitterOptions::new(&*kafka.brokers);
    options.topic.clone_from(&kafka.topic);
    if let Some(folder) = &arguments.spool {
        options.spool = SpoolOptions::in_folder(folder);
        options.spool.durability = arguments.durability.unwrap_or_default();
    } else {
        // Not the name of this host: a run by hand must not pass for the successor of a service that has gone silent.
        let name = ProducerId::new(&format!("credits-{}", Uuid::now_v7().simple()));
        options.producer_id = Some(name.map_err(|error| CliError::Refused(error.to_string()))?);
    }
    Ok(Target { emitter: Emitter::new(options)?, log_id, timeout: arguments.timeout })
}

/// Reads events and hands them to the emitter, in order. Ends with the input, or when nobody takes the outcomes any more.
fn feed(
    mut input: Input,
    emitter: Option<&Emitter>,
    timeout: Duration,
    sender: &mpsc::Sender<Pending>,
) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Handle::current();
    while let Some(Item { line, given_id, event }) = input.next(|| Timestamp::from(clock::now()))? {
        // Room for the outcome comes first: no event is emitted whose outcome is not told.
        let Ok(room) = runtime.block_on(sender.reserve()) else { return Ok(()) };
        let until = Instant::now() + timeout;
        let line = |status, event_id: Option<EventId>, reason| {
            let given_id = given_id.filter(|id| event_id.is_none_or(|of| of.to_string() != *id));
            Line { line, status, event_id, given_id, accepted: None, position: None, reason }
        };
        room.send(match (event, emitter) {
            (Err(reason), _) => Pending::Known(line(Status::Rejected, None, Some(reason))),
            (Ok(event), None) => Pending::Known(line(Status::Valid, Some(event.event_id), None)),
            (Ok(event), Some(emitter)) => match emit(emitter, event, until) {
                Ok(receipt) => {
                    Pending::Waiting(line(Status::Accepted, Some(receipt.event_id()), None), receipt, until)
                }
                Err(Rejected { event, reason }) => {
                    Pending::Known(line(status_of(&reason), Some(event.event_id), Some(reason.to_string())))
                }
            },
        });
    }
    Ok(())
}

/// Hands an event over; where there is no room for it, waits until then.
fn emit(emitter: &Emitter, mut event: UsageEvent, until: Instant) -> Result<Receipt, Rejected> {
    loop {
        match emitter.emit_tracked(event) {
            Err(Rejected { event: again, reason: EmitError::QueueFull { .. } }) if Instant::now() < until => {
                event = *again;
                std::thread::sleep(FULL);
            }
            outcome => return outcome,
        }
    }
}

/// What an event is to its caller that came to nothing here: taken never, or perhaps another time.
const fn status_of(error: &EmitError) -> Status {
    match error {
        EmitError::TooLarge { .. } | EmitError::Encoding(_) => Status::Rejected,
        _ => Status::Unknown,
    }
}

/// Writes what became of the events, in the order in which they came.
struct Outcomes {
    output: Output,
    log_id: Option<LogId>,
    summary: Summary,
    position: Option<Position>,
    bar: indicatif::ProgressBar,
}

impl Outcomes {
    fn new(output: Output, log_id: Option<LogId>) -> Self {
        // Lines on the same terminal are progress enough.
        let bar = match std::io::stdout().is_terminal() {
            true => indicatif::ProgressBar::hidden(),
            false => progress::counter("events"),
        };
        Self { output, log_id, summary: Summary::default(), position: None, bar }
    }

    /// Takes in whether an event was accepted; none: nobody said so in time.
    fn add_accepted(
        &mut self,
        line: Line,
        accepted: Option<Result<Accepted, EmitError>>,
    ) -> Result<(), CliError> {
        let line = match accepted {
            Some(Ok(Accepted::Spooled)) => Line { accepted: Some("spooled"), ..line },
            Some(Ok(Accepted::Acknowledged(Delivered { partition, offset }))) => {
                let position = self.log_id.map(|log_id| Position::of(log_id, partition, offset));
                match (&mut self.position, &position) {
                    (Some(all), _) => all.include(partition, offset),
                    (none, first) => none.clone_from(first),
                }
                let position = position.map(|position| position.to_string());
                Line { accepted: Some("acknowledged"), position, ..line }
            }
            Some(Err(error)) => {
                let status = status_of(&error);
                Line { status, reason: Some(error.to_string()), ..line }
            }
            None => {
                let reason = "no acknowledgement in time; it may or may not come into the log".to_owned();
                Line { status: Status::Unknown, reason: Some(reason), ..line }
            }
        };
        self.add(line)
    }

    fn add(&mut self, line: Line) -> Result<(), CliError> {
        let summary = &mut self.summary;
        *match line.status {
            Status::Valid => &mut summary.valid,
            Status::Accepted => &mut summary.accepted,
            Status::Rejected => &mut summary.rejected,
            Status::Unknown => &mut summary.unknown,
        } += 1;
        self.bar.inc(1);
        self.write(&match self.output {
            Output::Table => text(&line),
            Output::Json => serde_json::to_string(&line)?,
        });
        Ok(())
    }

    /// Writes the summary; returns how many events there were, and how many of them were not accepted.
    fn finish(mut self) -> Result<(u64, u64), CliError> {
        self.bar.finish_and_clear();
        self.summary.position = self.position.take().map(|position| position.to_string());
        let Summary { valid, accepted, rejected, unknown, .. } = self.summary;
        self.write(&match self.output {
            Output::Json => serde_json::to_string(&serde_json::json!({ "summary": self.summary }))?,
            Output::Table => {
                let all =
                    [(valid, "valid"), (accepted, "accepted"), (rejected, "rejected"), (unknown, "unknown")];
                let some = all.iter().filter(|(count, _)| *count > 0);
                let some: Vec<String> = some.map(|(count, word)| format!("{count} {word}")).collect();
                let Summary { position, recovered, waiting, .. } = &self.summary;
                let mut parts = if some.is_empty() { vec!["no events".to_owned()] } else { some };
                if *recovered > 0 {
                    parts.push(format!("{recovered} found in the spool"));
                }
                if *waiting > 0 {
                    parts.push(format!("{waiting} wait in the spool for whoever opens it next"));
                }
                parts.extend(position.iter().map(|position| format!("position {position}")));
                parts.join(", ")
            }
        });
        Ok((valid + accepted + rejected + unknown, rejected + unknown))
    }

    /// That nobody reads it is no reason to stop emitting.
    fn write(&self, line: &str) {
        self.bar.suspend(|| _ = writeln!(std::io::stdout().lock(), "{line}"));
    }
}

fn text(line: &Line) -> String {
    let status = match line.status {
        Status::Valid => "valid",
        Status::Accepted => "accepted",
        Status::Rejected => "rejected",
        Status::Unknown => "unknown",
    };
    let id = line.event_id.map(|id| id.to_string());
    let accepted = line.accepted.filter(|_| line.position.is_none()).map(str::to_owned);
    let parts = [id, line.given_id.clone(), accepted, line.position.clone(), line.reason.clone()];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}  {status}  {}", line.line, parts.join("  "))
}
