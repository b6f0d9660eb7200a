use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fluxori_core::id::ProducerId;
use fluxori_core::usage::UsageEvent;
use tokio::sync::watch;

use crate::deliveries::Delivered;
use crate::error::EmitError;
use crate::options::{Durability, EmitterOptions, new_producer_id, no_brokers};
use crate::origin::Origin;
use crate::receipt::{Acceptance, Acknowledgement, Receipt, Spooled, Waiting};
use crate::sender::{Sender, Sent};
use crate::spool::{Backlog, Spool, take_slots};
use crate::syncer::Syncer;
use crate::wake::Wake;

/// How often [`Emitter::flush`] looks.
const LOOK: Duration = Duration::from_millis(1);

/// Emits usage events into the log. Clones share one spool; one per process is enough.
///
/// The threads behind it do not follow a `fork`: in a child every event is rejected with [`EmitError::Forked`]. Make the emitter
/// in the process that uses it.
#[derive(Clone)]
pub struct Emitter(Arc<Inner>);

struct Inner {
    origin: Origin,
    options: EmitterOptions,
    producer_id: ProducerId,
    spool: Arc<Spool>,
    /// What this process took, and gave back.
    emitted: AtomicU64,
    rejected: AtomicU64,
    recovered: u64,
    waiting: Arc<Waiting>,
    sent: Arc<Sent>,
    synced: Option<watch::Receiver<u64>>,
    /// Of the threads that have something to do when an event has come.
    wakes: Vec<Arc<Wake>>,
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What became of an event that was emitted.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a rejected event is not metered unless the caller does something about it"]
pub enum Emitted {
    /// It will be in the log, whatever becomes of this process.
    Accepted(Accepted),
    /// It was taken, and is not yet accepted: it waits in memory for the broker, or, with [`Durability::Power`], for the disk.
    /// [`Emitter::emit_accepted`] tells when it is.
    Queued,
    /// It was not taken.
    Rejected {
        /// The event, as it was given.
        event: Box<UsageEvent>,
        /// Why.
        reason: EmitError,
    },
}

/// Why an event counts as accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The broker has it.
    Acknowledged(Delivered),
    /// It is in the spool on disk, as the spool's [`Durability`] asks for.
    Spooled,
}

/// An event that was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected {
    /// The event, as it was given.
    pub event: Box<UsageEvent>,
    /// Why.
    pub reason: EmitError,
}

/// What became of the events so far. `recovered`, `acknowledged` and `damaged` include what earlier processes left, in slots beside
/// this emitter's too; everything else is of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Taken from callers.
    pub emitted: u64,
    /// Found in the spool at the start.
    pub recovered: u64,
    /// The broker has them.
    pub acknowledged: u64,
    /// Dropped to make room for later ones, before the broker had them.
    pub dropped: u64,
    /// Not whole on the disk.
    pub damaged: u64,
    /// Given back to callers.
    pub rejected: u64,
    /// Not yet acknowledged by the broker.
    pub waiting: u64,
    /// Bytes that the spool takes, on disk or in memory.
    pub spool_bytes: u64,
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter")
            .field("topic", &self.0.options.topic)
            .field("producer_id", &self.0.producer_id)
            .finish_non_exhaustive()
    }
}

