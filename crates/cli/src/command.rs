//! Giving a command of an org: sign it, publish it, wait for its outcome. Or show what it would post.

use std::time::{Duration, Instant};

use clap::Args;
use fluxori_core::command::{Command, CommandBody};
use fluxori_core::id::{AllocationId, CommandId, OrgId};
use fluxori_core::record::partition_of;
use fluxori_ledger::{CommandOutcome, Ledger};
use fluxori_runtime::clock;
use fluxori_wire::Position;
use serde::Serialize;
use uuid::Uuid;

use crate::dry_run;
use crate::error::CliError;
use crate::session::Session;

/// How often the ledger is asked whether it has come to a command.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// Why a command is given, and how long its outcome is waited for.
#[derive(Debug, Args)]
pub(crate) struct GivingArguments {
    /// Only show the postings that it would make, and on what balances; nothing is published
    #[arg(long, conflicts_with = "no_wait")]
    dry_run: bool,
    /// What it refers to elsewhere: an invoice, a ticket
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Who asks for it
    #[arg(long, env = "USER", default_value = "operator", hide_env = true, value_name = "NAME")]
    actor: String,
    /// Your own name for this command: given again under the same name, it is not carried out again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    waiting: WaitingArguments,
}

impl GivingArguments {
    /// Whether the ledger is to be asked at all.
    pub(crate) const fn asks_the_ledger(&self) -> bool {
        !self.waiting.no_wait
    }
}

/// How long an outcome is waited for.
#[derive(Debug, Args)]
pub(crate) struct WaitingArguments {
    /// Return once the broker has it, without the ledger's answer
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait for the ledger
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = crate::duration::parse)]
    pub(crate) timeout: Duration,
}

