//! From events to what became of them: the key is for them, the emitter takes them, the broker has them.

use fluxori_core::id::{EventId, LogId};
use fluxori_core::usage::UsageEvent;
use fluxori_emitter::Delivered;
use fluxori_ingest::Rejection;
use fluxori_runtime::auth::Caller;
use fluxori_wire::Position;

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
    /// Our id of an accepted event, else as the caller gave it.
    pub(super) event_id: Option<String>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The broker has it.
    Acknowledged(Delivered),
    /// It will never be taken as it is.
    Rejected(ItemProblem),
    /// The log may or may not have it: send it again as it is, under the same id.
    Unacknowledged(ItemProblem),
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) log_id: LogId,
    pub(super) items: Vec<Answered>,
}

/// How many items came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) accepted: usize,
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
                Outcome::Acknowledged(_) => counts.accepted += 1,
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
        let mut position: Option<Position> = None;
        for item in &self.items {
            if let Outcome::Acknowledged(Delivered { partition, offset }) = item.outcome {
                position
                    .get_or_insert_with(|| Position::of(self.log_id, partition, offset))
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

/// Hands the events over and waits until the broker has them.
pub(super) async fn accept(gateway: &Gateway, log_id: LogId, caller: &Caller, items: Vec<Item>) -> Outcomes {
    // Everything is handed over before the first acknowledgement is waited for, so that a request is one round trip.
    let mut handed_over = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if index % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let waiting = match item.event {
            Ok(event) => match ItemProblem::of_scope(&event, caller) {
                None => Ok((event.event_id, gateway.emitter.emit_acknowledged(event))),
                Some(problem) => Err((Some(event.event_id.to_string()), problem)),
            },
            Err(rejection) => Err((rejection.event_id.clone(), rejection.into())),
        };
        handed_over.push((item.name, waiting));
    }
    let mut items = Vec::with_capacity(handed_over.len());
    for (name, waiting) in handed_over {
        let (event_id, outcome) = match waiting {
            Ok((event_id, acknowledgement)) => {
                let EventId(uuid) = event_id;
                let outcome = match acknowledgement.await {
                    Ok(delivered) => Outcome::Acknowledged(delivered),
                    Err(error) => match ItemProblem::of_event(&error) {
                        Some(problem) => Outcome::Rejected(problem),
                        None => Outcome::Unacknowledged(ItemProblem::unacknowledged(&error)),
                    },
                };
                (Some(uuid.to_string()), outcome)
            }
            Err((event_id, problem)) => (event_id, Outcome::Rejected(problem)),
        };
        items.push(Answered { name, event_id, outcome });
    }
    Outcomes { log_id, items }
}
