//! Durability `power`: records written to the disk, all that have come in one go.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::segment::Segment;
use super::{Folder, Spool, lock};

/// How far a spool is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SyncProgress {
    /// Records below this index are on the disk, or the log has them.
    pub(crate) index: u64,
    /// The segment that was synced last, and up to which byte.
    number: u64,
    published: usize,
}

impl Spool {
    /// Writes all records so far to the disk; `progress` says up to which index they are there, and is kept between calls.
    ///
    /// # Errors
    /// The disk's. A segment whose name or pages could not be written is never said to be there, and nothing behind it before the
    /// log has all of it: the index is a watermark.
    pub(crate) fn sync(&self, progress: &mut SyncProgress) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let segments: Vec<_> = lock(&self.chain).segments.iter().cloned().collect();
        progress.index = progress.index.max(self.acknowledged.load(Ordering::Acquire));
        for segment in segments {
            let (end, published) = (segment.end(), segment.published());
            if end <= progress.index {
                continue;
            }
            if segment.is_unsyncable() {
                return Ok(());
            }
            let number = segment.header().number;
            let begin = if progress.number == number { progress.published } else { 0 };
            if let Err(error) = sync_segment(folder, &segment, begin, published) {
                segment.set_unsyncable();
                // Later records get pages that may do better.
                self.seal_if_in_use(&segment);
                return Err(error);
            }
            *progress = SyncProgress { index: end, number, published };
        }
        Ok(())
    }

    /// Ends a segment, if it is the one in use; the next record begins another.
    fn seal_if_in_use(&self, segment: &Arc<Segment>) {
        let mut writer = lock(&self.writer);
        if let Some(in_use) = writer.segment.take_if(|in_use| Arc::ptr_eq(in_use.segment(), segment)) {
            in_use.seal();
        }
    }
}

/// The segment's name first, then its bytes from `begin` to `end`. The folder is not locked meanwhile: callers may need it.
fn sync_segment(folder: &Mutex<Folder>, segment: &Segment, begin: usize, end: usize) -> io::Result<()> {
    if !segment.is_named() {
        lock(folder).sync_names()?;
        segment.set_named();
    }
    #[cfg(test)]
    lock(folder).note_sync(segment.header().number)?;
    segment.sync(begin, end)
}
