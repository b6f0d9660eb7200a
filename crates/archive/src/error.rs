use std::path::{Path, PathBuf};

use fluxori_core::digest::Digest;
use fluxori_core::fold::Halt;
use fluxori_stream::StreamError;
use fluxori_wire::WireError;

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds no archive.
    #[error("{} is no archive: it has no archive.json; make one with `credits log archive --to {}`", folder.display(), folder.display())]
    NotThere {
        /// The folder.
        folder: PathBuf,
    },
    /// The list of files cannot be read.
    #[error("{}: {problem}; restore the archive from a copy", path.display())]
    Manifest {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not what the list says.
    #[error("{} is damaged: {problem}; restore it from a copy of the archive", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process writes the archive.
    #[error("another process is writing the archive in {}; wait until it has ended", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The archive is another log's.
    #[error("{} is the archive of another log (genesis {found}, wanted {wanted})", folder.display())]
    OtherLog {
        /// The folder.
        folder: PathBuf,
        /// The genesis that it was begun for.
        found: Digest,
        /// The genesis of the log in hand.
        wanted: Digest,
    },
    /// A partition does not begin with its genesis.
    #[error("the archive is of no use: {0}")]
    Genesis(#[from] Halt),
    /// The log holds another record than the archive.
    #[error(
        "partition {partition}: the record at offset {offset} of the log is not the one in the archive: one of the two is \
         not of this log, or was tampered with"
    )]
    Differs {
        /// The partition.
        partition: i32,
        /// The first offset at which they differ.
        offset: i64,
    },
    /// Records are neither in the archive nor in the log.
    #[error(
        "partition {partition}: offsets {first} to {last} are missing: {}, the log begins at offset {low}; name the \
         archive that holds them with --archive",
        ends(*archive_end)
    )]
    Missing {
        /// The partition.
        partition: i32,
        /// The first offset that is missing.
        first: i64,
        /// The last one.
        last: i64,
        /// Where the archive ends, exclusive; none without an archive.
        archive_end: Option<i64>,
        /// Where the log begins.
        low: i64,
    },
    /// The batch does not go on where the archive ends.
    #[error("partition {partition}: the archive ends at offset {end}, and what came begins at {found}")]
    NotAdjacent {
        /// The partition.
        partition: i32,
        /// Where the archive ends.
        end: i64,
        /// Where the batch begins.
        found: i64,
    },
    /// Kafka failed or refused.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

fn ends(archive_end: Option<i64>) -> String {
    archive_end.map_or_else(
        || "there is no archive".to_owned(),
        |end| format!("the archive ends before offset {end}"),
    )
}

impl ArchiveError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }

    /// What the Avro library says of a file that is read.
    pub(crate) fn unreadable(path: &Path) -> impl Fn(WireError) -> Self {
        move |error| Self::damaged(path, error.to_string())
    }
}
