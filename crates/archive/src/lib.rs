//! The log in files: what lies in the topic, record by record, in Avro object container files (`archived_record.v1`).
//!
//! # What an archive is
//!
//! A folder. Each partition is a sequence of files with contiguous offsets from 0 on, named by the partition and their
//! first and end offset. `archive.json` lists them in order, each with the running digest over all records of its
//! partition up to its end. A file is written under another name, synced and renamed, and only then listed; a file that
//! is not listed is no part of the archive. So an archive is complete up to its end whenever the writer died, and the
//! next run goes on from there.
//!
//! - [`Archiver`] writes, [`Archive`] reads: a file's records are handed out only when all of it was read and its digest
//!   is right.
//! - [`verify`] reads everything and compares it with what the log still holds.
//! - [`Source`] is an archive and the log behind it as one: who folds the log reads from it.

mod archive;
mod archiver;
mod error;
mod manifest;
mod source;
mod verify;

pub use archive::{Archive, ArchiveScan};
pub use archiver::Archiver;
pub use error::ArchiveError;
pub use source::{Source, SourceScan};
pub use verify::{VerifiedPartition, verify};

use fluxori_core::digest::{Canonical, Digest};
use fluxori_stream::Record;

/// The digest over a record and, by way of `before`, all records of its partition before it.
fn chained(before: Digest, partition: i32, record: Record<'_>) -> Digest {
    let mut canonical = Canonical::new("fluxori.archived_record.v1");
    canonical
        .bytes(&before.0)
        .number(i64::from(partition))
        .number(record.offset)
        .number(record.append_time_ms);
    for bytes in [record.key, record.value] {
        canonical.flag(bytes.is_some()).bytes(bytes.unwrap_or_default());
    }
    canonical.digest()
}
