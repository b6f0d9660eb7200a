//! From the spool to the broker: one thread that reads, sends, hears what became of it, and moves the frontier.
//!
//! When the broker says that it does not take the records for now (no topic, no permission, a client beyond repair), the client
//! is thrown away and everything behind the frontier is sent again by a new one: duplicates are harmless, gaps are not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::deliveries::{Delivered, Deliveries, OrgPartitioner, Report};
use crate::error::{EmitError, is_no_topic};
use crate::identity::log_identity;
use crate::options::EmitterOptions;
use crate::receipt::Waiting;
use crate::spool::{Frame, Item, Reader, Spool};
use crate::wake::Wake;

type Client = BaseProducer<Deliveries, OrgPartitioner>;

/// Most records that the client library holds at a time.
const MAX_IN_FLIGHT: usize = 65_536;
/// So many are sent before reports are looked at.
const BURST: usize = 512;
/// How long reports are waited for when there is nothing to send.
const POLL: Duration = Duration::from_millis(1);
/// After so long without work the thread sleeps until it is woken.
const BUSY: Duration = Duration::from_millis(200);
/// How long it sleeps then at most.
const SLEEP: Duration = Duration::from_millis(500);
/// How long a broker that does not take the records is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the log's first record is waited for.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);
/// The cursor is written at most so often while records are under way.
const CURSOR_INTERVAL: Duration = Duration::from_millis(10);

/// What the sender has counted.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

/// Sends a spool's records.
pub(crate) struct Sender {
    pub(crate) options: EmitterOptions,
    pub(crate) spool: Arc<Spool>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) sent: Arc<Sent>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Ends when the spool is empty: nobody appends to it any more.
    pub(crate) drains: bool,
}

/// The broker, or the client, does not take records for now.
struct Fault(EmitError);

/// What is under way: for each index from the frontier on, whether it is done.
struct InFlight {
    frontier: u64,
    done: VecDeque<bool>,
    sent: usize,
    last_cursor: Instant,
    reports: Vec<Report>,
}

impl Sender {
    /// Runs until it is stopped, or the spool is drained.
    pub(crate) fn run(self) {
        let mut in_flight = InFlight {
            frontier: self.spool.frontier(),
            done: VecDeque::new(),
            sent: 0,
            last_cursor: Instant::now(),
            reports: Vec::new(),
        };
        let mut told = false;
        while let Err(Fault(error)) = self.flow(&mut in_flight) {
            if !std::mem::replace(&mut told, true) {
                tracing::error!(topic = self.options.topic, "usage events wait, and are sent again: {error}");
            }
            self.waiting.answer_below(u64::MAX, &error);
            let until = Instant::now() + PAUSE;
            while Instant::now() < until && !self.is_stopped() {
                std::thread::sleep(POLL * 10);
            }
            // A fault that lasts must not hold up the end.
            if self.is_stopped() {
                break;
            }
        }
        self.write_cursor(&mut in_flight);
        self.spool.tidy();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sends with one client, until it is stopped or cannot go on.
    fn flow(&self, in_flight: &mut InFlight) -> Result<(), Fault> {
        if let Some(pinned) = self.options.genesis {
            log_identity(&self.options, Some(pinned), IDENTITY_TIMEOUT).map_err(Fault)?;
        }
        let context = Deliveries::new(&self.options.brokers);
        let client = Client::from_config_and_context(&self.options.producer_config(), context)
            .map_err(|error| Fault(EmitError::Refused(error.to_string())))?;
        let mut reader = Reader::new(&self.spool, in_flight.frontier);
        let mut worked = Instant::now();
        in_flight.sent = 0;
        loop {
            if self.is_stopped() || (self.drains && self.spool.waiting() == 0) {
                return Ok(());
            }
            self.skip_dropped(in_flight);
            let sent = self.send(&client, &mut reader, in_flight)?;
            client.poll(Duration::ZERO);
            let settled = self.settle(&client, in_flight)?;
            if !self.drains {
                self.spool.prepare();
            }
            if sent > 0 || settled > 0 {
                worked = Instant::now();
            } else if in_flight.sent > 0 {
                client.poll(POLL);
            } else {
                self.write_cursor(in_flight);
                if worked.elapsed() < BUSY {
                    std::thread::sleep(POLL);
                } else {
                    self.wake.sleep(SLEEP, || self.spool.waiting() == 0 && !self.is_stopped());
                }
            }
        }
    }

    /// What was dropped to make room needs no answer any more.
    fn skip_dropped(&self, in_flight: &mut InFlight) {
        let frontier = self.spool.frontier();
        if frontier > in_flight.frontier {
            let gone = usize::try_from(frontier - in_flight.frontier).unwrap_or(usize::MAX);
            in_flight.done.drain(..gone.min(in_flight.done.len()));
            in_flight.frontier = frontier;
            self.waiting.answer_below(frontier, &EmitError::Dropped);
        }
    }

    fn send(&self, client: &Client, reader: &mut Reader, in_flight: &mut InFlight) -> Result<usize, Fault> {
        let mut sent = 0;
        while sent < BURST && in_flight.has_room_for(reader.index()) {
            let Some((index, item)) = reader.next(&self.spool) else { break };
            if in_flight.begin(index) {
                continue;
            }
            match item {
                Item::Record(frame) => {
                    if !self.hand_over(client, index, &frame)? {
                        break;
                    }
                    in_flight.sent += 1;
                    sent += 1;
                }
                Item::Damaged => {
                    tracing::error!(
                        index,
                        spool = %self.spool.path().display(),
                        "a record of the spool is not whole on the disk, and passed over; one that was accepted never is after a loss \
                         of power with durability `power`, so if that is not what happened the disk is at fault"
                    );
                    self.sent.damaged.fetch_add(1, Ordering::Relaxed);
                    in_flight.finish(index);
                }
            }
        }
        Ok(sent)
    }

    /// Gives a record to the client library, when it has room; false if we are stopped before.
    fn hand_over(&self, client: &Client, index: u64, frame: &Frame<'_>) -> Result<bool, Fault> {
        let opaque = usize::try_from(index).unwrap_or(usize::MAX);
        let mut record =
            BaseRecord::with_opaque_to(&self.options.topic, opaque).key(frame.key).payload(frame.value);
        loop {
            match client.send(record) {
                Ok(()) => return Ok(true),
                Err((error, back)) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                    if self.is_stopped() {
                        return Ok(false);
                    }
                    client.poll(POLL);
                    record = back;
                }
                Err((error, _)) => return Err(self.fault(&error)),
            }
        }
    }

