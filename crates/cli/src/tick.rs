//! `credits tick`: tells partitions the time, so that what is due is booked although nothing else happens.

use std::time::Instant;

use clap::Args;
use fluxori_stream::Position as Place;
use fluxori_wire::Position;
use serde::Serialize;

use crate::command::WaitingArguments;
use crate::error::CliError;
use crate::everywhere::publish;
use crate::session::{Session, identify};

#[derive(Debug, Args)]
pub(crate) struct TickArguments {
    /// Only this partition [default: all]
    #[arg(long)]
    partition: Option<i32>,
    /// Only show into how many partitions it would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: WaitingArguments,
}

#[derive(Debug, Serialize)]
struct Answer {
    status: Status,
    partitions: usize,
    position: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    WouldPublish,
    Published,
    Applied,
}

pub(crate) async fn run(session: &Session, arguments: &TickArguments) -> Result<(), CliError> {
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let all = log.genesis.partitions;
    let partitions: Vec<i32> = match arguments.partition {
        Some(partition) if (0..all).contains(&partition) => vec![partition],
        Some(partition) => {
            let problem = format!("the log has no partition {partition}, but those from 0 to {}", all - 1);
            return Err(CliError::Refused(problem));
        }
        None => (0..all).collect(),
    };
    for partition in &partitions {
        // A tick must not be the first record of a partition.
        if identify(&reader, *partition, Some(log.digest)).await?.is_none() {
            let problem = format!("partition {partition} has no genesis yet; run `credits log init` again");
            return Err(CliError::Refused(problem));
        }
    }
    let mut answer = Answer { status: Status::WouldPublish, partitions: partitions.len(), position: None };
    if arguments.dry_run {
        return session.output.print(&answer, text);
    }
    let places = publish(&session.publisher()?, &partitions, &[b""]).await?;
    answer.status = Status::Published;
    let mut positions =
        places.iter().map(|place| Position::of(log.genesis.log_id, place.partition, place.offset));
    if let Some(mut position) = positions.next() {
        places.iter().for_each(|place| position.include(place.partition, place.offset));
        answer.position = Some(position.to_string());
    }
    if !arguments.waiting.no_wait {
        wait(session, &places, &arguments.waiting).await?;
        answer.status = Status::Applied;
    }
    session.output.print(&answer, text)
}

fn text(answer: &Answer) -> String {
    let partitions = match answer.partitions {
        1 => "1 partition".to_owned(),
        partitions => format!("{partitions} partitions"),
    };
    match answer.status {
        Status::WouldPublish => {
            format!("Dry run: nothing was published. A tick, an empty record, would go into {partitions}.")
        }
        Status::Published => format!("The log has a tick in {partitions}; the ledger will come to it."),
        Status::Applied => format!("What was due by now is booked in {partitions}."),
    }
}

/// Waits until the ledger has passed all ticks.
async fn wait(session: &Session, places: &[Place], waiting: &WaitingArguments) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let deadline = Instant::now() + waiting.timeout;
    loop {
        let cursors = ledger.cursors().await?;
        let passed = |place: &Place| {
            let cursor = cursors.iter().find(|cursor| cursor.partition == place.partition);
            cursor.is_some_and(|cursor| cursor.has_passed(place.offset))
        };
        let behind = places.iter().filter(|place| !passed(place)).count();
        if behind == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(CliError::NotYet(format!(
                "the ticks are in the log, and the ledger has not come to {behind} of {} yet; is ledger-consumer running?",
                places.len()
            )));
        }
        tokio::time::sleep(crate::command::POLL).await;
    }
}
