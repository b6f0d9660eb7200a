//! From events to what became of them: the key is for them, the emitter takes them, disk or broker has them.

use std::time::Duration;

use fluxori_core::id::{EventId, LogId};
use fluxori_core::usage::UsageEvent;
use fluxori_emitter::{Acceptance, Accepted, Delivered, EmitError, Receipt};
use fluxori_ingest::Rejection;
use fluxori_runtime::auth::Caller;
use fluxori_wire::Position;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::refusal::ItemProblem;

/// A long request is handed over without keeping others from the thread for more than so many items.
const ITEMS_AT_ONCE: usize = 100;

/// What a protocol found in a body.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// In the order of the request.
    pub(super) items: Vec<Item>,
    /// How many further ones are no usage by the protocol's own rules.
    pub(super) ignored: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Item {
    /// What the protocol calls it, where that is not the event's id.
    pub(super) name: Option<String>,
    pub(super) event: Result<UsageEvent, Rejection>,
}

impl From<Vec<Result<UsageEvent, Rejection>>> for Items {
    fn from(events: Vec<Result<UsageEvent, Rejection>>) -> Self {
        let items = events.into_iter().map(|event| Item { name: None, event }).collect();
        Self { items, ignored: 0 }
    }
}

/// What became of an item.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) name: Option<String>,
    pub(super) event_id: Option<ItemId>,
    pub(super) outcome: Outcome,
}

/// The id of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum ItemId {
    /// Of an event.
    Event(EventId),
    /// Of what is none, as the caller gave it.
    Given(String),
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The broker has it, or the disk.
    Accepted(Accepted),
    /// It will never be taken as it is.
    Rejected(ItemProblem),
    /// The log may or may not have it: send it again as it is, under the same id.
    Unacknowledged(ItemProblem),
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// The log, once it is known; what is on the disk may be accepted before.
    pub(super) log_id: Option<LogId>,
    pub(super) items: Vec<Answered>,
}

/// How many items came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: usize,
    pub(super) spooled: usize,
    pub(super) rejected: usize,
    pub(super) forbidden: usize,
    pub(super) unacknowledged: usize,
}

impl Outcomes {
    /// Forbidden items are counted among the rejected ones, too.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for item in &self.items {
            match &item.outcome {
                Outcome::Accepted(Accepted::Acknowledged(_)) => counts.acknowledged += 1,
                Outcome::Accepted(Accepted::Spooled) => counts.spooled += 1,
                Outcome::Rejected(problem) => {
                    counts.rejected += 1;
                    counts.forbidden += usize::from(problem.is_forbidden());
                }
                Outcome::Unacknowledged(_) => counts.unacknowledged += 1,
            }
        }
        counts
    }

    /// Where the log has all that was acknowledged.
    pub(super) fn position(&self) -> Option<Position> {
        let log_id = self.log_id?;
        let mut position: Option<Position> = None;
        for item in &self.items {
            if let Outcome::Accepted(Accepted::Acknowledged(Delivered { partition, offset })) = item.outcome {
                position
                    .get_or_insert_with(|| Position::of(log_id, partition, offset))
                    .include(partition, offset);
            }
        }
        position
    }

    /// The problem of the first item that was rejected.
    pub(super) fn first_rejected(&self) -> Option<&ItemProblem> {
        self.items.iter().find_map(|item| match &item.outcome {
            Outcome::Rejected(problem) => Some(problem),
            _ => None,
        })
    }
}

/// How long a request is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// So long for the broker, although the disk has the event: the caller wants its position.
    pub(super) for_position: Option<Duration>,
    /// So long until it is accepted at all.
    pub(super) at_most: Duration,
}

/// Hands the events over and waits until they are accepted.
pub(super) async fn accept(
    gateway: &Gateway,
    caller: &Caller,
    items: Vec<Item>,
    patience: Patience,
) -> Outcomes {
    let begin = Instant::now();
    let for_position = patience.for_position.map(|patience| begin + patience);
    // Everything is handed over before the first is waited for, so that a request is one round trip.
    let mut handed_over = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if index % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        handed_over.push((item.name, hand_over(gateway, caller, item.event, for_position)));
    }
    let mut items = Vec::with_capacity(handed_over.len());
    for (name, waiting) in handed_over {
        let (event_id, outcome) = waiting.outcome(begin + patience.at_most).await;
        items.push(Answered { name, event_id, outcome });
    }
    Outcomes { log_id: gateway.log.get().copied(), items }
}

enum Waiting {
    /// For the event's place in the log, and if that takes too long until it is accepted.
    Position(Receipt, Instant),
    Acceptance(Acceptance),
    /// It has come to something already.
    No(Option<ItemId>, Outcome),
}

fn hand_over(
    gateway: &Gateway,
    caller: &Caller,
    event: Result<UsageEvent, Rejection>,
    for_position: Option<Instant>,
) -> Waiting {
    let event = match event {
        Ok(event) => event,
        Err(rejection) => {
            let given = rejection.event_id.clone().map(ItemId::Given);
            return Waiting::No(given, Outcome::Rejected(rejection.into()));
        }
    };
    let event_id = Some(ItemId::Event(event.event_id));
    if let Some(problem) = ItemProblem::of_scope(&event, caller) {
        return Waiting::No(event_id, Outcome::Rejected(problem));
    }
    let emitter = &gateway.emitter;
    let handed_over = match for_position {
        Some(deadline) => emitter.emit_tracked(event).map(|receipt| Waiting::Position(receipt, deadline)),
        None => emitter.emit_accepted(event).map(Waiting::Acceptance),
    };
    handed_over.unwrap_or_else(|rejected| Waiting::No(event_id, failed(&rejected.reason)))
}

impl Waiting {
    async fn outcome(self, at_most: Instant) -> (Option<ItemId>, Outcome) {
        let (event_id, accepted) = match self {
            Self::No(event_id, outcome) => return (event_id, outcome),
            Self::Position(mut receipt, deadline) => {
                let event_id = receipt.event_id();
                match timeout_at(deadline, receipt.acknowledged()).await {
                    Ok(Ok(delivered)) => (event_id, Ok(Ok(Accepted::Acknowledged(delivered)))),
                    _ => (event_id, timeout_at(at_most, receipt.accepted()).await),
                }
            }
            Self::Acceptance(mut acceptance) => {
                (acceptance.event_id(), timeout_at(at_most, acceptance.accepted()).await)
            }
        };
        let outcome = match accepted {
            Ok(Ok(accepted)) => Outcome::Accepted(accepted),
            Ok(Err(error)) => failed(&error),
            Err(_) => Outcome::Unacknowledged(ItemProblem::too_slow()),
        };
        (Some(ItemId::Event(event_id)), outcome)
    }
}

fn failed(error: &EmitError) -> Outcome {
    match ItemProblem::of_event(error) {
        Some(problem) => Outcome::Rejected(problem),
        None => Outcome::Unacknowledged(ItemProblem::unacknowledged(error)),
    }
}