    /// Hears the reports, moves the frontier; says how many there were.
    fn settle(&self, client: &Client, in_flight: &mut InFlight) -> Result<usize, Fault> {
        let mut reports = std::mem::take(&mut in_flight.reports);
        client.client().context().take(&mut reports);
        let settled = reports.len();
        let mut fault = None;
        for Report { index, result } in reports.drain(..) {
            in_flight.sent = in_flight.sent.saturating_sub(1);
            match result {
                Ok(delivered) => self.acknowledged(index, delivered, in_flight),
                Err(error) if is_about_the_record(&error) => self.refused(index, &error, in_flight),
                Err(error) => fault = fault.or_else(|| Some(self.fault(&error))),
            }
        }
        in_flight.reports = reports;
        if in_flight.advance() {
            self.spool.advance(in_flight.frontier);
            if in_flight.last_cursor.elapsed() > CURSOR_INTERVAL {
                self.write_cursor(in_flight);
            }
        }
        fault.map_or(Ok(settled), Err)
    }

    fn acknowledged(&self, index: u64, delivered: Delivered, in_flight: &mut InFlight) {
        self.sent.acknowledged.fetch_add(1, Ordering::Relaxed);
        in_flight.finish(index);
        self.waiting.answer(index, || Ok(delivered));
    }

    /// A record that the broker will never take does not hold up the others.
    fn refused(&self, index: u64, error: &KafkaError, in_flight: &mut InFlight) {
        self.sent.refused.fetch_add(1, Ordering::Relaxed);
        let mut reader = Reader::new(&self.spool, index);
        let kept = match reader.next(&self.spool) {
            Some((found, Item::Record(frame))) if found == index => self.spool.set_aside(frame.value),
            _ => Ok(None),
        };
        let kept = kept.map(|path| path.map(|path| path.display().to_string()));
        tracing::error!(index, %error, ?kept, "the broker refuses a usage event for good");
        in_flight.finish(index);
        self.waiting.answer(index, || Err(EmitError::Refused(reason(error))));
    }

    fn write_cursor(&self, in_flight: &mut InFlight) {
        if let Err(error) = self.spool.acknowledged(in_flight.frontier) {
            tracing::warn!(%error, "the spool's cursor cannot be written; what it would say is sent again after a restart");
        }
        in_flight.last_cursor = Instant::now();
    }

    fn fault(&self, error: &KafkaError) -> Fault {
        if is_no_topic(error) {
            return Fault(EmitError::NoTopic { topic: self.options.topic.clone() });
        }
        Fault(EmitError::NotAcknowledged { brokers: self.options.brokers.clone(), reason: reason(error) })
    }
}

impl InFlight {
    /// Where an index stands; `None` if it is done and gone.
    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.frontier)?).ok()
    }

    fn has_room_for(&self, index: u64) -> bool {
        self.place(index).is_none_or(|place| place < MAX_IN_FLIGHT)
    }

    /// Notes that an index is under way; true if it is done already, by an earlier client.
    fn begin(&mut self, index: u64) -> bool {
        let Some(place) = self.place(index) else { return true };
        if place >= self.done.len() {
            self.done.resize(place + 1, false);
        }
        self.done.get(place) == Some(&true)
    }

    fn finish(&mut self, index: u64) {
        if let Some(done) = self.place(index).and_then(|place| self.done.get_mut(place)) {
            *done = true;
        }
    }

    /// Moves the frontier over what is done; true if it moved.
    fn advance(&mut self) -> bool {
        let before = self.frontier;
        while self.done.pop_front_if(|done| *done).is_some() {
            self.frontier += 1;
        }
        self.frontier > before
    }
}

fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// True if no broker will ever take this very record, whatever becomes of the others. A record that is too large is not such a one: all
/// of ours are small, so the topic's bound is wrong, and will be mended.
fn is_about_the_record(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(Code::InvalidRecord)
}
