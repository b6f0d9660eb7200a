use std::fmt;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fluxori_core::id::ProducerId;
use fluxori_core::usage::UsageEvent;
use fluxori_wire::{WireError, encode_usage};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::deliveries::{Counts, Delivered, Deliveries, OrgPartitioner, Waiter};
use crate::error::{EmitError, is_no_topic};
use crate::options::{EmitterOptions, producer_id_of_this_process};

/// Emits usage events into the log. Clones share one queue; one per process is enough.
#[derive(Clone)]
pub struct Emitter(Arc<Inner>);

struct Inner {
    options: EmitterOptions,
    producer_id: ProducerId,
    /// Held while an event is numbered and queued, so that numbers are gapless and in the order of the queue.
    numbering: Mutex<Numbering>,
    producer: ThreadedProducer<Deliveries, OrgPartitioner>,
}

struct Numbering {
    next: i64,
    closed: bool,
}

/// What became of an event that was emitted.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a rejected event is not metered unless the caller does something about it"]
pub enum Emitted {
    /// It waits in memory for the broker.
    Queued,
    /// It was not taken.
    Rejected {
        /// The event, as it was given.
        event: Box<UsageEvent>,
        /// Why.
        reason: EmitError,
    },
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
    /// An emitter; connects in the background, so brokers that are away only fill the queue.
    ///
    /// # Errors
    /// [`EmitError::Setup`] if the options make no sense.
    pub fn new(options: EmitterOptions) -> Result<Self, EmitError> {
        let setup = |reason: String| EmitError::Setup(reason);
        if options.brokers.is_empty() {
            return Err(setup("no brokers are named; set KAFKA_BROKERS=host:port".to_owned()));
        }
        let producer_id = match &options.producer_id {
            Some(id) => id.clone(),
            None => producer_id_of_this_process()?,
        };
        let deliveries = Deliveries::new(&options.brokers, &options.topic);
        let producer = ThreadedProducer::from_config_and_context(&options.producer_config(), deliveries)
            .map_err(|error| setup(error.to_string()))?;
        let numbering = Mutex::new(Numbering { next: 1, closed: false });
        Ok(Self(Arc::new(Inner { options, producer_id, numbering, producer })))
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
    /// The event is stamped with this process' id and its next number, unless it bears a number of another producer
    /// already (it came from a call site elsewhere). Only queued events take a number.
    pub fn emit(&self, event: UsageEvent) -> Emitted {
        match self.enqueue(event, None) {
            Ok(()) => Emitted::Queued,
            Err(rejected) => Emitted::Rejected { event: rejected.event, reason: rejected.reason },
        }
    }

    /// Hands an event over at once, as [`Self::emit`] does, and returns a future that waits until the broker has it.
    ///
    /// # Errors
    /// The future ends with the reason: not queued, or not acknowledged within the delivery timeout. In the latter case
    /// the event may be in the log all the same.
    pub fn emit_acknowledged(
        &self,
        event: UsageEvent,
    ) -> impl Future<Output = Result<Delivered, EmitError>> + Send + use<> {
        let (waiter, acknowledgement) = oneshot::channel();
        let queued = self.enqueue(event, Some(waiter));
        async move {
            queued.map_err(|rejected| rejected.reason)?;
            acknowledgement.await.unwrap_or(Err(EmitError::Closed))
        }
    }

    /// What became of the events so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.deliveries().counts()
    }

    /// The name under which this emitter numbers its events.
    #[must_use]
    pub fn producer_id(&self) -> &ProducerId {
        &self.0.producer_id
    }

    /// How it was set up.
    #[must_use]
    pub fn options(&self) -> &EmitterOptions {
        &self.0.options
    }

    /// Blocks until every event queued so far is acknowledged or given up.
    ///
    /// # Errors
    /// [`EmitError::NotDrained`] if the time is over before.
    pub fn flush(&self, timeout: Duration) -> Result<(), EmitError> {
        match self.0.producer.flush(timeout) {
            Ok(()) => Ok(()),
            Err(_) => Err(EmitError::NotDrained { remaining: self.counts().waiting() }),
        }
    }

    /// Takes no more events and drains the queue, as [`Self::flush`] does. Whatever is still in it when the last clone
    /// of the emitter is dropped is lost.
    ///
    /// # Errors
    /// [`EmitError::NotDrained`] if the time is over before.
    pub fn close(&self, timeout: Duration) -> Result<(), EmitError> {
        self.numbering().closed = true;
        self.flush(timeout)
    }

    fn enqueue(&self, event: UsageEvent, waiter: Waiter) -> Result<(), Rejected> {
        let before = (event.producer_id.clone(), event.producer_seq);
        let mut numbering = self.numbering();
        let own_number = before.1 == 0;
        let event =
            if own_number { event.numbered(self.0.producer_id.clone(), numbering.next) } else { event };
        let sent = if numbering.closed { Err(EmitError::Closed) } else { self.send(&event, waiter) };
        match sent {
            Ok(()) => {
                if own_number {
                    numbering.next += 1;
                }
                Ok(())
            }
            Err(reason) => {
                self.deliveries().rejected.fetch_add(1, Ordering::Relaxed);
                Err(Rejected { event: Box::new(event.numbered(before.0, before.1)), reason })
            }
        }
    }

    fn send(&self, event: &UsageEvent, waiter: Waiter) -> Result<(), EmitError> {
        let value = encode_usage(event).map_err(|error| match error {
            WireError::TooLarge(bytes) => EmitError::TooLarge { bytes },
            other => EmitError::Encoding(other.to_string()),
        })?;
        let options = &self.0.options;
        let record = BaseRecord::with_opaque_to(&options.topic, Box::new(waiter))
            .key(event.org_id.as_str())
            .payload(&value);
        let queued = &self.deliveries().queued;
        // Counted first, because the acknowledgement may come before `send` returns.
        queued.fetch_add(1, Ordering::AcqRel);
        self.0.producer.send(record).map_err(|(error, _)| {
            queued.fetch_sub(1, Ordering::AcqRel);
            refusal(&error, options, value.len())
        })
    }

    fn numbering(&self) -> MutexGuard<'_, Numbering> {
        self.0.numbering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliveries(&self) -> &Deliveries {
        self.0.producer.client().context()
    }
}

struct Rejected {
    event: Box<UsageEvent>,
    reason: EmitError,
}

/// Why librdkafka did not take an event.
fn refusal(error: &KafkaError, options: &EmitterOptions, bytes: usize) -> EmitError {
    if is_no_topic(error) {
        return EmitError::NoTopic { topic: options.topic.clone() };
    }
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => EmitError::QueueFull { queue_events: options.queue_events },
        Some(Code::MessageSizeTooLarge) => EmitError::TooLarge { bytes },
        _ => EmitError::Refused(error.to_string()),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let waiting = self.producer.client().context().counts().waiting();
        if waiting > 0 {
            tracing::warn!(
                waiting,
                "the emitter was dropped with events that were not acknowledged; close it before the process ends"
            );
        }
    }
}
