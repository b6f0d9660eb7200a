//! The spool of an earlier process: what is left of it, and how to go on.

use std::io;
use std::sync::Arc;

use fluxori_core::id::ProducerId;
use uuid::Uuid;

use super::segment::{Found, Segment};
use super::{Chain, Folder, Settings, Spool};
use crate::options::Durability;

/// What an earlier process left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Backlog {
    /// Records that the log may not have.
    pub(crate) records: u64,
    /// Records that are no longer whole, with others behind them.
    pub(crate) damaged: u64,
    /// Whether an end was torn, and passed over.
    pub(crate) torn: bool,
    /// Segments that cannot be read at all; their files are kept.
    pub(crate) unreadable: u64,
}

impl Spool {
    /// The spool in a folder, with what an earlier process left there. `wanted` names the producer; without it the spool keeps its
    /// name, and goes on with its numbers, unless some may have been taken that it no longer knows: then it is `new`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn open(
        settings: Settings,
        mut folder: Folder,
        wanted: Option<&ProducerId>,
        new: ProducerId,
    ) -> io::Result<(Self, Backlog)> {
        if settings.durability == Durability::Power {
            folder.sync_parents()?;
        }
        let mut chain = Chain::empty();
        let mut backlog = Backlog::default();
        let mut found = Vec::new();
        for number in folder.segments()? {
            chain.next_file = number.saturating_add(1);
            match Segment::recover(number, folder.open_segment(number)?)? {
                Found::Whole(segment, recovered) => found.push((Arc::new(*segment), recovered)),
                Found::NeverBegun => folder.remove_segment(number)?,
                Found::Unreadable => {
                    let kept = folder.keep_unreadable(number)?;
                    tracing::error!(file = %kept.display(), "a segment of the spool has no readable header; it is kept for people");
                    backlog.unreadable += 1;
                }
            }
        }
        // Files are made ahead, so their numbers do not tell which came first.
        found.sort_by_key(|(segment, _)| segment.first());
        let cursor = folder.read_cursor()?.unwrap_or(0);
        let frontier = cursor.max(found.first().map_or(cursor, |(segment, _)| segment.first()));
        let last = found.last().map(|(segment, recovered)| (segment.header().clone(), *recovered));
        for (segment, recovered) in found {
            backlog.damaged += recovered.damaged;
            backlog.torn |= recovered.torn;
            chain.bytes += segment.space();
            chain.segments.push_back(segment);
        }
        let boot = boot();
        let name = match last {
            Some((header, recovered)) => {
                let knows_all = backlog.is_whole() && header.boot == boot && recovered.end >= cursor;
                let next = header.next_number + i64::from(recovered.own_numbers);
                match wanted {
                    Some(wanted) if *wanted != header.producer_id => (wanted.clone(), 1),
                    None if !knows_all => (new, 1),
                    _ => (header.producer_id, next),
                }
            }
            None => (wanted.cloned().unwrap_or(new), 1),
        };
        let spool = Self { boot, ..Self::new(settings, Some(folder), name, chain, frontier) };
        backlog.records = spool.waiting();
        Ok((spool, backlog))
    }
}

impl Backlog {
    const fn is_whole(&self) -> bool {
        self.damaged == 0 && !self.torn && self.unreadable == 0
    }
}

/// Names this run of the machine; zeros where the system does not say.
fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Uuid::try_parse(text.trim()).map_or([0; 16], Uuid::into_bytes)
}
