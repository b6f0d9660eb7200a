//! Accepted records, in order, until the log has them: on disk, or in memory if there is no folder.
//!
//! Records are numbered from 0 by an *index*. Callers append at the end; a [`Reader`] hands them to the broker; the *frontier* is
//! the index up to which the broker has all of them. It is written to the folder's cursor, and segments below it go. A
//! process that finds a folder with records begins at the cursor; what the broker has already is sent again then, under
//! the same event ids.
//!
//! What `Durability` asks for:
//! - `process`: a record is in the kernel's pages when [`Spool::append`] returns.
//! - `power`: a record is on the disk when [`Spool::sync`] has passed it: names of files first, then their pages. The cursor is on
//!   the disk before a segment is removed.

mod folder;
mod frame;
mod opening;
#[cfg(test)]
mod power;
mod reader;
mod segment;
mod syncing;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fluxori_core::id::ProducerId;
use fluxori_core::record::MAX_RECORD_BYTES;
use fluxori_core::usage::UsageEvent;
use fluxori_wire::write_usage;

use crate::error::EmitError;
use crate::options::{Durability, WhenFull};
pub(crate) use folder::{Folder, take_slots};
pub(crate) use frame::Frame;
pub(crate) use opening::Backlog;
pub(crate) use reader::Reader;
use segment::{Header, Segment, SegmentWriter, Space};
pub(crate) use syncing::SyncProgress;

/// Largest segment, in bytes; a smaller spool has segments of a sixteenth of it.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;
/// Smallest segment, in bytes: some records of the largest event.
const MIN_SEGMENT_BYTES: u64 = 256 << 10;
/// Smallest spool, in bytes.
pub(crate) const MIN_SPOOL_BYTES: u64 = 4 * MIN_SEGMENT_BYTES;
/// A disk that gave no space is asked again after so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How a spool is bounded and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) max_bytes: u64,
    pub(crate) when_full: WhenFull,
    pub(crate) durability: Durability,
}