impl Emitter {
    /// An emitter. Opens the spool and begins to send what an earlier process left; connects in the background, so brokers that are
    /// away only fill the spool.
    ///
    /// # Errors
    /// [`EmitError::Setup`] if the options make no sense, [`EmitError::Spool`] if the folder cannot be used.
    pub fn new(options: EmitterOptions) -> Result<Self, EmitError> {
        if options.brokers.is_empty() {
            return Err(no_brokers());
        }
        // Wrong options are said here, and not by a thread.
        options
            .producer_config()
            .create_native_config()
            .map_err(|error| EmitError::Setup(error.to_string()))?;
        let (spool, recovered, left) = open(&options)?;
        let (sent, waiting) = (Arc::<Sent>::default(), Arc::<Waiting>::default());
        let (sender_wake, syncer_wake) = (Arc::<Wake>::default(), Arc::<Wake>::default());
        let origin = Origin::here().map_err(|error| EmitError::Setup(format!("no memory: {error}")))?;
        let mut inner = Inner {
            origin,
            producer_id: spool.producer_id(),
            spool: Arc::clone(&spool),
            emitted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            recovered,
            waiting: Arc::clone(&waiting),
            sent: Arc::clone(&sent),
            synced: None,
            wakes: vec![Arc::clone(&sender_wake)],
            stop: Arc::new(AtomicBool::new(false)),
            threads: Mutex::default(),
            options,
        };
        let sender = |spool, waiting, wake, drains| Sender {
            options: inner.options.clone(),
            spool,
            waiting,
            sent: Arc::clone(&sent),
            wake,
            stop: Arc::clone(&inner.stop),
            drains,
        };
        let own = sender(Arc::clone(&spool), waiting, sender_wake, false);
        let others: Vec<_> = left
            .into_iter()
            .map(|spool| sender(Arc::new(spool), Arc::default(), Arc::default(), true))
            .collect();
        // What was started is stopped by `Inner`, should another thread not start.
        inner.spawn("emitter-send", move || own.run())?;
        if !others.is_empty() {
            inner.spawn("emitter-drain", move || others.into_iter().for_each(Sender::run))?;
        }
        if spool.is_on_disk() {
            let synced = (inner.options.spool.durability == Durability::Power).then(|| watch::channel(0));
            let (index, receiver) = synced.unzip();
            let syncer = Syncer {
                spool,
                synced: index,
                wake: Arc::clone(&syncer_wake),
                stop: Arc::clone(&inner.stop),
            };
            inner.spawn("emitter-disk", move || syncer.run())?;
            inner.synced = receiver;
            inner.wakes.push(syncer_wake);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// An emitter with [`EmitterOptions::from_env`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_env() -> Result<Self, EmitError> {
        Self::new(EmitterOptions::from_env()?)
    }

    /// Hands an event over and returns at once, whatever the state of the broker.
    ///
    /// The event is stamped with this producer's id and its next number, unless it bears a number of another producer
    /// already (it came from a call site elsewhere). Only events that are taken take a number.
    pub fn emit(&self, event: UsageEvent) -> Emitted {
        match self.append(event, |_| ()) {
            Ok(_) if self.0.spool.is_on_disk() && self.0.synced.is_none() => {
                Emitted::Accepted(Accepted::Spooled)
            }
            Ok(_) => Emitted::Queued,
            Err(Rejected { event, reason }) => Emitted::Rejected { event, reason },
        }
    }

    /// Hands an event over at once, as [`Self::emit`] does, and returns what to wait with until it is accepted, or acknowledged.
    ///
    /// # Errors
    /// It was not taken.
    pub fn emit_tracked(&self, event: UsageEvent) -> Result<Receipt, Rejected> {
        let event_id = event.event_id;
        let mut pending = None;
        let index = self.append(event, |index| pending = Some(self.0.waiting.register(index)))?;
        let acknowledgement =
            pending.map_or(Acknowledgement::Known(Err(EmitError::Closed)), Acknowledgement::Pending);
        let spooled = self.spooled(index);
        Ok(Receipt { event_id, index, spooled, acknowledgement, waiting: Arc::clone(&self.0.waiting) })
    }

    /// Hands an event over at once, as [`Self::emit`] does, and returns what to wait with until it is accepted. Costs less than
    /// [`Self::emit_tracked`], because nobody need be remembered until the broker answers where there is a spool on disk.
    ///
    /// # Errors
    /// It was not taken.
    pub fn emit_accepted(&self, event: UsageEvent) -> Result<Acceptance, Rejected> {
        if !self.0.spool.is_on_disk() {
            return self.emit_tracked(event).map(Acceptance::of_broker);
        }
        let event_id = event.event_id;
        let index = self.append(event, |_| ())?;
        Ok(Acceptance::of_spool(event_id, self.spooled(index)))
    }

    /// Hands an event over at once, as [`Self::emit`] does, and returns a future that waits until the broker has it.
    ///
    /// # Errors
    /// Not taken, or as [`Receipt::acknowledged`].
    pub fn emit_acknowledged(
        &self,
        event: UsageEvent,
    ) -> impl Future<Output = Result<Delivered, EmitError>> + Send + use<> {
        let receipt = self.emit_tracked(event);
        async move {
            match receipt {
                Ok(mut receipt) => receipt.acknowledged().await,
                Err(rejected) => Err(rejected.reason),
            }
        }
    }

    /// What became of the events so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Inner { spool, sent, .. } = &*self.0;
        Counts {
            emitted: self.0.emitted.load(Ordering::Relaxed),
            recovered: self.0.recovered,
            acknowledged: sent.acknowledged.load(Ordering::Relaxed),
            dropped: spool.dropped(),
            damaged: sent.damaged.load(Ordering::Relaxed),
            rejected: self.0.rejected.load(Ordering::Relaxed),
            waiting: spool.waiting(),
            spool_bytes: self.0.check_origin().map_or(0, |()| spool.bytes()),
        }
    }

