//! What a range of the log comes to, before it is rows.

use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId, LogId, ProducerId};
use fluxori_core::posting::PricedUsage;
use fluxori_core::time::Timestamp;

/// Records `start` up to `end` (exclusive) of one partition of a log: what one insert stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// The log.
    pub log_id: LogId,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The offset after the last.
    pub end: i64,
}

impl LogRange {
    /// The deduplication token of this range's insert into `table`: the same for everyone who inserts it.
    #[must_use]
    pub fn token(&self, table: &str) -> String {
        format!("{}:{}:{}-{}:{table}", self.log_id.0.simple(), self.partition, self.start, self.end)
    }
}

/// What is stored of a range: a function of the log up to the range's end, and of nothing else.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RangeRows {
    /// Rows of the usage log, in the order in which they were made.
    pub usage: Vec<UsageAt>,
    /// Records that later admission depends on, in the order of the log.
    pub kept: Vec<KeptRecord>,
    /// Usage that arrived, whatever became of it, in the order of the log.
    pub arrivals: Vec<Arrival>,
}

/// A record of usage that arrived: for the completeness of its producer's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When the broker appended it.
    pub append_time: Timestamp,
    /// Who emitted it.
    pub producer: ProducerId,
    /// Its number there, from 1; 0 = unnumbered.
    pub number: i64,
}

/// A row of the usage log and the record that made it.
///
/// A correction makes two: the row that was right is taken back, and the one that is right takes its place.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageAt {
    /// Offset of the event, of the command that released it from the quarantine, or of what corrects its charge.
    pub offset: i64,
    /// When the broker appended that record.
    pub append_time: Timestamp,
    /// What that record is.
    pub made_by: MadeBy,
    /// What the row comes to in sums.
    pub counts: Counts,
    /// Which state of the charge this is: that of the event's revision at first, one more after each correction.
    pub charge_revision: i32,
    /// The usage and its charge in that state. The billing digest is that of the event as it came.
    pub usage: PricedUsage,
}

/// What made a row of the usage log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeBy {
    /// The event, however it was admitted.
    Usage,
    /// An event that takes the place of an uncertain one.
    Superseding,
    /// A command that corrects the charge.
    Correction,
}

impl MadeBy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Superseding => "superseding",
            Self::Correction => "correction",
        }
    }
}

/// What a row of the usage log comes to in sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// It is added.
    Added,
    /// It is taken back.
    TakenBack,
    /// Nothing: the charge was voided.
    Nothing,
}

impl Counts {
    pub(crate) const fn sign(self) -> i8 {
        match self {
            Self::Added => 1,
            Self::TakenBack => -1,
            Self::Nothing => 0,
        }
    }
}

/// Why a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptKind {
    /// Keys, rates and the like.
    Global,
    /// It opened its org; the value is left out.
    Opening,
    /// Usage that waits for its org to be opened.
    Waiting,
    /// Another command of an org: its id is taken; the value is left out.
    Command,
    /// Usage that a command may release.
    Quarantined,
    /// A correction whose event has not come.
    WaitingCorrection,
}

impl KeptKind {
    pub(crate) const fn code(self) -> i8 {
        match self {
            Self::Global => 1,
            Self::Opening => 2,
            Self::Waiting => 3,
            Self::Command => 4,
            Self::Quarantined => 5,
            Self::WaitingCorrection => 6,
        }
    }

    pub(crate) const fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Global),
            2 => Some(Self::Opening),
            3 => Some(Self::Waiting),
            4 => Some(Self::Command),
            5 => Some(Self::Quarantined),
            6 => Some(Self::WaitingCorrection),
            _ => None,
        }
    }
}

/// A record that the admission of later ones depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its offset.
    pub offset: i64,
    /// When the broker appended it.
    pub append_time: Timestamp,
    /// Why it is kept.
    pub kind: KeptKind,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value, byte by byte.
    pub value: Vec<u8>,
    /// The event that is in the quarantine or is to be corrected.
    pub event: Option<EventId>,
    /// The id of an org's command and the digest of its payload.
    pub command: Option<(CommandId, Digest)>,
}
