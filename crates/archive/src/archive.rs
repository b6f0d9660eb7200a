//! Reading an archive.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fluxori_core::digest::Digest;
use fluxori_stream::{Batch, Range};
use fluxori_wire::ArchiveFileReader;
use tokio::sync::mpsc;

use crate::manifest::{Manifest, Segment};
use crate::{ArchiveError, chained};

/// An archive as it was listed when it was opened.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: Arc<Path>,
    manifest: Arc<Manifest>,
}

impl Archive {
    /// The archive in a folder.
    ///
    /// # Errors
    /// [`ArchiveError::NotThere`], [`ArchiveError::Manifest`], [`ArchiveError::File`].
    pub fn open(folder: &Path) -> Result<Self, ArchiveError> {
        let manifest =
            Manifest::read(folder)?.ok_or_else(|| ArchiveError::NotThere { folder: folder.to_owned() })?;
        Ok(Self::of(folder, manifest))
    }

    /// As [`Archive::open`], if it is of the log with this genesis.
    ///
    /// # Errors
    /// [`ArchiveError::OtherLog`], and as [`Archive::open`].
    pub fn open_of_log(folder: &Path, genesis: Digest) -> Result<Self, ArchiveError> {
        let archive = Self::open(folder)?;
        archive.check_log(genesis)?;
        Ok(archive)
    }

    pub(crate) fn of(folder: &Path, manifest: Manifest) -> Self {
        Self { folder: folder.into(), manifest: Arc::new(manifest) }
    }

    pub(crate) fn check_log(&self, wanted: Digest) -> Result<(), ArchiveError> {
        let found = self.genesis();
        if found == wanted {
            return Ok(());
        }
        Err(ArchiveError::OtherLog { folder: self.folder.to_path_buf(), found, wanted })
    }

    /// The digest of the genesis of the log that it was begun for.
    #[must_use]
    pub fn genesis(&self) -> Digest {
        self.manifest.genesis
    }

    /// The partitions of which it has records.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.manifest
            .partitions
            .iter()
            .filter(|(_, segments)| !segments.is_empty())
            .map(|(partition, _)| *partition)
    }

    /// The offset after the last record of a partition that it holds; 0 if it holds none.
    #[must_use]
    pub fn end(&self, partition: i32) -> i64 {
        self.segments(partition).last().map_or(0, |segment| segment.end_offset)
    }

    /// How many files hold a partition.
    #[must_use]
    pub fn files(&self, partition: i32) -> usize {
        self.segments(partition).len()
    }

    /// The running digest over all its records of a partition.
    #[must_use]
    pub fn digest(&self, partition: i32) -> Digest {
        self.segments(partition).last().map_or_else(Digest::default, |segment| segment.digest)
    }

    pub(crate) fn segments(&self, partition: i32) -> &[Segment] {
        self.manifest.partitions.get(&partition).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn path(&self, segment: &Segment) -> PathBuf {
        self.folder.join(&segment.file)
    }

    /// Reads ranges one after the other, as far as the archive goes, in batches of at most `max_records`. Reads ahead by
    /// one file.
    #[must_use]
    pub fn scan(&self, ranges: &[Range], max_records: usize) -> ArchiveScan {
        let (sender, batches) = mpsc::channel(2);
        let (archive, ranges) = (self.clone(), ranges.to_vec());
        tokio::task::spawn_blocking(move || {
            for range in ranges {
                if let Err(error) = archive.read_range(range, max_records.max(1), &sender) {
                    _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        });
        ArchiveScan { batches }
    }

    fn read_range(&self, range: Range, max_records: usize, to: &Sender) -> Result<(), ArchiveError> {
        let mut before = Digest::default();
        for segment in self.segments(range.partition) {
            let wanted = segment.end_offset > range.start && segment.first_offset < range.end;
            if wanted {
                for batch in self.read_segment(range.partition, segment, before, max_records)? {
                    let (_, batch) = batch.split_at(range.start);
                    let (batch, _) = batch.split_at(range.end);
                    if !batch.is_empty() && to.blocking_send(Ok(batch)).is_err() {
                        return Ok(());
                    }
                }
            }
            before = segment.digest;
        }
        Ok(())
    }

    /// All records of a file, once its digest was found right.
    pub(crate) fn read_segment(
        &self,
        partition: i32,
        segment: &Segment,
        before: Digest,
        max_records: usize,
    ) -> Result<Vec<Batch>, ArchiveError> {
        let path = self.path(segment);
        let unreadable = ArchiveError::unreadable(&path);
        let file = File::open(&path).map_err(ArchiveError::file("open", &path))?;
        let mut batches = Vec::new();
        let mut batch = Batch::new(partition, segment.first_offset);
        for record in ArchiveFileReader::new(BufReader::new(file)).map_err(&unreadable)? {
            let record = record.map_err(&unreadable)?;
            if (record.partition, record.offset) != (partition, batch.end()) {
                let problem = format!(
                    "it has partition {} offset {} where offset {} of partition {partition} is due",
                    record.partition,
                    record.offset,
                    batch.end()
                );
                return Err(ArchiveError::damaged(&path, problem));
            }
            batch.push(record.append_time_ms, record.key.as_deref(), record.value.as_deref());
            if batch.len() >= max_records {
                let next = Batch::new(partition, batch.end());
                batches.push(std::mem::replace(&mut batch, next));
            }
        }
        if batch.end() != segment.end_offset {
            let problem = format!("it ends before offset {}, not {}", batch.end(), segment.end_offset);
            return Err(ArchiveError::damaged(&path, problem));
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        let records = batches.iter().flat_map(Batch::iter);
        let digest = records.fold(before, |digest, record| chained(digest, partition, record));
        if digest != segment.digest {
            return Err(ArchiveError::damaged(
                &path,
                "its records are not those that were archived (digest)",
            ));
        }
        Ok(batches)
    }
}

type Sender = mpsc::Sender<Result<Batch, ArchiveError>>;

/// The batches of a scan; dropping it ends the scan.
#[derive(Debug)]
pub struct ArchiveScan {
    batches: mpsc::Receiver<Result<Batch, ArchiveError>>,
}

impl ArchiveScan {
    /// The next batch, or none when all ranges are read as far as the archive goes.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`], [`ArchiveError::File`].
    pub async fn next(&mut self) -> Result<Option<Batch>, ArchiveError> {
        self.batches.recv().await.transpose()
    }
}
