//! One file of the spool (or, without a folder, as much memory), mapped, so that a record is handed over by a copy and outlives
//! the process that made it: the pages are the kernel's.
//!
//! ```text
//! segment := header (512 bytes) | frame*          (see `frame`)
//! header  := magic 8 bytes | checksum u32 | version u32 | number u64 | first index u64 | next number i64
//!          | boot id 16 bytes | producer id length u16 | producer id | zeros
//! ```
//!
//! The file's blocks are allocated before it is used, so that a full disk is an error here and not a signal while a record
//! is being copied (file systems that write elsewhere at each change, as Btrfs and ZFS do, keep no such promise). One writer appends; any number of readers see what was published, which never changes again.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use fluxori_core::id::ProducerId;
use memmap2::{MmapOptions, MmapRaw};

use super::frame::{self, Frame};

/// Bytes before the first frame.
pub(crate) const HEADER: usize = 512;
const MAGIC: [u8; 8] = *b"FLXSPOOL";
const VERSION: u32 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Which segment of its spool this is; they never repeat.
    pub(crate) number: u64,
    /// The index of its first record; indices count all records of a spool from 0.
    pub(crate) first: u64,
    /// The number that the producer's next event would have taken when the segment began.
    pub(crate) next_number: i64,
    /// Which run of the machine wrote it: after another one, numbers may have been taken that are not here.
    pub(crate) boot: [u8; 16],
    /// Who numbers the spool's events.
    pub(crate) producer_id: ProducerId,
}

/// A mapped segment.
pub(crate) struct Segment {
    header: Header,
    map: MmapRaw,
    _file: Option<File>,
    /// Bytes that the segment takes, in its file or in memory.
    space: u64,
    /// Bytes that readers may see.
    published: AtomicUsize,
    /// Index behind the last record among them.
    end: AtomicU64,
    /// Nothing will be appended any more.
    sealed: AtomicBool,
    /// Its pages are in memory, or were tried to be.
    touched: AtomicBool,
    /// Its name is on the disk.
    named: AtomicBool,
    /// A sync failed: what the disk has of this segment is not known, and never will be.
    unsyncable: AtomicBool,
}

/// The only one who appends to a segment.
pub(crate) struct SegmentWriter(Arc<Segment>);

/// Space for a segment, not yet in use.
pub(crate) struct Space {
    map: MmapRaw,
    file: Option<File>,
    touched: bool,
    /// The number that the file's name says.
    pub(crate) number: u64,
}

impl Space {
    /// In memory.
    pub(crate) fn in_memory(number: u64, bytes: usize) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().len(bytes).map_anon()?.into(), file: None, touched: false, number })
    }

    /// In a file whose blocks are allocated.
    pub(crate) fn in_file(number: u64, file: File) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().map_raw(&file)?, file: Some(file), touched: false, number })
    }

    /// Has the kernel get the pages ready, as [`Segment::touch`] does.
    pub(crate) fn touch(&mut self) {
        touch(&self.map);
        self.touched = true;
    }

    /// Begins a segment.
    pub(crate) fn begin(self, header: Header) -> SegmentWriter {
        let first = header.first;
        let segment = Segment {
            header,
            space: u64::try_from(self.map.len()).unwrap_or(u64::MAX),
            map: self.map,
            _file: self.file,
            published: AtomicUsize::new(HEADER),
            end: AtomicU64::new(first),
            sealed: AtomicBool::new(false),
            touched: AtomicBool::new(self.touched),
            named: AtomicBool::new(false),
            unsyncable: AtomicBool::new(false),
        };
        let bytes = segment.header.to_bytes();
        let mut writer = SegmentWriter(Arc::new(segment));
        writer.copy(0, &bytes);
        writer
    }
}

