use std::sync::Arc;

use super::segment::{HEADER, Segment};
use super::{Frame, Spool};

/// Reads a spool's records in order, up to the last one that was appended, and goes on when there are more. What is damaged or gone is
/// passed over: the next record's index says so.
pub(crate) struct Reader {
    segment: Option<Arc<Segment>>,
    offset: usize,
    /// Index behind the last record.
    index: u64,
}

impl Reader {
    /// Begins at the record of this index, or the first one behind it.
    pub(crate) fn new(spool: &Spool, index: u64) -> Self {
        let mut reader = Self { segment: None, offset: HEADER, index };
        reader.enter(spool);
        reader
    }

    /// The next record; `None` if there is none now.
    pub(crate) fn next(&mut self, spool: &Spool) -> Option<Frame<'_>> {
        if self.is_at_an_end() {
            self.enter(spool);
        }
        let segment = self.segment.as_ref()?;
        if self.index >= segment.end() {
            return None;
        }
        match segment.read(self.offset, self.index) {
            Some((frame, next)) => {
                self.offset = next;
                self.index = frame.index + 1;
                Some(frame)
            }
            None => {
                // Nothing whole is left of it.
                self.index = segment.end();
                None
            }
        }
    }

    /// Index of the next record, if nothing is missing.
    pub(crate) const fn index(&self) -> u64 {
        self.index
    }

    fn is_at_an_end(&self) -> bool {
        // Sealed is asked first, because nothing comes after it.
        self.segment.as_ref().is_none_or(|segment| segment.is_sealed() && self.index >= segment.end())
    }

    fn enter(&mut self, spool: &Spool) {
        let Some(segment) = spool.segment_at(self.index) else { return };
        if !self.segment.as_ref().is_some_and(|current| Arc::ptr_eq(current, &segment)) {
            self.offset = HEADER;
            self.segment = Some(segment);
        }
    }
}
