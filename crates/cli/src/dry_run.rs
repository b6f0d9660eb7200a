//! What a command of an org would do: the ledger's own fold, over a snapshot of the ledger, with the command as the next
//! record of its partition. Nothing is published.

use std::collections::BTreeMap;

use fluxori_core::amount::Credits;
use fluxori_core::command::{Command, CommandBody, CommandKind};
use fluxori_core::fold::{Allocation, FoldError, OrgState, Outcome};
use fluxori_core::id::{AllocationId, EventId, OrgId, UserId};
use fluxori_core::posting::{Cause, Entry, Posting};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Ledger, Needed};
use fluxori_runtime::clock;
use serde::Serialize;

use crate::error::CliError;
use crate::output::{entries, table, time};
use crate::session::Session;
use crate::snapshot::{AsOf, Snapshot};

#[derive(Debug, Serialize)]
struct Answer {
    status: Status,
    org_id: OrgId,
    kind: CommandKind,
    rejection: Option<String>,
    /// What the ledger had applied when it was read.
    as_of: AsOf,
    /// The log's time that the command was given.
    booked_at: Timestamp,
    opens_org: bool,
    /// Events that waited for the opening of the org, or in the quarantine, and would be charged.
    released: usize,
    postings: Vec<Line>,
    /// Those that would change.
    allocations: Vec<Change<AllocationLine>>,
    sums: Change<Sums>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    WouldApply,
    WouldBeRejected,
}

#[derive(Debug, Serialize)]
struct Line {
    number: i64,
    kind: &'static str,
    cause: &'static str,
    effective_at: Timestamp,
    amount: Credits,
    entries: Vec<Entry>,
}

