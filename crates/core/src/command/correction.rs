//! Pure: corrections of what was charged, and decisions about the quarantine.

use crate::digest::Digest;
use crate::id::{EventId, RevisionId};
use crate::usage::Quantities;

/// Corrects the charge of a usage event at the prices of the original.
#[derive(Debug, Clone, PartialEq)]
pub struct Correct {
    /// Which event.
    pub event_id: EventId,
    /// The revision that is to be corrected: 1 for the event as it came, one more after each change. One that is not the
    /// current revision is rejected, so that nobody corrects what somebody else has corrected meanwhile.
    pub revision: i32,
    /// What is right.
    pub change: Change,
}

/// What a correction says is right.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Nothing was used.
    Void,
    /// This was used.
    Replace(Box<Quantities>),
}

/// Most events of one [`Reprice`].
pub const MAX_REPRICED: usize = 100;

/// Puts charges to what the prices and terms in force make of them, as of when the usage occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reprice {
    /// The revision of the rates that was looked at: nothing is done where another one was sealed last.
    pub rates: RevisionId,
    /// Which events, each with the revision of its charge that was looked at. One whose charge has changed meanwhile is
    /// left as it is. 1 to [`MAX_REPRICED`], each once.
    pub events: Vec<(EventId, i32)>,
}

/// Names usage in the quarantine, wherever in the log it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which event.
    pub event_id: EventId,
    /// Its billing digest: under one id there may be several contents.
    pub billing_digest: Digest,
}

/// Names a record in the quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dismiss {
    /// Its offset in the org's partition.
    pub offset: i64,
}