/// In a cache line (two, as processors fetch them) of its own, so that who writes it does not slow down who reads what lies beside it.
#[repr(align(128))]
struct Line<T>(T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Accepted records until the log has them.
pub(crate) struct Spool {
    settings: Settings,
    segment_bytes: u64,
    /// `None` in memory.
    folder: Option<Mutex<Folder>>,
    writer: Line<Mutex<Writer>>,
    chain: Line<Mutex<Chain>>,
    /// Index behind the last record that was appended.
    end: Line<AtomicU64>,
    /// Index up to which the log has all records, or they were dropped.
    frontier: Line<AtomicU64>,
    /// The same without what was dropped after it was last said.
    acknowledged: Line<AtomicU64>,
    dropped: AtomicU64,
    boot: [u8; 16],
}

/// The end where records are appended. Locked before the chain, never after.
struct Writer {
    segment: Option<SegmentWriter>,
    producer_id: ProducerId,
    next_number: i64,
    closed: bool,
    frame: Vec<u8>,
}

/// The segments, oldest first.
struct Chain {
    segments: VecDeque<Arc<Segment>>,
    /// The next segment, made ahead of its need.
    spare: Option<Space>,
    /// It is being made, and its space is counted.
    preparing: bool,
    /// Number of the next segment's file.
    next_file: u64,
    /// Space that segments and spare take.
    bytes: u64,
    /// When the disk gave no space, and what it said.
    refused: Option<(Instant, String)>,
}

impl Spool {
    /// A spool in memory, under this name.
    pub(crate) fn in_memory(settings: Settings, producer_id: ProducerId) -> Self {
        Self::new(settings, None, (producer_id, 1), Chain::empty(), 0)
    }

    fn new(
        settings: Settings,
        folder: Option<Folder>,
        (producer_id, next_number): (ProducerId, i64),
        chain: Chain,
        frontier: u64,
    ) -> Self {
        let segment_bytes = (settings.max_bytes / 16).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let end = chain.segments.iter().map(|segment| segment.end()).fold(frontier, u64::max);
        let frame = Vec::with_capacity(4096);
        Self {
            settings,
            segment_bytes,
            folder: folder.map(Mutex::new),
            writer: Line(Mutex::new(Writer {
                segment: None,
                producer_id,
                next_number,
                closed: false,
                frame,
            })),
            chain: Line(Mutex::new(chain)),
            end: Line(AtomicU64::new(end)),
            frontier: Line(AtomicU64::new(frontier)),
            acknowledged: Line(AtomicU64::new(frontier)),
            dropped: AtomicU64::new(0),
            boot: [0; 16],
        }
    }

    /// Appends an event and returns its index. It is numbered unless it bears a number already; only what is appended takes a
    /// number. `register` is told the index before anybody else can see the record.
    ///
    /// # Errors
    /// The spool is closed or full, the disk is, or the event is too large.
    pub(crate) fn append(&self, event: &UsageEvent, register: impl FnOnce(u64)) -> Result<u64, EmitError> {
        let mut guard = lock(&self.writer);
        let Writer { segment, producer_id, next_number, closed, frame } = &mut *guard;
        if *closed {
            return Err(EmitError::Closed);
        }
        let own_number = event.producer_seq == 0;
        let begun = frame::begin(event.org_id.as_str().as_bytes(), own_number, frame);
        let before = frame.len();
        if own_number {
            write_usage(event, producer_id, *next_number, frame);
        } else {
            write_usage(event, &event.producer_id, event.producer_seq, frame);
        }
        let bytes = frame.len() - before;
        if !begun || bytes > MAX_RECORD_BYTES || self.is_larger_than_a_segment(frame.len()) {
            return Err(EmitError::TooLarge { bytes });
        }
        let index = self.end.load(Ordering::Relaxed);
        frame::finish(index, frame);
        loop {
            if let Some(segment) = segment
                && segment.has_room_for(frame.len())
            {
                register(index);
                segment.append(frame);
                break;
            }
            let header = |number| Header {
                number,
                first: index,
                next_number: *next_number,
                boot: self.boot,
                producer_id: producer_id.clone(),
            };
            let next = self.next_segment(header)?;
            if let Some(full) = segment.replace(next) {
                full.seal();
            }
        }
        *next_number += i64::from(own_number);
        self.end.store(index + 1, Ordering::Release);
        Ok(index)
    }

    fn is_larger_than_a_segment(&self, frame: usize) -> bool {
        let room = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX) - segment::HEADER;
        frame > room
    }

    fn next_segment(&self, header: impl FnOnce(u64) -> Header) -> Result<SegmentWriter, EmitError> {
        let mut chain = lock(&self.chain);
        let space = match chain.spare.take() {
            Some(space) => space,
            None => self.make_room(&mut chain)?,
        };
        let number = space.number;
        let writer = space.begin(header(number));
        chain.segments.push_back(Arc::clone(writer.segment()));
        Ok(writer)
    }

    fn make_room(&self, chain: &mut Chain) -> Result<Space, EmitError> {
        // Space that is being made ahead is ours, only not yet: nothing is dropped for it.
        let allowed = self.settings.max_bytes + if chain.preparing { self.segment_bytes } else { 0 };
        while chain.bytes + self.segment_bytes > allowed {
            if self.settings.when_full == WhenFull::Reject || !self.drop_oldest(chain) {
                return Err(EmitError::QueueFull { max_bytes: self.settings.max_bytes });
            }
        }
        if let Some((when, reason)) = &chain.refused
            && when.elapsed() < PAUSE_AFTER_FAILURE
        {
            return Err(EmitError::Spool(reason.clone()));
        }
        let number = chain.reserve(self.segment_bytes);
        self.make_space(number).map_err(|error| {
            chain.bytes -= self.segment_bytes;
            let reason = format!("{}: {error}", self.path().display());
            chain.refused = Some((Instant::now(), reason.clone()));
            EmitError::Spool(reason)
        })
    }

    fn make_space(&self, number: u64) -> io::Result<Space> {
        match &self.folder {
            Some(folder) => lock(folder).create_segment(number, self.segment_bytes),
            None => Space::in_memory(number, usize::try_from(self.segment_bytes).unwrap_or(usize::MAX)),
        }
    }

    /// Makes the next segment ahead of its need, at the start and once the one in use is half full, and gets its pages ready.
    pub(crate) fn prepare(&self) {
        let (in_use, number) = {
            let mut chain = lock(&self.chain);
            let in_use = chain.segments.back().filter(|segment| !segment.is_sealed()).cloned();
            let half = usize::try_from(self.segment_bytes / 2).unwrap_or(usize::MAX);
            let needed = in_use.as_ref().is_none_or(|segment| segment.published() > half);
            let fits = chain.bytes + self.segment_bytes <= self.settings.max_bytes;
            let makes = needed && fits && chain.spare.is_none();
            chain.preparing = makes;
            (in_use, makes.then(|| chain.reserve(self.segment_bytes)))
        };
        if let Some(in_use) = in_use {
            in_use.touch();
        }
        let Some(number) = number else { return };
        let space = self.make_space(number).map(|mut space| {
            space.touch();
            space
        });
        let mut chain = lock(&self.chain);
        chain.preparing = false;
        match space {
            Ok(space) => chain.spare = Some(space),
            // Whoever appends next tries again, and hears of it.
            Err(_) => chain.bytes -= self.segment_bytes,
        }
    }

    /// The oldest segment goes, whether the log has its records or not; false if it is the one in use.
    fn drop_oldest(&self, chain: &mut Chain) -> bool {
        if chain.segments.front().is_none_or(|segment| !segment.is_sealed()) {
            return false;
        }
        let Some(oldest) = chain.segments.pop_front() else { return false };
        chain.bytes -= oldest.space();
        let before = self.frontier.fetch_max(oldest.end(), Ordering::AcqRel);
        self.dropped.fetch_add(oldest.end().saturating_sub(before.max(oldest.first())), Ordering::Relaxed);
        if let Some(folder) = &self.folder
            && let Err(error) = lock(folder).remove_segment(oldest.header().number)
        {
            tracing::warn!(%error, "a dropped segment of the spool cannot be removed");
        }
        true
    }

    /// Says up to which index the log has all records.
    pub(crate) fn advance(&self, frontier: u64) {
        self.frontier.fetch_max(frontier, Ordering::AcqRel);
        self.acknowledged.fetch_max(frontier, Ordering::AcqRel);
    }

    /// The log has a record that was dropped.
    pub(crate) fn undo_drop(&self) {
        self.dropped.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends the segment in use.
    #[cfg(test)]
    pub(crate) fn seal(&self) {
        if let Some(segment) = lock(&self.writer).segment.take() {
            segment.seal();
        }
    }

    /// Writes down up to which index the log has all records; segments below it go.
    ///
    /// # Errors
    /// The disk's. What could not be removed is tried again with the next call, or skipped by the next process.
    pub(crate) fn acknowledged(&self, frontier: u64) -> io::Result<()> {
        self.advance(frontier);
        if let Some(folder) = &self.folder {
            lock(folder).write_cursor(frontier)?;
        }
        let mut synced = self.settings.durability != Durability::Power;
        // The folder is never locked before the chain.
        while let Some(oldest) = self.done_with(frontier) {
            if let (Some(folder), false) = (&self.folder, synced) {
                lock(folder).sync_cursor()?;
                synced = true;
            }
            let mut chain = lock(&self.chain);
            if chain.segments.pop_front_if(|segment| Arc::ptr_eq(segment, &oldest)).is_some() {
                chain.bytes -= oldest.space();
                drop(chain);
                if let Some(folder) = &self.folder {
                    lock(folder).remove_segment(oldest.header().number)?;
                }
            }
        }
        Ok(())
    }

    /// The oldest segment, if the log has all of it. The last one stays, because it knows the producer's name and numbers.
    fn done_with(&self, frontier: u64) -> Option<Arc<Segment>> {
        let chain = lock(&self.chain);
        let oldest =
            chain.segments.front().filter(|segment| segment.is_sealed() && segment.end() <= frontier);
        oldest.filter(|_| chain.segments.len() > 1).cloned()
    }

    /// Takes no more records.
    pub(crate) fn close(&self) {
        lock(&self.writer).closed = true;
    }

    /// Gives back the space that was made ahead.
    pub(crate) fn tidy(&self) {
        let spare = lock(&self.chain).spare.take();
        if let (Some(spare), Some(folder)) = (spare, &self.folder) {
            _ = lock(folder).remove_segment(spare.number);
        }
    }

    /// Index behind the last record that was appended.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Index up to which the log has all records, or they were dropped.
    pub(crate) fn frontier(&self) -> u64 {
        self.frontier.load(Ordering::Acquire)
    }

    /// Records that the log may not have yet.
    pub(crate) fn waiting(&self) -> u64 {
        let frontier = self.frontier();
        self.end().saturating_sub(frontier)
    }

    /// Records that were dropped to make room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bytes that the segments take.
    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.chain).bytes
    }

    pub(crate) fn producer_id(&self) -> ProducerId {
        lock(&self.writer).producer_id.clone()
    }

    pub(crate) const fn is_on_disk(&self) -> bool {
        self.folder.is_some()
    }

    /// The folder; empty in memory.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.as_ref().map(|folder| lock(folder).path().to_owned()).unwrap_or_default()
    }

    /// The segment that holds the record of this index, or the next one there is.
    fn segment_at(&self, index: u64) -> Option<Arc<Segment>> {
        let chain = lock(&self.chain);
        let found = chain.segments.iter().find(|segment| !segment.is_sealed() || segment.end() > index);
        found.cloned()
    }
}

impl Chain {
    const fn empty() -> Self {
        Self {
            segments: VecDeque::new(),
            spare: None,
            preparing: false,
            next_file: 0,
            bytes: 0,
            refused: None,
        }
    }

    /// Takes the next file's number, and the space for it.
    const fn reserve(&mut self, bytes: u64) -> u64 {
        let number = self.next_file;
        self.next_file += 1;
        self.bytes += bytes;
        number
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