impl SegmentWriter {
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.0.published.load(Ordering::Relaxed) + bytes <= self.0.map.len()
    }

    /// Appends a frame's bytes and publishes it. The caller has asked whether there is room.
    pub(crate) fn append(&mut self, frame: &[u8]) {
        let at = self.0.published.load(Ordering::Relaxed);
        let end = at + frame.len();
        self.copy(at, frame);
        // Who sees a record counted sees its bytes.
        self.0.published.store(end, Ordering::Release);
        self.0.end.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.0
    }

    /// Ends the segment.
    pub(crate) fn seal(self) {
        self.0.sealed.store(true, Ordering::Release);
    }

    #[expect(unsafe_code, reason = "the map is raw, because readers hold what was published while we append")]
    fn copy(&mut self, at: usize, bytes: &[u8]) {
        let map = &self.0.map;
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= map.len()), "beyond the segment");
        // SAFETY: the bounds are checked above; there is one writer (`&mut self`, never cloned), and no reader sees bytes
        // at or above `published`, which covers none of these yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(at), bytes.len()) }
    }
}

impl Segment {
    /// A segment that an earlier process left. What is not whole at its end is no part of it: a torn tail. Damage in the middle costs
    /// the records that it hit.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn recover(number: u64, mut file: File) -> io::Result<Found> {
        // Read and not mapped: a bad sector is an error then, and no signal.
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some(header) = Header::read(number, &bytes) else {
            let is_empty = bytes.iter().all(|byte| *byte == 0);
            return Ok(if is_empty { Found::NeverBegun } else { Found::Unreadable });
        };
        let recovered = scan(&bytes, header.first);
        let end = u64::try_from(recovered.offset).unwrap_or(u64::MAX);
        if !recovered.torn {
            // Gives back the space that was never used.
            file.set_len(end)?;
        }
        let segment = Self {
            map: MmapOptions::new().map_raw(&file)?,
            space: file.metadata()?.len(),
            _file: Some(file),
            published: AtomicUsize::new(recovered.offset),
            end: AtomicU64::new(recovered.end),
            sealed: AtomicBool::new(true),
            touched: AtomicBool::new(true),
            named: AtomicBool::new(true),
            unsyncable: AtomicBool::new(false),
            header,
        };
        Ok(Found::Whole(Box::new(segment), recovered))
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// Has the kernel get the pages ready, once, so that a copy into one is not held up. Changes nothing in them.
    pub(crate) fn touch(&self) {
        if !self.touched.swap(true, Ordering::Relaxed) {
            touch(&self.map);
        }
    }

    /// Index of the first record.
    pub(crate) const fn first(&self) -> u64 {
        self.header.first
    }

    /// Index behind the last record so far.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Bytes that the segment takes, in its file or in memory.
    pub(crate) const fn space(&self) -> u64 {
        self.space
    }

    /// Bytes of it that are written.
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn is_unsyncable(&self) -> bool {
        self.unsyncable.load(Ordering::Acquire)
    }

    /// What was published so far.
    #[expect(unsafe_code, reason = "the map is raw, because the writer appends while readers hold this")]
    pub(crate) fn bytes(&self) -> &[u8] {
        let published = self.published();
        // SAFETY: `published` is at most the map's length, the map lives as long as the segment, and bytes below
        // `published` are never written again: not by us (`SegmentWriter::append`), and not by others, whom the spool's
        // lock keeps out.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), published) }
    }

    /// The first record at this offset or behind it, past damage, whose index is at least this, and where the next one begins.
    pub(crate) fn read(&self, offset: usize, index: u64) -> Option<(Frame<'_>, usize)> {
        let bytes = self.bytes();
        let mut at = offset;
        loop {
            match frame::read(bytes, at) {
                frame::Found::Frame(frame, next) if frame.index >= index => return Some((frame, next)),
                frame::Found::End => return None,
                frame::Found::Frame(..) | frame::Found::Damaged => {
                    at = frame::search(bytes, at, index..self.end())?;
                }
            }
        }
    }

    /// Whether its name is on the disk; [`Self::set_named`] says so.
    pub(crate) fn is_named(&self) -> bool {
        self.named.load(Ordering::Acquire)
    }

