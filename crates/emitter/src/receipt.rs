//! Who waits for an event, and what for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fluxori_core::id::EventId;
use tokio::sync::{oneshot, watch};

use crate::deliveries::Delivered;
use crate::emitter::Accepted;
use crate::error::EmitError;

type Answer = Result<Delivered, EmitError>;

/// What an emitted event is waited for with.
#[derive(Debug)]
pub struct Receipt {
    pub(crate) event_id: EventId,
    pub(crate) index: u64,
    pub(crate) spooled: Spooled,
    pub(crate) acknowledgement: Acknowledgement,
    pub(crate) waiting: Arc<Waiting>,
}

impl Drop for Receipt {
    /// While the broker is away, nobody is remembered who does not wait.
    fn drop(&mut self) {
        if matches!(self.acknowledgement, Acknowledgement::Pending(_)) {
            self.waiting.forget(self.index);
        }
    }
}

/// When an event counts as spooled.
#[derive(Debug)]
pub(crate) enum Spooled {
    /// It was when it was emitted.
    Now,
    /// When this index is behind what is on the disk.
    Behind(u64, watch::Receiver<u64>),
    /// Never: it is in memory only.
    Never,
}

/// The broker's answer, now or to come.
#[derive(Debug)]
pub(crate) enum Acknowledgement {
    Pending(oneshot::Receiver<Answer>),
    Known(Answer),
}

impl Receipt {
    /// The event's id.
    #[must_use]
    pub const fn event_id(&self) -> EventId {
        self.event_id
    }

    /// Waits until the event is accepted: in the spool as its durability asks for, or acknowledged by the broker,
    /// whichever comes first. May be given up and called again.
    ///
    /// # Errors
    /// It never will be: the broker refuses it, it was dropped, or the emitter has ended. With events in memory, an outage
    /// that will not mend itself (the topic is missing, say) is told too; the event stays queued then.
    pub async fn accepted(&mut self) -> Result<Accepted, EmitError> {
        match &mut self.spooled {
            Spooled::Now => Ok(Accepted::Spooled),
            Spooled::Never => self.acknowledgement.wait().await.map(Accepted::Acknowledged),
            Spooled::Behind(index, synced) => {
                let mut later = synced.clone();
                let synced = tokio::select! {
                    biased;
                    answer = self.acknowledgement.wait() => match answer {
                        Ok(delivered) => return Ok(Accepted::Acknowledged(delivered)),
                        Err(error @ (EmitError::Dropped | EmitError::Refused(_) | EmitError::Closed)) => return Err(error),
                        // An outage of the broker's is no matter for what is on the disk.
                        Err(_) => behind(*index, &mut later).await,
                    },
                    synced = behind(*index, synced) => synced,
                };
                synced.map(|()| Accepted::Spooled)
            }
        }
    }

    /// Waits until the broker has the event. May be given up and called again.
    ///
    /// # Errors
    /// The broker refuses it, it was dropped, or an outage will not mend itself. In the last case the event still waits for the
    /// broker, and may come into the log later.
    pub async fn acknowledged(&mut self) -> Result<Delivered, EmitError> {
        self.acknowledgement.wait().await
    }
}

/// Waits until an index is behind what is on the disk. What the channel lends is given back at once, because it must not be held
/// by who waits in a task.
async fn behind(index: u64, synced: &mut watch::Receiver<u64>) -> Result<(), EmitError> {
    synced.wait_for(|behind| *behind > index).await.map(drop).map_err(|_| EmitError::Closed)
}

impl Acknowledgement {
    async fn wait(&mut self) -> Answer {
        if let Self::Pending(pending) = self {
            *self = Self::Known(pending.await.unwrap_or(Err(EmitError::Closed)));
        }
        match self {
            Self::Known(answer) => answer.clone(),
            Self::Pending(_) => Err(EmitError::Closed),
        }
    }
}

/// Who waits for which index.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    senders: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// How many, so that nobody takes the lock for nothing.
    count: AtomicUsize,
}

impl Waiting {
    pub(crate) fn register(&self, index: u64) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.senders().insert(index, sender);
        self.count.fetch_add(1, Ordering::Release);
        receiver
    }

    fn forget(&self, index: u64) {
        if self.senders().remove(&index).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn answer(&self, index: u64, answer: impl FnOnce() -> Answer) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let sender = self.senders().remove(&index);
        if let Some(sender) = sender {
            self.count.fetch_sub(1, Ordering::AcqRel);
            // Who waited may have given up.
            _ = sender.send(answer());
        }
    }

    /// Answers everybody who waits for an index below this one.
    pub(crate) fn answer_below(&self, index: u64, error: &EmitError) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let answered: Vec<_> = self.senders().extract_if(|waiting, _| *waiting < index).collect();
        self.count.fetch_sub(answered.len(), Ordering::AcqRel);
        for (_, sender) in answered {
            _ = sender.send(Err(error.clone()));
        }
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
