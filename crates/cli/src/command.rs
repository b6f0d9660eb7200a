//! Giving a command of an org: sign it, publish it, wait for its outcome. Or show what it would post.
//!
//! Under an idempotency key, what became of the key's first command comes before all else: the state that the command
//! would be made of now is the one that it has changed itself. Whether the two are the same is judged by the earlier one's
//! record in the log, not by what the ledger has made of it since.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use fluxori_core::command::{Command, CommandBody, CommandKind};
use fluxori_core::id::{AllocationId, CommandId, OrgId};
use fluxori_core::record::partition_of;
use fluxori_ledger::{CommandOutcome, Ledger};
use fluxori_runtime::clock;
use fluxori_stream::StreamError;
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
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
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

/// What a word asks for, apart from the command's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) kind: CommandKind,
    pub(crate) reason: &'a str,
    pub(crate) giving: &'a GivingArguments,
}

/// Gives a command to an org's partition and says what became of it: what `done` says of its body, where the ledger has
/// carried it out. In a dry run, says what it would do.
///
/// `make` makes the body of the ledger's state as it is now, or refuses to. `is_asked` says whether a body made earlier is
/// what is asked for now, whatever state and clock have added to it.
pub(crate) async fn give(
    session: &Session,
    asked: Asked<'_>,
    make: impl AsyncFn() -> Result<CommandBody, CliError>,
    is_asked: impl Fn(&CommandBody) -> bool,
    done: impl Fn(&CommandBody) -> String,
) -> Result<(), CliError> {
    let Asked { org, giving, .. } = asked;
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let issuer = session.issuer(&log)?;
    let key = giving.idempotency_key.as_deref();
    let command_id =
        key.map_or_else(|| CommandId(Uuid::now_v7()), |key| CommandId::from_idempotency_key(org, key));
    let say = |status, partition, offset, done: &str| {
        let given = Given {
            status,
            org_id: org.to_string(),
            command_id: command_id.to_string(),
            position: Position::of(log.genesis.log_id, partition, offset).to_string(),
        };
        session.output.print(&given, |given| given.text(done))
    };
    let ledger = if giving.asks_the_ledger() { Some(session.ledger().await?) } else { None };
    if key.is_some()
        && let Some(outcome) = outcome_of_key(session, asked, command_id).await?
    {
        let earlier = earlier(session, asked, &outcome, &make, &is_asked).await?;
        let outcome = accepted(outcome)?;
        return say(GivenStatus::Repeated, outcome.partition, outcome.offset, &said(earlier, &done));
    }
    let command = Command {
        command_id,
        issued_at: clock::now().into(),
        actor: giving.actor.clone(),
        reason: asked.reason.to_owned(),
        reference: giving.reference.clone(),
        body: make().await?,
    };
    let partition = partition_of(org.as_str().as_bytes(), log.genesis.partitions);
    let value = issuer.sign(&command)?;
    if let (Some(ledger), true) = (&ledger, giving.dry_run) {
        return dry_run::run(session, ledger, &command, &value, partition).await;
    }
    let place = session.publisher()?.publish(partition, org.as_str().as_bytes(), &value).await?;
    let Some(ledger) = ledger else {
        return say(GivenStatus::Published, place.partition, place.offset, "");
    };
    let deadline = Instant::now() + giving.waiting.timeout;
    let outcome = wait(&ledger, org, command_id, place, deadline).await?;
    if (outcome.partition, outcome.offset) == (place.partition, place.offset) {
        let outcome = accepted(outcome)?;
        return say(GivenStatus::Applied, outcome.partition, outcome.offset, &done(&command.body));
    }
    // Somebody gave a command under the same key at the same time.
    let earlier = earlier(session, asked, &outcome, &make, &is_asked).await?;
    let outcome = accepted(outcome)?;
    say(GivenStatus::Repeated, outcome.partition, outcome.offset, &said(earlier, &done))
}

/// What became of the command that was given under the key before, if one was. Who does not wait for the ledger is not
/// stopped by one that is away: the ledger itself carries out a command once.
async fn outcome_of_key(
    session: &Session,
    asked: Asked<'_>,
    command_id: CommandId,
) -> Result<Option<CommandOutcome>, CliError> {
    let look = async || -> Result<Option<CommandOutcome>, CliError> {
        Ok(session.ledger().await?.command_outcome(asked.org, command_id).await?)
    };
    match look().await {
        Err(_) if !asked.giving.asks_the_ledger() => Ok(None),
        outcome => outcome,
    }
}

/// The body of the earlier command of an outcome, if that is what is asked for; none where the log does not hold it any
/// more, and all that the ledger knows of it is the same.
async fn earlier(
    session: &Session,
    asked: Asked<'_>,
    outcome: &CommandOutcome,
    make: &impl AsyncFn() -> Result<CommandBody, CliError>,
    is_asked: &impl Fn(&CommandBody) -> bool,
) -> Result<Option<CommandBody>, CliError> {
    let another = || {
        let of = if outcome.rejection.is_some() { ", which was rejected" } else { "" };
        CliError::Refused(format!(
            "the idempotency key was used for another command of org {} (a {} at partition {} offset {}{of}), and nothing \
             was changed now; if this one is to be carried out, give it under another key",
            asked.org, outcome.kind, outcome.partition, outcome.offset
        ))
    };
    let is_of_outcome = outcome.kind == asked.kind.as_str()
        && outcome.reason == asked.reason
        && outcome.reference == asked.giving.reference;
    if !is_of_outcome {
        return Err(another());
    }
    if let Some(body) = recorded(session, outcome).await? {
        return if is_asked(&body) { Ok(Some(body)) } else { Err(another()) };
    }
    if asked.kind == CommandKind::Grant
        && outcome.rejection.is_none()
        && let CommandBody::Grant(org, grant) = make().await?
    {
        let made = session.ledger().await?.allocation(&org, AllocationId(outcome.command_id.0)).await?;
        if made.is_some_and(|made| !made.is_of(&grant, true)) {
            return Err(another());
        }
    }
    Ok(None)
}

/// What a command says in the log; none where that does not hold it any more.
async fn recorded(session: &Session, outcome: &CommandOutcome) -> Result<Option<CommandBody>, CliError> {
    let batch = match session.reader()?.fetch_one(outcome.partition, outcome.offset).await {
        Ok(batch) => batch,
        Err(StreamError::OffsetMissing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let record = batch.iter().next();
    Ok(record.and_then(|record| fluxori_wire::decode_command_body(record.value, outcome.payload_digest)))
}

/// What is said of a command that was carried out before.
fn said(earlier: Option<CommandBody>, done: impl Fn(&CommandBody) -> String) -> String {
    earlier.map_or_else(|| "The ledger has carried it out.".to_owned(), |body| done(&body))
}

/// Waits until the ledger has come to the command.
pub(crate) async fn wait(
    ledger: &Ledger,
    org: &OrgId,
    command_id: CommandId,
    place: fluxori_stream::Position,
    deadline: Instant,
) -> Result<CommandOutcome, CliError> {
    loop {
        match look(ledger, org, command_id, place).await {
            Ok(Some(outcome)) => return Ok(outcome),
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

pub(crate) fn accepted(outcome: CommandOutcome) -> Result<CommandOutcome, CliError> {
    match outcome.rejection {
        Some(rejection) => Err(CliError::Rejected(rejection)),
        None => Ok(outcome),
    }
}
