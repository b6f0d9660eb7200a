//! Commands that reprice: packed, published, and waited for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fluxori_core::command::{Command, CommandBody, MAX_REPRICED, Reprice};
use fluxori_core::digest::Digest;
use fluxori_core::fold::LogIdentity;
use fluxori_core::id::{CommandId, EventId, LogId, OrgId, RevisionId};
use fluxori_core::record::partition_of;
use fluxori_core::time::Timestamp;
use fluxori_ledger::Ledger;
use fluxori_stream::{Delivery, LogReader, Publisher, StreamError};
use fluxori_wire::{Issuer, encode_payload};
use uuid::Uuid;

use super::{RepriceArguments, SayingArguments};
use crate::command::{POLL, accepted, wait};
use crate::error::CliError;
use crate::session::{Session, watermarks};

/// Most commands that are in the log and not in the ledger.
const UNDER_WAY: usize = 64;

/// Packs charges of one org after the other into commands.
pub(super) struct Giver<'run> {
    arguments: &'run RepriceArguments,
    log_id: LogId,
    partitions: i32,
    issuer: Issuer,
    publisher: Publisher,
    ledger: Ledger,
    /// The org whose charges these are, and when the revision was sealed in its partition.
    pack: Option<(OrgId, Timestamp)>,
    events: Vec<(EventId, i32)>,
    under_way: VecDeque<(OrgId, CommandId, Delivery)>,
    done: u64,
}

impl<'run> Giver<'run> {
    pub(super) async fn new(
        session: &Session,
        log: &LogIdentity,
        arguments: &'run RepriceArguments,
    ) -> Result<Self, CliError> {
        Ok(Self {
            arguments,
            log_id: log.genesis.log_id,
            partitions: log.genesis.partitions,
            issuer: session.issuer(log)?,
            publisher: session.publisher()?,
            ledger: session.ledger().await?,
            pack: None,
            events: Vec::new(),
            under_way: VecDeque::new(),
            done: 0,
        })
    }

    /// Adds a charge that changes.
    pub(super) async fn add(
        &mut self,
        org: &OrgId,
        event: (EventId, i32),
        sealed_at: Timestamp,
    ) -> Result<(), CliError> {
        if self.pack.as_ref().is_some_and(|(packed, _)| packed != org) {
            self.publish().await?;
        }
        self.pack.get_or_insert_with(|| (org.clone(), sealed_at));
        self.events.push(event);
        if self.events.len() >= MAX_REPRICED { self.publish().await } else { Ok(()) }
    }

    /// Publishes what is left and waits for all. How many commands there were.
    pub(super) async fn finish(mut self) -> Result<u64, CliError> {
        self.publish().await?;
        while self.settle_oldest().await? {}
        Ok(self.done)
    }

    async fn publish(&mut self) -> Result<(), CliError> {
        let Some((org, sealed_at)) = self.pack.take() else { return Ok(()) };
        let events = std::mem::take(&mut self.events);
        let RepriceArguments { revision, saying, .. } = self.arguments;
        let command = command(self.log_id, &org, (revision, sealed_at), events, saying)?;
        let value = self.issuer.sign(&command)?;
        let partition = partition_of(org.as_str().as_bytes(), self.partitions);
        if self.under_way.len() >= UNDER_WAY {
            self.settle_oldest().await?;
        }
        let delivery = loop {
            match self.publisher.enqueue(partition, org.as_str().as_bytes(), &value) {
                Err(StreamError::QueueFull) => tokio::time::sleep(POLL).await,
                delivery => break delivery?,
            }
        };
        self.under_way.push_back((org, command.command_id, delivery));
        Ok(())
    }

    /// Waits for the oldest command under way; says whether there was one.
    async fn settle_oldest(&mut self) -> Result<bool, CliError> {
        let Some((org, id, delivery)) = self.under_way.pop_front() else { return Ok(false) };
        let place = delivery.await?;
        let waiting = &self.arguments.waiting;
        if !waiting.no_wait {
            let outcome = wait(&self.ledger, &org, id, place, Instant::now() + waiting.timeout).await?;
            accepted(outcome).map_err(|error| {
                CliError::Rejected(format!(
                    "{error} (org {org}). {} commands before it were carried out; when that is mended, give it again with another --reason: it \
                     goes on with what is left",
                    self.done
                ))
            })?;
        }
        self.done += 1;
        Ok(true)
    }
}

/// The command that reprices these charges. It is as of when the revision was sealed, and its id follows from all that it
/// says: the same one, made again, is the same bytes.
fn command(
    log_id: LogId,
    org: &OrgId,
    (rates, sealed_at): (&RevisionId, Timestamp),
    events: Vec<(EventId, i32)>,
    saying: &SayingArguments,
) -> Result<Command, CliError> {
    let draft = Command {
        command_id: CommandId(Uuid::nil()),
        issued_at: sealed_at,
        actor: saying.actor.clone(),
        reason: saying.reason.clone(),
        reference: saying.reference.clone(),
        body: CommandBody::Reprice(org.clone(), Reprice { rates: rates.clone(), events }),
    };
    let said = Digest::of(&encode_payload(&draft)?);
    let command_id = CommandId(Uuid::new_v5(&log_id.0, &[&b"reprice/"[..], &said.0].concat()));
    Ok(Command { command_id, ..draft })
}

/// Waits until the ledger has come to all that the log holds by now.
pub(super) async fn catch_up(
    ledger: &Ledger,
    reader: &LogReader,
    partitions: i32,
    timeout: Duration,
) -> Result<(), CliError> {
    let deadline = Instant::now() + timeout;
    for partition in 0..partitions {
        let high = watermarks(reader, partition).await?.high;
        loop {
            let cursors = ledger.cursors().await?;
            let cursor = cursors.iter().find(|cursor| cursor.partition == partition);
            let next = cursor.map_or(0, |cursor| cursor.cursor.next_offset);
            if next >= high {
                break;
            }
            if Instant::now() >= deadline {
                return Err(CliError::Refused(format!(
                    "the ledger is at offset {next} of partition {partition} and the log at {high}: nothing was published. \
                     Is ledger-consumer running? Give it again when the ledger has caught up, or a longer --timeout"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_charges_make_the_same_command_and_any_other_makes_another() {
        let (org, rates) = ("acme".parse().unwrap(), "2026-12".parse().unwrap());
        let saying = |reason: &str| SayingArguments {
            reason: reason.to_owned(),
            reference: None,
            actor: "ops".to_owned(),
        };
        let of = |revision, reason| {
            let events = vec![(EventId(Uuid::from_u128(1)), revision)];
            command(LogId(Uuid::nil()), &org, (&rates, Timestamp::default()), events, &saying(reason))
                .unwrap()
        };
        assert_eq!(of(1, "new price"), of(1, "new price"));
        assert_ne!(of(1, "new price").command_id, of(2, "new price").command_id);
        assert_ne!(of(1, "new price").command_id, of(1, "another").command_id);
    }
}
