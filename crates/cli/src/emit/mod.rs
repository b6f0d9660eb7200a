//! `credits emit`: usage into the log, through the library that modules link.

mod input;

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use clap::Args;
use fluxori_core::id::{EventId, LogId};
use fluxori_core::time::Timestamp;
use fluxori_emitter::{Delivered, EmitError, Emitter, EmitterOptions};
use fluxori_runtime::clock;
use fluxori_wire::Position;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::duration;
use crate::error::CliError;
use crate::output::Output;
use crate::progress;
use crate::session::Session;
use input::{EventArguments, Input};

/// So many events may wait for their outcome.
const IN_FLIGHT: usize = 1_000;

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
    /// How long an event may wait for the broker
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
    /// The broker has it.
    Accepted,
    /// It is no usage event, or cannot be taken.
    Rejected,
    /// Whether the broker has it is not known; emitted again under its id, it counts once.
    Unknown,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    valid: u64,
    accepted: u64,
    rejected: u64,
    unknown: u64,
    /// Of all that was accepted: what a read names to see its effect.
    position: Option<String>,
}

/// An event on its way.
enum Pending {
    Known(Line),
    Waiting(Line, Pin<Box<dyn Future<Output = Result<Delivered, EmitError>> + Send>>),
}

pub(crate) async fn run(session: &Session, arguments: &EmitArguments) -> Result<(), CliError> {
    let input = Input::open(&arguments.event, arguments.input.as_ref())?;
    let target = if arguments.dry_run { None } else { Some(target(session, arguments).await?) };
    let (sender, mut pending) = mpsc::channel(IN_FLIGHT);
    let emitter = target.as_ref().map(|(emitter, _)| emitter.clone());
    let reading = tokio::task::spawn_blocking(move || feed(input, emitter.as_ref(), &sender));
    let log_id = target.as_ref().map(|(_, log_id)| *log_id);
    let mut out = Outcomes::new(session.output, log_id);
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
            Some(Pending::Waiting(line, delivered)) => {
                let delivered = delivered.await;
                out.add_delivered(line, delivered)?;
            }
        }
    }
    let read = if interrupted { Ok(()) } else { finished(reading).await };
    let not_accepted = out.finish()?;
    read?;
    if interrupted {
        return Err(CliError::Refused("interrupted; the events above are all that were emitted".to_owned()));
    }
    match not_accepted {
        0 => Ok(()),
        count => Err(CliError::Refused(format!(
            "{count} of the events {}",
            if arguments.dry_run { "cannot be emitted" } else { "were not accepted" }
        ))),
    }
}

async fn finished(reading: tokio::task::JoinHandle<Result<(), std::io::Error>>) -> Result<(), CliError> {
    let read = reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|source| CliError::File { action: "cannot read", path: "the events".to_owned(), source })
}

/// The emitter, once it is certain that the topic is the log that is meant.
async fn target(session: &Session, arguments: &EmitArguments) -> Result<(Emitter, LogId), CliError> {
    let log = session.log(&session.reader()?).await?;
    let kafka = session.kafka()?;
    let mut options = EmitterOptions::new(&*kafka.brokers);
    options.topic.clone_from(&kafka.topic);
    options.delivery_timeout = arguments.timeout;
    Ok((Emitter::new(options)?, log.genesis.log_id))
}

/// Reads events and hands them to the emitter, in order. Ends with the input, or when nobody takes the outcomes any more.
fn feed(
    mut input: Input,
    emitter: Option<&Emitter>,
    sender: &mpsc::Sender<Pending>,
) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Handle::current();
    while let Some(item) = input.next(|| Timestamp::from(clock::now()))? {
        // Room for the outcome comes first: no event is emitted whose outcome is not told.
        let Ok(room) = runtime.block_on(sender.reserve()) else { return Ok(()) };
        let line = |status, event_id: Option<EventId>, reason| {
            let given_id = item.given_id.clone().filter(|id| event_id.is_none_or(|of| of.to_string() != *id));
            Line { line: item.line, status, event_id, given_id, accepted: None, position: None, reason }
        };
        room.send(match (item.event.as_ref(), emitter) {
            (Err(reason), _) => Pending::Known(line(Status::Rejected, None, Some(reason.clone()))),
            (Ok(event), None) => Pending::Known(line(Status::Valid, Some(event.event_id), None)),
            (Ok(event), Some(emitter)) => Pending::Waiting(
                line(Status::Accepted, Some(event.event_id), None),
                Box::pin(emitter.emit_acknowledged(event.clone())),
            ),
        });
    }
    Ok(())
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

    fn add_delivered(&mut self, line: Line, delivered: Result<Delivered, EmitError>) -> Result<(), CliError> {
        let line = match (delivered, self.log_id) {
            (Ok(Delivered { partition, offset }), Some(log_id)) => {
                self.position
                    .get_or_insert_with(|| Position::of(log_id, partition, offset))
                    .include(partition, offset);
                let position = Some(Position::of(log_id, partition, offset).to_string());
                Line { accepted: Some("acknowledged"), position, ..line }
            }
            (Ok(_), None) => line,
            (Err(error), _) => {
                let status = match error {
                    EmitError::NotAcknowledged { .. } | EmitError::Closed => Status::Unknown,
                    _ => Status::Rejected,
                };
                Line { status, reason: Some(error.to_string()), ..line }
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

    /// Writes the summary; returns how many events were not accepted.
    fn finish(mut self) -> Result<u64, CliError> {
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
                let position = self.summary.position.iter().map(|position| format!("position {position}"));
                match some.is_empty() {
                    true => "no events".to_owned(),
                    false => some.into_iter().chain(position).collect::<Vec<_>>().join(", "),
                }
            }
        });
        Ok(rejected + unknown)
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
    let parts = [id, line.given_id.clone(), line.position.clone(), line.reason.clone()];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}  {status}  {}", line.line, parts.join("  "))
}
