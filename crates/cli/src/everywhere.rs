//! Commands for the whole log: the same record in every partition, and the wait until all of them have come to it.
//!
//! What the root signs is saved beside its key before it is published and removed when all partitions have it, so that a
//! run that died half-way is finished by the next with the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use fluxori_core::command::{Command, CommandBody, CommandKind, SignedCommand};
use fluxori_core::digest::Digest;
use fluxori_core::fold::LogIdentity;
use fluxori_core::id::{CommandId, GLOBAL_KEY};
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{CommandOutcome, Ledger};
use fluxori_runtime::clock;
use fluxori_stream::{Position, Publisher};
use fluxori_wire::Issuer;
use serde::Serialize;
use uuid::Uuid;

use crate::command::WaitingArguments;
use crate::error::CliError;
use crate::session::Session;

const POLL: Duration = Duration::from_millis(50);

/// How the root gives a command.
#[derive(Debug, Args)]
pub(crate) struct RootArguments {
    /// Only show what would be published, and into how many partitions
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The root's key file; a command that was not completed is kept beside it
    #[arg(long, value_name = "FILE", default_value = "keys/root.key")]
    root_key: PathBuf,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    /// What it refers to elsewhere: a ticket
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Who asks for it
    #[arg(long, env = "USER", default_value = "operator", hide_env = true, value_name = "NAME")]
    actor: String,
    #[command(flatten)]
    waiting: WaitingArguments,
}

impl RootArguments {
    /// The root of a log.
    pub(crate) fn root(&self, session: &Session, log: &LogIdentity) -> Result<Issuer, CliError> {
        let root = session.issuer_in(&self.root_key, log, "--root-key")?;
        if root.public_key() == log.genesis.root_key {
            return Ok(root);
        }
        Err(CliError::Refused(format!(
            "{} is the key of {} and not the root's, which alone may give this; name the root's with --root-key",
            self.root_key.display(),
            root.name()
        )))
    }

    /// Whether a command of this name was begun and not completed.
    pub(crate) fn is_pending(&self, name: &str) -> bool {
        self.pending(name).exists()
    }

    fn pending(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.pending"))
    }

