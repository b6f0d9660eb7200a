//! Pure: the second step, which makes postings out of what was admitted.

mod boundaries;
mod commands;
mod corrections;
mod debit;
mod plans;

pub use debit::{Considered, Skipped, TracedDebit};

use super::admit::Rejection;
use super::state::OrgState;
use crate::amount::{AmountError, Credits};
use crate::command::Account;
use crate::digest::Digest;
use crate::id::AllocationId;
use crate::posting::{Cause, Entry, Posting, PostingKind, Target};
use crate::time::Timestamp;

/// Why a record could not be booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BurnError {
    /// A total or a part of it would leave the range of amounts.
    OutOfRange,
    /// A closed allocation that a correction gives back to was not loaded.
    NotLoaded,
}

impl From<AmountError> for BurnError {
    fn from(_: AmountError) -> Self {
        Self::OutOfRange
    }
}

/// Where postings go, and the log's time.
pub(super) struct Book<'postings> {
    pub(super) now: Timestamp,
    pub(super) postings: &'postings mut Vec<Posting>,
}

/// A posting before it is numbered.
struct Draft {
    kind: PostingKind,
    effective_at: Timestamp,
    amount: Credits,
    entries: Vec<Entry>,
    cause: Cause,
}

impl OrgState {
    /// Numbers a posting, chains its digest, and books it.
    fn post(&mut self, book: &mut Book<'_>, draft: Draft) {
        self.record.number += 1;
        let mut posting = Posting {
            org: self.record.org.clone(),
            number: self.record.number,
            kind: draft.kind,
            effective_at: draft.effective_at,
            recorded_at: book.now,
            amount: draft.amount,
            entries: draft.entries,
            cause: draft.cause,
            digest: Digest::default(),
        };
        posting.digest = posting.chained_digest(self.record.head);
        self.record.head = posting.digest;
        book.postings.push(posting);
    }
}

fn leg(account: &Account, id: AllocationId, amount: Credits) -> Entry {
    Entry { account: account.clone(), target: Target::Allocation(id), amount }
}

fn org_leg(target: Target, amount: Credits) -> Entry {
    Entry { account: Account::Organization, target, amount }
}

fn reject<T>(text: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection(text.into()))
}
