//! `archive.json`: which files make up the archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use fluxori_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::ArchiveError;

pub(crate) const NAME: &str = "archive.json";
/// The end of names under which files are written.
pub(crate) const UNFINISHED: &str = "unfinished";
const FORMAT: &str = "fluxori.archive.v1";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: String,
    /// The digest of the log's genesis.
    pub(crate) genesis: Digest,
    /// By partition, its files in order.
    pub(crate) partitions: BTreeMap<i32, Vec<Segment>>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Segment {
    pub(crate) file: String,
    pub(crate) first_offset: i64,
    /// Exclusive.
    pub(crate) end_offset: i64,
    /// Bytes of all keys and values.
    pub(crate) record_bytes: u64,
    /// Of the last record, in milliseconds.
    pub(crate) last_append_time: i64,
    /// The running digest over all records of the partition up to the end.
    pub(crate) digest: Digest,
}

impl Manifest {
    pub(crate) fn new(genesis: Digest) -> Self {
        Self { format: FORMAT.to_owned(), genesis, partitions: BTreeMap::new() }
    }

    /// None if the folder has no archive.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, ArchiveError> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ArchiveError::file("read", &path)(error)),
        };
        let wrong = |problem: String| ArchiveError::Manifest { path: path.clone(), problem };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("its format is {}, this build reads {FORMAT}", manifest.format)));
        }
        for (partition, segments) in &manifest.partitions {
            let mut end = 0;
            for segment in segments {
                if segment.first_offset != end || segment.end_offset <= end {
                    return Err(wrong(format!(
                        "partition {partition}: {} does not go on at offset {end}",
                        segment.file
                    )));
                }
                end = segment.end_offset;
            }
        }
        Ok(Some(manifest))
    }

    /// Puts this list in place of the one before, whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), ArchiveError> {
        let (path, draft) = (folder.join(NAME), folder.join(format!("{NAME}.{UNFINISHED}")));
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::other)
            .map_err(ArchiveError::file("write", &path))?;
        text.push(b'\n');
        let written = File::create(&draft).and_then(|mut out| {
            out.write_all(&text)?;
            out.sync_all()
        });
        written.and_then(|()| fs::rename(&draft, &path)).map_err(ArchiveError::file("write", &path))?;
        sync_folder(folder)
    }
}

/// Makes renames in the folder outlive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), ArchiveError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ArchiveError::file("sync", folder))
}
