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
use crate::spool::{Frame, Reader, Spool};
use crate::wake::Wake;

type Client = BaseProducer<Deliveries, OrgPartitioner>;

/// Most records that the client library holds at a time.
const MAX_IN_FLIGHT: usize = 65_536;
/// So many are sent before reports are looked at.
const BURST: usize = 512;
/// How often reports are looked for when there is nothing to send.
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
    /// The frontier that was written down last, and when.
    written: (u64, Instant),
    reports: Vec<Report>,
}

/// Whoever still waits is told, however the thread ends.
impl Drop for Sender {
    fn drop(&mut self) {
        self.waiting.answer_below(u64::MAX, &EmitError::Closed);
    }
}

impl Sender {
    /// Runs until it is stopped, or the spool is drained.
    pub(crate) fn run(self) {
        let frontier = self.spool.frontier();
        let mut in_flight = InFlight::new(frontier);
        let (mut told, mut before) = (false, 0);
        while let Err(Fault(error)) = self.flow(&mut in_flight) {
            let acknowledged = self.sent.acknowledged.load(Ordering::Relaxed);
            if !told || acknowledged != before {
                tracing::error!(topic = self.options.topic, "usage events wait, and are sent again: {error}");
            }
            (told, before) = (true, acknowledged);
            self.waiting.answer_below(u64::MAX, &error);
            let until = Instant::now() + PAUSE;
            while Instant::now() < until && !self.is_stopped() {
                std::thread::sleep(POLL * 10);
            }
        }
        self.write_cursor(&mut in_flight);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sends with one client, until it is stopped or cannot go on.
    fn flow(&self, in_flight: &mut InFlight) -> Result<(), Fault> {
        // A fault that lasts must not hold up the end.
        if self.is_stopped() {
            return Ok(());
        }
        if let Some(pinned) = self.options.genesis {
            log_identity(&self.options, Some(pinned), IDENTITY_TIMEOUT).map_err(Fault)?;
        }
        let context = Deliveries::new(&self.options.brokers);
        let client = Client::from_config_and_context(&self.options.producer_config(), context)
            .map_err(|error| self.fault(&error))?;
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
            if !self.spool.is_on_disk() {
                self.spool.prepare();
            }
            if sent > 0 || settled > 0 {
                worked = Instant::now();
            } else if in_flight.sent > 0 {
                // Not `client.poll(POLL)`: it never returns before its time is over, and its last millisecond is a busy loop.
                std::thread::sleep(POLL);
            } else {
                self.write_cursor(in_flight);
                if worked.elapsed() < BUSY {
                    std::thread::sleep(POLL);
                } else {
                    self.wake.sleep(SLEEP, || reader.index() >= self.spool.end() && !self.is_stopped());
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
            let Some(frame) = reader.next(&self.spool) else { break };
            let begun = in_flight.begin(frame.index);
            if begun.missing > 0 {
                self.miss(frame.index, begun.missing);
            }
            if begun.is_done {
                continue;
            }
            if !self.hand_over(client, &frame)? {
                break;
            }
            in_flight.sent += 1;
            sent += 1;
        }
        Ok(sent)
    }

    /// Gives a record to the client library, when it has room; false if we are stopped before.
    fn hand_over(&self, client: &Client, frame: &Frame<'_>) -> Result<bool, Fault> {
        let opaque = usize::try_from(frame.index).unwrap_or(usize::MAX);
        let mut record =
            BaseRecord::with_opaque_to(&self.options.topic, opaque).key(frame.key).payload(frame.value);
        loop {
            match client.send(record) {
                Ok(()) => return Ok(true),
                Err((error, back)) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                    if self.is_stopped() {
                        return Ok(false);
                    }
                    std::thread::sleep(POLL);
                    client.poll(Duration::ZERO);
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
                Err(error) => fault = fault.or_else(|| Some(self.fault(&error))),
            }
        }
        in_flight.reports = reports;
        if in_flight.advance() {
            self.spool.advance(in_flight.frontier);
            if in_flight.written.1.elapsed() > CURSOR_INTERVAL {
                self.write_cursor(in_flight);
            }
        }
        fault.map_or(Ok(settled), Err)
    }

    fn acknowledged(&self, index: u64, delivered: Delivered, in_flight: &mut InFlight) {
        self.sent.acknowledged.fetch_add(1, Ordering::Relaxed);
        if !in_flight.finish(index) {
            // It was on its way already when it was dropped.
            self.spool.undo_drop();
        }
        self.waiting.answer(index, || Ok(delivered));
    }

    /// Records in front of this one are neither whole nor dropped.
    fn miss(&self, index: u64, records: u64) {
        let dropped_meanwhile = self.spool.frontier().saturating_sub(index - records).min(records);
        let damaged = records - dropped_meanwhile;
        if damaged > 0 {
            tracing::error!(
                records = damaged,
                spool = %self.spool.path().display(),
                "records of the spool are not whole on the disk, and passed over; after a loss of power these are none that were \
                 accepted with durability `power`"
            );
            self.sent.damaged.fetch_add(damaged, Ordering::Relaxed);
        }
        self.waiting.answer_below(index, &EmitError::Dropped);
    }

    fn write_cursor(&self, in_flight: &mut InFlight) {
        if in_flight.written.0 == in_flight.frontier {
            return;
        }
        match self.spool.acknowledged(in_flight.frontier) {
            Ok(()) => in_flight.written = (in_flight.frontier, Instant::now()),
            Err(error) => {
                tracing::warn!(%error, "the spool's cursor cannot be written; what it would say is sent again after a restart");
                in_flight.written.1 = Instant::now();
            }
        }
    }

    fn fault(&self, error: &KafkaError) -> Fault {
        if is_no_topic(error) {
            return Fault(EmitError::NoTopic { topic: self.options.topic.clone() });
        }
        Fault(EmitError::NotAcknowledged { brokers: self.options.brokers.clone(), reason: reason(error) })
    }
}

/// What is known of an index that is to be sent.
struct Begun {
    is_done: bool,
    /// So many indices in front of it will never be sent.
    missing: u64,
}

impl InFlight {
    fn new(frontier: u64) -> Self {
        let written = (u64::MAX, Instant::now());
        Self { frontier, done: VecDeque::new(), sent: 0, written, reports: Vec::new() }
    }

    /// Where an index stands; `None` if it is done and gone.
    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.frontier)?).ok()
    }

    fn has_room_for(&self, index: u64) -> bool {
        self.place(index).is_none_or(|place| place < MAX_IN_FLIGHT)
    }

    /// Notes that an index is under way, by an earlier client perhaps; what lies between is missing, and so done.
    fn begin(&mut self, index: u64) -> Begun {
        let Some(place) = self.place(index) else { return Begun { is_done: true, missing: 0 } };
        let known = self.done.len();
        if place >= known {
            self.done.resize(place, true);
            self.done.push_back(false);
        }
        let missing = u64::try_from(place.saturating_sub(known)).unwrap_or(u64::MAX);
        Begun { is_done: self.done.get(place) == Some(&true), missing }
    }

    /// False if the index was behind the frontier already.
    fn finish(&mut self, index: u64) -> bool {
        let place = self.place(index);
        if let Some(done) = place.and_then(|place| self.done.get_mut(place)) {
            *done = true;
        }
        place.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_moves_over_what_is_done_and_what_is_missing_and_over_nothing_else() {
        let mut in_flight = InFlight::new(10);
        for index in [10, 11, 15] {
            let begun = in_flight.begin(index);
            assert_eq!((begun.is_done, begun.missing), (false, if index == 15 { 3 } else { 0 }));
        }
        assert!(in_flight.finish(11) && !in_flight.advance());
        assert!(in_flight.finish(10) && in_flight.advance());
        assert_eq!(in_flight.frontier, 15);
        // A new client reads again from the frontier.
        assert!(!in_flight.begin(15).is_done);
        assert!(in_flight.finish(15) && in_flight.advance() && in_flight.frontier == 16);
        assert!(in_flight.begin(12).is_done && !in_flight.finish(12));
    }

    #[test]
    fn a_hole_of_any_size_does_not_fill_what_may_be_in_flight() {
        let mut in_flight = InFlight::new(0);
        assert_eq!(in_flight.begin(1_000_000).missing, 1_000_000);
        assert!(in_flight.advance() && in_flight.frontier == 1_000_000);
        assert!(in_flight.has_room_for(1_000_001));
    }
}
