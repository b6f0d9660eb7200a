//! What a range of the log comes to, before it is rows.

use fluxori_core::id::LogId;
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
    /// Admitted usage, in the order of admission.
    pub usage: Vec<UsageAt>,
    /// Records that later admission depends on, in the order of the log.
    pub kept: Vec<KeptRecord>,
}

/// Admitted usage and the record that admitted it.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageAt {
    /// Offset of the event, or of the command that released it from the quarantine.
    pub offset: i64,
    /// When the broker appended that record.
    pub append_time: Timestamp,
    /// The usage and its charge.
    pub usage: PricedUsage,
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
    /// A command that was rejected while its org was not open: its id is taken.
    Rejected,
}

impl KeptKind {
    pub(crate) const fn code(self) -> i8 {
        match self {
            Self::Global => 1,
            Self::Opening => 2,
            Self::Waiting => 3,
            Self::Rejected => 4,
        }
    }

    pub(crate) const fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Global),
            2 => Some(Self::Opening),
            3 => Some(Self::Waiting),
            4 => Some(Self::Rejected),
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
}