    /// The name under which this emitter numbers its events; a spool on disk keeps it from one process to the next.
    #[must_use]
    pub fn producer_id(&self) -> &ProducerId {
        &self.0.producer_id
    }

    /// How it was set up.
    #[must_use]
    pub fn options(&self) -> &EmitterOptions {
        &self.0.options
    }

    /// Blocks until the broker has every event taken so far (or will never take it).
    ///
    /// # Errors
    /// [`EmitError::NotDrained`] if the time is over before, [`EmitError::Forked`] in a child of the process that made it.
    pub fn flush(&self, timeout: Duration) -> Result<(), EmitError> {
        self.0.check_origin()?;
        let (end, deadline) = (self.0.spool.end(), Instant::now() + timeout);
        loop {
            let frontier = self.0.spool.frontier();
            if frontier >= end {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let spooled = self.0.spool.is_on_disk();
                return Err(EmitError::NotDrained { remaining: end - frontier, spooled });
            }
            self.0.wake();
            std::thread::sleep(LOOK);
        }
    }

    /// Takes no more events and waits for the broker, as [`Self::flush`] does. What it does not have by then is lost with the
    /// process if it waits in memory, and sent by the next process if it is in a folder.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn close(&self, timeout: Duration) -> Result<(), EmitError> {
        self.0.check_origin()?;
        self.0.spool.close();
        self.flush(timeout)
    }

    fn spooled(&self, index: u64) -> Spooled {
        match &self.0.synced {
            Some(synced) => Spooled::Behind(index, synced.clone()),
            None if self.0.spool.is_on_disk() => Spooled::Now,
            None => Spooled::Never,
        }
    }

    fn append(&self, event: UsageEvent, register: impl FnOnce(u64)) -> Result<u64, Rejected> {
        let appended = self.0.check_origin().and_then(|()| self.0.spool.append(&event, register));
        match appended {
            Ok(index) => {
                self.0.emitted.fetch_add(1, Ordering::Relaxed);
                self.0.wake();
                Ok(index)
            }
            Err(reason) => {
                self.0.rejected.fetch_add(1, Ordering::Relaxed);
                Err(Rejected { event: Box::new(event), reason })
            }
        }
    }
}

/// The spool, how many records it held, and what other processes left in slots beside it.
fn open(options: &EmitterOptions) -> Result<(Arc<Spool>, u64, Vec<Spool>), EmitError> {
    let settings = options.spool.settings()?;
    let wanted = options.producer_id.as_ref();
    let Some(folder) = &options.spool.folder else {
        let producer_id = wanted.cloned().map_or_else(new_producer_id, Ok)?;
        return Ok((Arc::new(Spool::in_memory(settings, producer_id)), 0, Vec::new()));
    };
    let failed = |error: std::io::Error| EmitError::Spool(format!("{}: {error}", folder.display()));
    let (own, others) = take_slots(folder, &options.topic, options.genesis).map_err(failed)?;
    let (spool, backlog) = Spool::open(settings, own, wanted, new_producer_id()?).map_err(failed)?;
    tell(&spool, backlog);
    let mut recovered = backlog.records;
    let mut left = Vec::new();
    for other in others {
        let path = other.path().to_owned();
        match Spool::open(settings, other, None, new_producer_id()?) {
            Ok((spool, backlog)) if backlog.records > 0 => {
                tell(&spool, backlog);
                recovered += backlog.records;
                left.push(spool);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(slot = %path.display(), %error, "what another process left cannot be read")
            }
        }
    }
    Ok((Arc::new(spool), recovered, left))
}

fn tell(spool: &Spool, backlog: Backlog) {
    let Backlog { records, damaged, torn, unreadable: _ } = backlog;
    if records > 0 || damaged > 0 || torn {
        let path = spool.path();
        tracing::info!(records, damaged, torn, spool = %path.display(), "an earlier process left usage events in the spool");
    }
}

impl Inner {
    /// A child shares the spool's pages, and may have been forked while a lock was held: it touches neither.
    fn check_origin(&self) -> Result<(), EmitError> {
        if self.origin.is_here() { Ok(()) } else { Err(EmitError::Forked) }
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), EmitError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| EmitError::Setup(format!("no thread: {error}")))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn wake(&self) {
        Wake::wake_all(&self.wakes);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.check_origin().is_err() {
            return;
        }
        let waiting = self.spool.waiting();
        if waiting > 0 && !self.spool.is_on_disk() {
            tracing::warn!(
                waiting,
                "the emitter was dropped with events that were not acknowledged; close it before the process ends"
            );
        }
        self.stop.store(true, Ordering::Release);
        self.wake();
        // The lock on the spool ends with the threads.
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the emitter has panicked");
            }
        }
    }
}
