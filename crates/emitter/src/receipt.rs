//! Who waits for an event, and what for.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

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

    /// Blocks until the broker has the event: [`Self::acknowledged`] for code without a runtime. May be called again.
    ///
    /// # Errors
    /// As there, and [`EmitError::NotDrained`] if the time is over before.
    pub fn wait(&mut self, timeout: Duration) -> Result<Delivered, EmitError> {
        let deadline = Instant::now() + timeout;
        let spooled = matches!(self.spooled, Spooled::Now);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut answer = pin!(self.acknowledged());
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(EmitError::NotDrained { remaining: 1, spooled });
            }
            thread::park_timeout(left);
        }
    }
}

/// What an emitted event is waited for with, until it is accepted and no longer.
#[derive(Debug)]
pub struct Acceptance(Accepting);

#[derive(Debug)]
enum Accepting {
    /// In the spool on disk, as its durability asks for.
    Spool(EventId, Spooled),
    /// At the broker, because there is no disk.
    Broker(Receipt),
}

impl Acceptance {
    pub(crate) const fn of_spool(event_id: EventId, spooled: Spooled) -> Self {
        Self(Accepting::Spool(event_id, spooled))
    }

    pub(crate) const fn of_broker(receipt: Receipt) -> Self {
        Self(Accepting::Broker(receipt))
    }

    /// The event's id.
    #[must_use]
    pub const fn event_id(&self) -> EventId {
        match &self.0 {
            Accepting::Spool(event_id, _) => *event_id,
            Accepting::Broker(receipt) => receipt.event_id,
        }
    }

    /// Waits as [`Receipt::accepted`] does. Where there is a disk it says spooled of what the broker has by then, too; and, if the
    /// policy is to drop the oldest, of what was dropped by then.
    ///
    /// # Errors
    /// As there.
    pub async fn accepted(&mut self) -> Result<Accepted, EmitError> {
        match &mut self.0 {
            Accepting::Spool(_, Spooled::Behind(index, synced)) => {
                behind(*index, synced).await.map(|()| Accepted::Spooled)
            }
            Accepting::Spool(..) => Ok(Accepted::Spooled),
            Accepting::Broker(receipt) => receipt.accepted().await,
        }
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_for_the_broker_no_longer_than_it_wants() {
        let waiting = Arc::<Waiting>::default();
        let mut receipt = Receipt {
            event_id: EventId(uuid::Uuid::nil()),
            index: 7,
            spooled: Spooled::Never,
            acknowledgement: Acknowledgement::Pending(waiting.register(7)),
            waiting: Arc::clone(&waiting),
        };
        let too_short = receipt.wait(Duration::from_millis(5));
        assert_eq!(too_short, Err(EmitError::NotDrained { remaining: 1, spooled: false }));
        let delivered = Delivered { partition: 3, offset: 42 };
        let waited = thread::scope(|scope| {
            let waits = scope.spawn(|| receipt.wait(Duration::from_secs(60)));
            waiting.answer(7, || Ok(delivered));
            waits.join().unwrap()
        });
        assert_eq!(waited, Ok(delivered));
        assert_eq!(receipt.wait(Duration::ZERO), Ok(delivered), "it may be asked again");
    }
}
