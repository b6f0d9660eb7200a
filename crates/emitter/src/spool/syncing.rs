//! Durability `power`: records written to the disk, all that have come in one go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::segment::Segment;
use super::{Spool, lock};

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
    /// The disk's. A segment whose pages could not be written is never said to be there: records in it count again when
    /// the log has them.
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
            if !segment.is_named() {
                lock(folder).sync_names()?;
                segment.set_named();
            }
            let begin = if progress.number == number { progress.published } else { 0 };
            #[cfg(test)]
            let model = lock(folder).note_sync(number);
            #[cfg(not(test))]
            let model = Ok(());
            if let Err(error) = model.and_then(|()| segment.sync(begin, published)) {
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