    /// The folder of the root's key.
    pub(crate) fn folder(&self) -> &Path {
        self.root_key.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

/// What the root orders.
#[derive(Debug)]
pub(crate) struct Order {
    /// Names the file in which it is kept until it is completed.
    pub(crate) name: String,
    pub(crate) body: CommandBody,
    /// What it is, for people: `the key of edge`.
    pub(crate) what: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    status: Status,
    kind: CommandKind,
    what: String,
    /// None in a dry run.
    command_id: Option<String>,
    partitions: i32,
    /// Partitions into which it was published now, or would be.
    published: usize,
    /// Bytes of its record.
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    WouldPublish,
    Published,
    Applied,
}

/// Gives a command of the root to every partition that does not have it yet, and waits until it is in force everywhere.
pub(crate) async fn give(
    session: &Session,
    log: &LogIdentity,
    order: Order,
    arguments: &RootArguments,
) -> Result<(), CliError> {
    let root = arguments.root(session, log)?;
    let path = arguments.pending(&order.name);
    let saved = pending(&path, &root, &order)?;
    let (value, id, digest) = match saved {
        Some(saved) => saved,
        None => sign(&root, &order, arguments)?,
    };
    let ledger = if arguments.waiting.no_wait { None } else { Some(session.ledger().await?) };
    let mut done = BTreeSet::new();
    if let Some(ledger) = &ledger {
        let judged = applied(&order, digest, &ledger.global_outcomes(id).await?);
        done = if arguments.dry_run { judged? } else { completed(&path, judged)? };
    }
    let partitions = log.genesis.partitions;
    let missing: Vec<i32> = (0..partitions).filter(|partition| !done.contains(partition)).collect();
    let answer = |status| Answer {
        status,
        kind: order.body.kind(),
        what: order.what.clone(),
        command_id: (!arguments.dry_run).then(|| id.to_string()),
        partitions,
        published: missing.len(),
        bytes: value.len(),
    };
    if arguments.dry_run {
        return session.output.print(&answer(Status::WouldPublish), text);
    }
    save(&path, &value)?;
    let places = publish(&session.publisher()?, &missing, &[&value]).await?;
    let Some(ledger) = ledger else {
        return session.output.print(&answer(Status::Published), text);
    };
    let judge = |outcomes: &[CommandOutcome]| applied(&order, digest, outcomes);
    let waited = wait(&ledger, id, &order.what, judge, &places, arguments.waiting.timeout).await;
    if waited.is_ok() {
        remove(&path)?;
    }
    completed(&path, waited)?;
    session.output.print(&answer(Status::Applied), text)
}

fn text(answer: &Answer) -> String {
    let Answer { kind, what, partitions, published, bytes, .. } = answer;
    match answer.status {
        Status::WouldPublish => format!(
            "Dry run: nothing was published. One command ({kind}, some {bytes} bytes) would go into {published} of \
             {partitions} partitions: {what}."
        ),
        Status::Published => format!(
            "In the log in all {partitions} partitions, and the ledger will come to it: {what}. Give it again to see."
        ),
        Status::Applied => format!("In force in all {partitions} partitions: {what}."),
    }
}

fn sign(
    root: &Issuer,
    order: &Order,
    arguments: &RootArguments,
) -> Result<(Vec<u8>, CommandId, Digest), CliError> {
    let command = Command {
        command_id: CommandId(Uuid::now_v7()),
        issued_at: clock::now().into(),
        actor: arguments.actor.clone(),
        reason: arguments.reason.clone(),
        reference: arguments.reference.clone(),
        body: order.body.clone(),
    };
    let digest = Digest::of(&fluxori_wire::encode_payload(&command)?);
    Ok((root.sign(&command)?, command.command_id, digest))
}

/// The record of an earlier run that was not completed.
fn pending(
    path: &Path,
    root: &Issuer,
    order: &Order,
) -> Result<Option<(Vec<u8>, CommandId, Digest)>, CliError> {
    let shown = path.display().to_string();
    let value = match fs::read(path) {
        Ok(value) => value,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CliError::File { action: "cannot read", path: shown, source }),
    };
    let decoded = fluxori_wire::decode(Some(GLOBAL_KEY.as_bytes()), Some(&value), Timestamp::default());
    match decoded.body {
        Body::Command(signed) if is_same(&signed, root, order) => {
            Ok(Some((value, signed.command.command_id, Digest::of(&signed.payload))))
        }
        _ => Err(CliError::Refused(format!(
            "{shown} holds a command that was begun and not completed, and this is another; complete that one by giving \
             it again as it was, or remove the file"
        ))),
    }
}

fn is_same(signed: &SignedCommand, root: &Issuer, order: &Order) -> bool {
    signed.command.body == order.body && signed.is_signed_by(&root.public_key(), root.log_id())
}

/// Whole or not at all: a file that is there holds the record.
fn save(path: &Path, value: &[u8]) -> Result<(), CliError> {
    let draft = path.with_extension("draft");
    let written = fs::File::create(&draft).and_then(|mut out| {
        out.write_all(value)?;
        out.sync_all()
    });
    written.and_then(|()| fs::rename(&draft, path)).map_err(|source| CliError::File {
        action: "cannot write",
        path: path.display().to_string(),
        source,
    })
}

/// What a command has come to so far. One that was rejected is completed: the next of its name is another command. Where
/// the ledger has not answered, the next run goes on.
fn completed<T>(path: &Path, so_far: Result<T, CliError>) -> Result<T, CliError> {
    if matches!(so_far, Err(CliError::Rejected(_))) {
        remove(path)?;
    }
    so_far
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::File { action: "cannot remove", path: path.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

/// The partitions in which it was carried out.
fn applied(order: &Order, digest: Digest, outcomes: &[CommandOutcome]) -> Result<BTreeSet<i32>, CliError> {
    let own = || outcomes.iter().filter(|outcome| outcome.payload_digest == digest);
    let rejected = own().find_map(|outcome| Some((outcome.rejection.as_ref()?, outcome.partition)));
    if let Some((rejection, partition)) = rejected {
        return Err(CliError::Rejected(format!("{}: {rejection} (partition {partition})", order.what)));
    }
    Ok(own().map(|outcome| outcome.partition).collect())
}

/// Publishes all records into each partition, in order, and returns where the last ones are.
pub(crate) async fn publish<V: AsRef<[u8]>>(
    publisher: &Publisher,
    partitions: &[i32],
    values: &[V],
) -> Result<Vec<Position>, CliError> {
    let mut deliveries = Vec::new();
    for partition in partitions {
        let mut of_partition = Vec::new();
        for value in values {
            of_partition.push(publisher.enqueue(*partition, GLOBAL_KEY.as_bytes(), value.as_ref())?);
        }
        deliveries.push(of_partition);
    }
    let mut places = Vec::new();
    for of_partition in deliveries {
        let mut last = None;
        for delivery in of_partition {
            last = Some(delivery.await?);
        }
        places.extend(last);
    }
    Ok(places)
}

/// Waits until a command was carried out wherever it was published; `judge` says where it was, or why it never will be.
pub(crate) async fn wait(
    ledger: &Ledger,
    id: CommandId,
    what: &str,
    judge: impl Fn(&[CommandOutcome]) -> Result<BTreeSet<i32>, CliError>,
    places: &[Position],
    timeout: Duration,
) -> Result<(), CliError> {
    let deadline = Instant::now() + timeout;
    loop {
        // The cursors are read first: when one has passed, the outcome is there or there is none.
        let cursors = ledger.cursors().await?;
        let done = judge(&ledger.global_outcomes(id).await?)?;
        let waiting: Vec<&Position> =
            places.iter().filter(|place| !done.contains(&place.partition)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        for place in &waiting {
            let cursor = cursors.iter().find(|cursor| cursor.partition == place.partition);
            if !cursor.is_some_and(|cursor| cursor.has_passed(place.offset)) {
                continue;
            }
            let record = ledger.quarantined_at(None, place.partition, place.offset).await?;
            let why = record
                .map_or_else(|| "no reason is known".to_owned(), |r| format!("{}: {}", r.reason, r.detail));
            return Err(CliError::Rejected(format!("{what} is in the quarantine ({why})")));
        }
        if Instant::now() >= deadline {
            return Err(CliError::NotYet(format!(
                "{what} is in the log, and the ledger has not come to it yet in {} of {} partitions; is ledger-consumer \
                 running? Give it again to see",
                waiting.len(),
                places.len(),
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use fluxori_core::id::LogId;

    use super::*;

    fn order(version: i32) -> Order {
        let body = CommandBody::SetRules(version);
        Order { name: "rules".to_owned(), body, what: "rules".to_owned() }
    }

    #[test]
    fn a_command_that_was_not_completed_goes_on_with_the_same_bytes_and_no_other_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.pending");
        let root = Issuer::new(LogId(Uuid::from_u128(7)), "root", [1; 32]);
        assert_eq!(pending(&path, &root, &order(2)).unwrap(), None);
        let command = Command {
            command_id: CommandId(Uuid::from_u128(1)),
            issued_at: Timestamp::default(),
            actor: "ops".to_owned(),
            reason: "test".to_owned(),
            reference: None,
            body: CommandBody::SetRules(2),
        };
        let value = root.sign(&command).unwrap();
        save(&path, &value).unwrap();
        let (found, id, _) = pending(&path, &root, &order(2)).unwrap().unwrap();
        assert_eq!((found, id), (value, command.command_id));
        assert!(pending(&path, &root, &order(3)).is_err());
        let other = Issuer::new(LogId(Uuid::from_u128(8)), "root", [1; 32]);
        assert!(pending(&path, &other, &order(2)).is_err(), "another log's");
    }

    #[test]
    fn a_rejected_command_is_not_kept_and_one_without_an_answer_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.pending");
        save(&path, b"record").unwrap();
        let not_yet: Result<(), _> = Err(CliError::NotYet("later".to_owned()));
        assert!(matches!(completed(&path, not_yet), Err(CliError::NotYet(_))));
        assert!(completed(&path, Ok(())).is_ok() && path.exists());
        let rejected = || Err::<(), _>(CliError::Rejected("no".to_owned()));
        assert!(matches!(completed(&path, rejected()), Err(CliError::Rejected(_))));
        assert!(!path.exists());
        assert!(matches!(completed(&path, rejected()), Err(CliError::Rejected(_))), "it was never saved");
    }
}