/// Something before and after; none where it is not there.
#[derive(Debug, Serialize)]
struct Change<T> {
    before: Option<T>,
    after: Option<T>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct AllocationLine {
    allocation_id: String,
    user_id: Option<UserId>,
    kind: &'static str,
    status: &'static str,
    remaining: Credits,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Sums {
    balance: Credits,
    overdraft: Credits,
}

/// Shows what a command would do, signed as `value`.
///
/// # Errors
/// It would be rejected or quarantined: after it was shown.
pub(crate) async fn run(
    session: &Session,
    ledger: &Ledger,
    command: &Command,
    value: &[u8],
    partition: i32,
) -> Result<(), CliError> {
    let Some(org) = command.body.org() else {
        return Err(CliError::Refused("a command of no org".to_owned()));
    };
    let snapshot = Snapshot::read(session, ledger, partition, &needed(command, org)).await?;
    let answer = fold(snapshot, command, value, org, clock::now().into())?;
    let rejection = answer.rejection.clone();
    session.output.print(&answer, text)?;
    rejection.map_or(Ok(()), |rejection| Err(CliError::WouldBeRejected(rejection)))
}

/// What the fold needs of the past for a command.
fn needed(command: &Command, org: &OrgId) -> Needed {
    let events: Vec<EventId> = match &command.body {
        CommandBody::Correct(_, correct) => vec![correct.event_id],
        CommandBody::Release(_, release) => vec![release.event_id],
        CommandBody::Reprice(_, reprice) => reprice.events.iter().map(|(event, _)| *event).collect(),
        _ => Vec::new(),
    };
    let watched: Vec<_> = events.into_iter().map(|event| (org.clone(), event)).collect();
    let released = match &command.body {
        CommandBody::Release(_, release) => vec![(org.clone(), release.event_id, release.billing_digest)],
        _ => Vec::new(),
    };
    Needed {
        orgs: [org.clone()].into(),
        events: watched.clone(),
        commands: vec![(org.clone(), command.command_id)],
        watched,
        released,
    }
}

/// Folds the command as the next record of the partition.
fn fold(
    snapshot: Snapshot,
    command: &Command,
    value: &[u8],
    org: &OrgId,
    now: Timestamp,
) -> Result<Answer, CliError> {
    let Snapshot { mut fold, mut past, as_of } = snapshot;
    let state =
        |fold: &fluxori_core::fold::PartitionFold| fold.orgs().find(|state| state.org() == org).cloned();
    let before = state(&fold);
    let booked_at = now.max(as_of.log_time);
    let record = fluxori_wire::decode(Some(org.as_str().as_bytes()), Some(value), booked_at);
    let applied = fold.apply(&mut past, &record).map_err(|error| match error {
        FoldError::Halt(halt) => CliError::from(halt),
        error => CliError::Refused(error.to_string()),
    })?;
    let (rejection, opens_org, released) = match applied.outcome {
        Outcome::Command { rejection, opened, released, .. } => {
            (rejection.map(|rejection| rejection.to_string()), opened, released.len())
        }
        Outcome::Quarantined(quarantined) => {
            let why = format!(
                "it would be put into the quarantine ({}: {})",
                quarantined.reason, quarantined.detail
            );
            (Some(why), false, 0)
        }
        Outcome::Duplicate(_) => (Some("it was given before".to_owned()), false, 0),
        other => return Err(CliError::Refused(format!("no command of an org: {other:?}"))),
    };
    let mut ended = Vec::new();
    fold.drain_touched(|state| ended.extend(state.take_changed()));
    let after = state(&fold);
    Ok(Answer {
        status: if rejection.is_some() { Status::WouldBeRejected } else { Status::WouldApply },
        org_id: org.clone(),
        kind: command.body.kind(),
        rejection,
        as_of,
        booked_at,
        opens_org,
        released,
        postings: applied.postings.iter().map(line).collect(),
        allocations: changes(before.as_ref(), after.as_ref(), &ended),
        sums: Change { before: sums(before.as_ref())?, after: sums(after.as_ref())? },
    })
}

fn line(posting: &Posting) -> Line {
    Line {
        number: posting.number,
        kind: posting.kind.as_str(),
        cause: match posting.cause {
            Cause::Command(..) => "command",
            Cause::Correction(..) => "correction",
            Cause::Usage(_) => "usage",
            Cause::Boundary => "boundary",
        },
        effective_at: posting.effective_at,
        amount: posting.amount,
        entries: posting.entries.clone(),
    }
}

fn sums(state: Option<&OrgState>) -> Result<Option<Sums>, CliError> {
    state.map(|state| Ok(Sums { balance: state.balance()?, overdraft: state.overdraft()? })).transpose()
}

/// The allocations that differ; `ended` are those that are in no state any more.
fn changes(
    before: Option<&OrgState>,
    after: Option<&OrgState>,
    ended: &[Allocation],
) -> Vec<Change<AllocationLine>> {
    let lines = |state: Option<&OrgState>| -> BTreeMap<AllocationId, AllocationLine> {
        let allocations = state.into_iter().flat_map(OrgState::allocations);
        allocations.map(|allocation| (allocation.id, allocation_line(allocation))).collect()
    };
    let (mut before, mut after) = (lines(before), lines(after));
    for allocation in ended {
        after.entry(allocation.id).or_insert_with(|| allocation_line(allocation));
    }
    let ids: Vec<AllocationId> = before.keys().chain(after.keys()).copied().collect();
    let mut changes: Vec<_> = ids
        .into_iter()
        .map(|id| Change { before: before.remove(&id), after: after.remove(&id) })
        .filter(|change| change.before != change.after)
        .collect();
    changes.sort_by_key(|change| {
        let line = change.after.as_ref().or(change.before.as_ref());
        line.map(|line| (line.effective_at, line.allocation_id.clone()))
    });
    changes
}

fn allocation_line(allocation: &Allocation) -> AllocationLine {
    AllocationLine {
        allocation_id: allocation.id.to_string(),
        user_id: allocation.account.user().cloned(),
        kind: allocation.kind.as_str(),
        status: allocation.status.as_str(),
        remaining: allocation.remaining,
        effective_at: allocation.effective_at,
        expires_at: allocation.expires_at,
    }
}

fn text(answer: &Answer) -> String {
    let as_of = &answer.as_of;
    let mut parts = vec![format!(
        "Dry run of {} for {}: nothing was published.\nAs of {} UTC, the log's time (partition {}, offset {}), booked at {} UTC.",
        answer.kind,
        answer.org_id,
        time(Some(as_of.log_time)),
        as_of.partition,
        as_of.next_offset,
        time(Some(answer.booked_at)),
    )];
    if let Some(rejection) = &answer.rejection {
        parts.push(format!("It would be rejected: {rejection}"));
    }
    if answer.opens_org {
        parts.push("It opens the organization.".to_owned());
    }
    if answer.released > 0 {
        parts.push(format!("It lets {} events be charged that wait.", answer.released));
    }
    if answer.postings.is_empty() {
        parts.push("It makes no posting.".to_owned());
        return parts.join("\n");
    }
    parts.push(format!("\n{}", postings(&answer.postings)));
    if !answer.allocations.is_empty() {
        parts.push(format!("\n{}", allocations(&answer.allocations)));
    }
    let of = |part: fn(&Sums) -> Credits| {
        let part = |sums: &Option<Sums>| sums.as_ref().map_or(Credits::ZERO, part).to_string();
        arrow(&part(&answer.sums.before), &part(&answer.sums.after))
    };
    parts.push(format!("\nbalance {}, overdraft {}", of(|sums| sums.balance), of(|sums| sums.overdraft)));
    parts.join("\n")
}

fn postings(lines: &[Line]) -> String {
    let rows = lines.iter().map(|line| {
        [
            line.number.to_string(),
            line.kind.to_owned(),
            line.cause.to_owned(),
            time(Some(line.effective_at)),
            line.amount.to_string(),
            entries(&line.entries),
        ]
    });
    table(["no", "kind", "because of", "effective at", "credits", "entries"], &[0, 4], rows)
}

fn allocations(changes: &[Change<AllocationLine>]) -> String {
    let rows = changes.iter().filter_map(|change| {
        let one = change.after.as_ref().or(change.before.as_ref())?;
        let of = |part: fn(&AllocationLine) -> String| {
            let part = |line: &Option<AllocationLine>| line.as_ref().map_or_else(|| "-".to_owned(), part);
            arrow(&part(&change.before), &part(&change.after))
        };
        Some([
            one.allocation_id.clone(),
            one.user_id.as_ref().map_or_else(|| "(organization)".to_owned(), ToString::to_string),
            one.kind.to_owned(),
            of(|line| line.status.to_owned()),
            of(|line| line.remaining.to_string()),
            of(|line| line.expires_at.map_or_else(|| "never".to_owned(), |at| time(Some(at)))),
        ])
    });
    table(["allocation", "account", "kind", "status", "left", "until"], &[4], rows)
}

/// `before → after`, or the one where they are the same.
fn arrow(before: &str, after: &str) -> String {
    if before == after { after.to_owned() } else { format!("{before} → {after}") }
}