/// What became of a command.
#[derive(Debug, Serialize)]
struct Given {
    status: GivenStatus,
    org_id: String,
    command_id: String,
    position: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum GivenStatus {
    /// The ledger has carried it out.
    Applied,
    /// The ledger had carried it out before.
    Repeated,
    /// The broker has it; the ledger was not waited for.
    Published,
}

impl Given {
    /// What became of it, for people; `done` says it where the ledger has carried it out.
    fn text(&self, done: &str) -> String {
        let said = match self.status {
            GivenStatus::Applied => done.to_owned(),
            GivenStatus::Repeated => {
                format!("{done}\nThat was when this command was given before; nothing was changed now.")
            }
            GivenStatus::Published => "The log has the command; the ledger will come to it.".to_owned(),
        };
        format!("{said}\ncommand {}, position {}", self.command_id, self.position)
    }
}

/// Gives a command to an org's partition and says what became of it: `done`, where the ledger has carried it out. In a dry
/// run, says what it would do.
pub(crate) async fn give(
    session: &Session,
    body: CommandBody,
    reason: &str,
    arguments: &GivingArguments,
    done: &str,
) -> Result<(), CliError> {
    let Some(org) = body.org().cloned() else {
        return Err(CliError::Refused("a command of no org".to_owned()));
    };
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let issuer = session.issuer(&log)?;
    let key = arguments.idempotency_key.as_deref();
    let command_id =
        key.map_or_else(|| CommandId(Uuid::now_v7()), |key| CommandId::from_idempotency_key(&org, key));
    let say = |status, partition, offset| {
        let given = Given {
            status,
            org_id: org.to_string(),
            command_id: command_id.to_string(),
            position: Position::of(log.genesis.log_id, partition, offset).to_string(),
        };
        session.output.print(&given, |given| given.text(done))
    };
    let ledger = if arguments.asks_the_ledger() { Some(session.ledger().await?) } else { None };
    let command = Command {
        command_id,
        issued_at: clock::now().into(),
        actor: arguments.actor.clone(),
        reason: reason.to_owned(),
        reference: arguments.reference.clone(),
        body,
    };
    if let (Some(ledger), Some(_)) = (&ledger, key)
        && let Some(outcome) = ledger.command_outcome(&org, command_id).await?
    {
        let outcome = accepted(same(ledger, &org, &command, outcome).await?)?;
        return say(GivenStatus::Repeated, outcome.partition, outcome.offset);
    }
    let partition = partition_of(org.as_str().as_bytes(), log.genesis.partitions);
    let value = issuer.sign(&command)?;
    if let (Some(ledger), true) = (&ledger, arguments.dry_run) {
        return dry_run::run(session, ledger, &command, &value, partition).await;
    }
    let place = session.publisher()?.publish(partition, org.as_str().as_bytes(), &value).await?;
    let Some(ledger) = ledger else {
        return say(GivenStatus::Published, place.partition, place.offset);
    };
    let deadline = Instant::now() + arguments.waiting.timeout;
    let outcome = wait(&ledger, &org, command_id, place, deadline).await?;
    if (outcome.partition, outcome.offset) == (place.partition, place.offset) {
        return say(GivenStatus::Applied, outcome.partition, outcome.offset);
    }
    let outcome = same(&ledger, &org, &command, outcome).await?;
    say(GivenStatus::Repeated, outcome.partition, outcome.offset)
}

/// The outcome, if it is that of this command and not of another under the same key.
async fn same(
    ledger: &Ledger,
    org: &OrgId,
    command: &Command,
    outcome: CommandOutcome,
) -> Result<CommandOutcome, CliError> {
    let mut is_same = outcome.kind == command.body.kind().as_str()
        && outcome.reason == command.reason
        && outcome.reference == command.reference;
    if let CommandBody::Grant(_, grant) = &command.body
        && is_same
        && outcome.rejection.is_none()
    {
        let made = ledger.allocation(org, AllocationId(command.command_id.0)).await?;
        is_same = made.is_none_or(|made| made.is_of(grant, true));
    }
    if is_same {
        return Ok(outcome);
    }
    Err(CliError::Refused(
        "the idempotency key was used for another command of this org; use a key of its own for each"
            .to_owned(),
    ))
}

/// Waits until the ledger has come to the command.
async fn wait(
    ledger: &Ledger,
    org: &OrgId,
    command_id: CommandId,
    place: fluxori_stream::Position,
    deadline: Instant,
) -> Result<CommandOutcome, CliError> {
    loop {
        match look(ledger, org, command_id, place).await {
            Ok(Some(outcome)) => return accepted(outcome),
            Ok(None) => {}
            // The log has the command: whether the ledger can be read just now changes nothing about that.
            Err(CliError::Ledger(error)) if error.is_unavailable() => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(CliError::NotYet(format!(
                "the log has the command (id {command_id}, partition {} offset {}), and the ledger has not come to it \
                 yet; is ledger-consumer running? Do not give it again: it will be carried out",
                place.partition, place.offset
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The command's outcome, if the ledger has come to it.
async fn look(
    ledger: &Ledger,
    org: &OrgId,
    command_id: CommandId,
    place: fluxori_stream::Position,
) -> Result<Option<CommandOutcome>, CliError> {
    // The cursor is read first: when it has passed, the outcome is there or there is none.
    let cursors = ledger.cursors().await?;
    if let Some(outcome) = ledger.command_outcome(org, command_id).await? {
        return Ok(Some(outcome));
    }
    let cursor = cursors.iter().find(|cursor| cursor.partition == place.partition);
    if cursor.is_some_and(|cursor| cursor.has_passed(place.offset)) {
        let record = ledger.quarantined_at(Some(org), place.partition, place.offset).await?;
        let why =
            record.map_or_else(|| "no reason is known".to_owned(), |r| format!("{}: {}", r.reason, r.detail));
        return Err(CliError::Rejected(format!("it is in the quarantine ({why})")));
    }
    Ok(None)
}

fn accepted(outcome: CommandOutcome) -> Result<CommandOutcome, CliError> {
    match outcome.rejection {
        Some(rejection) => Err(CliError::Rejected(rejection)),
        None => Ok(outcome),
    }
}
