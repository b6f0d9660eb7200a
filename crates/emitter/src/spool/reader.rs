use std::sync::Arc;

use super::frame::Found;
use super::segment::{HEADER, Segment};
use super::{Frame, Spool};

/// Reads a spool's records in order, up to the last one that was appended, and goes on when there are more.
pub(crate) struct Reader {
    segment: Option<Arc<Segment>>,
    offset: usize,
    index: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A record.
    Record(Frame<'a>),
    /// A record was here that is no longer whole.
    Damaged,
}

impl Reader {
    /// Begins at the record of this index, or the first one behind it.
    pub(crate) fn new(spool: &Spool, index: u64) -> Self {
        let mut reader = Self { segment: None, offset: HEADER, index: 0 };
        reader.enter(spool, index);
        // Offsets are known by reading.
        while reader.index < index && reader.next(spool).is_some() {}
        reader
    }

    /// The next record and its index; `None` if there is none now.
    pub(crate) fn next(&mut self, spool: &Spool) -> Option<(u64, Item<'_>)> {
        if self.is_at_an_end() {
            self.enter(spool, self.index);
        }
        let segment = self.segment.as_ref()?;
        let index = self.index;
        if index >= segment.end() {
            return None;
        }
        let (item, next) = match segment.read(self.offset, index) {
            Found::Frame(frame, next) => (Item::Record(frame), next),
            Found::Damaged(Some(next)) => (Item::Damaged, next),
            // Pages that changed under us, behind the lock's back: the rest of the segment is gone.
            Found::Damaged(None) | Found::End => (Item::Damaged, self.offset),
        };
        self.offset = next;
        self.index += 1;
        Some((index, item))
    }

    /// Index of the next record.
    pub(crate) const fn index(&self) -> u64 {
        self.index
    }

    fn is_at_an_end(&self) -> bool {
        // Sealed is asked first, because nothing comes after it.
        self.segment.as_ref().is_none_or(|segment| segment.is_sealed() && self.index >= segment.end())
    }

    fn enter(&mut self, spool: &Spool, index: u64) {
        let Some(segment) = spool.segment_at(index) else { return };
        if self.segment.as_ref().is_some_and(|current| Arc::ptr_eq(current, &segment)) {
            return;
        }
        self.index = segment.first();
        self.offset = HEADER;
        self.segment = Some(segment);
    }
}