    pub(crate) fn set_named(&self) {
        self.named.store(true, Ordering::Release);
    }

    /// Writes the bytes from `begin` to `end` to the disk, and waits until they are there.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn sync(&self, begin: usize, end: usize) -> io::Result<()> {
        self.map.flush_range(begin, end.saturating_sub(begin))
    }

    /// A sync has failed. From then on nothing is known of its pages: the kernel may take them for clean, so the segment is
    /// never again said to be synced.
    pub(crate) fn set_unsyncable(&self) {
        self.unsyncable.store(true, Ordering::Release);
    }
}

fn touch(map: &MmapRaw) {
    #[cfg(target_os = "linux")]
    if map.advise(memmap2::Advice::PopulateWrite).is_err() {
        tracing::trace!("the system does not populate pages ahead");
    }
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER] {
        let id = self.producer_id.as_str().as_bytes();
        let length = u16::try_from(id.len()).unwrap_or(u16::MAX);
        let fields = VERSION
            .to_le_bytes()
            .into_iter()
            .chain(self.number.to_le_bytes())
            .chain(self.first.to_le_bytes())
            .chain(self.next_number.to_le_bytes())
            .chain(self.boot)
            .chain(length.to_le_bytes())
            .chain(id.iter().copied());
        let mut bytes = [0; HEADER];
        bytes.iter_mut().skip(12).zip(fields).for_each(|(to, from)| *to = from);
        let checksum = crc32fast::hash(bytes.get(12..).unwrap_or_default()).to_le_bytes();
        bytes.iter_mut().zip(MAGIC.into_iter().chain(checksum)).for_each(|(to, from)| *to = from);
        bytes
    }

    fn read(number: u64, bytes: &[u8]) -> Option<Self> {
        let rest = bytes.get(..HEADER)?.strip_prefix(&MAGIC)?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        (crc32fast::hash(rest) == u32::from_le_bytes(*checksum)).then_some(())?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (own, rest) = rest.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (next_number, rest) = rest.split_first_chunk::<8>()?;
        let (boot, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let id = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        let is_known = u32::from_le_bytes(*version) == VERSION && u64::from_le_bytes(*own) == number;
        is_known.then_some(Self {
            number,
            first: u64::from_le_bytes(*first),
            next_number: i64::from_le_bytes(*next_number),
            boot: *boot,
            producer_id: ProducerId::new(std::str::from_utf8(id).ok()?).ok()?,
        })
    }
}

/// What a segment's file is found to be.
pub(crate) enum Found {
    /// A segment.
    Whole(Box<Segment>, Recovered),
    /// Made ahead of its need, which never came.
    NeverBegun,
    /// Something else.
    Unreadable,
}

/// What a segment held when it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Index behind its last record.
    pub(crate) end: u64,
    /// Records with a number of the spool's own producer.
    pub(crate) own_numbers: u32,
    /// Records that are not whole, with others behind them: nothing that the end of a process does.
    pub(crate) damaged: u64,
    /// Where the records end.
    pub(crate) offset: usize,
    /// Whether something that is no whole record follows.
    pub(crate) torn: bool,
}

fn scan(bytes: &[u8], first: u64) -> Recovered {
    let mut found = Recovered { end: first, own_numbers: 0, damaged: 0, offset: HEADER, torn: false };
    let mut at = HEADER;
    loop {
        match frame::read(bytes, at) {
            // One that is out of order is none of ours.
            frame::Found::Frame(frame, next) if frame.index >= found.end => {
                found.damaged += frame.index - found.end;
                found.end = frame.index + 1;
                found.own_numbers += u32::from(frame.own_number);
                found.offset = next;
                at = next;
            }
            frame::Found::End => return found,
            frame::Found::Frame(..) | frame::Found::Damaged => {
                // Every record takes some bytes, so there are not more behind the damage.
                let most = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let Some(next) = frame::search(bytes, at, found.end..found.end.saturating_add(most)) else {
                    return Recovered { torn: true, ..found };
                };
                at = next;
            }
        }
    }
}
