//! Writing an archive.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use fluxori_core::digest::Digest;
use fluxori_stream::{Batch, Record};
use fluxori_wire::{ArchiveFileWriter, ArchivedRecord};

use crate::archive::Archive;
use crate::manifest::{Manifest, Segment, UNFINISHED, sync_folder};
use crate::{ArchiveError, chained};

/// A file with so many bytes of keys and values is full. Readers hold one file's records in memory.
const FILE_BYTES: u64 = 32 << 20;
const LOCK: &str = "archive.lock";

/// Writes an archive; one process at a time.
#[derive(Debug)]
pub struct Archiver {
    folder: PathBuf,
    manifest: Manifest,
    open: BTreeMap<i32, OpenFile>,
    file_bytes: u64,
    /// Held until the archiver is dropped.
    _lock: File,
}

impl Archiver {
    /// Goes on with the archive in a folder, or begins one. What a run that died left unfinished is removed.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`], [`ArchiveError::OtherLog`], [`ArchiveError::Manifest`], [`ArchiveError::File`].
    pub fn open(folder: &Path, genesis: Digest) -> Result<Self, ArchiveError> {
        Self::with_file_bytes(folder, genesis, FILE_BYTES)
    }

    fn with_file_bytes(folder: &Path, genesis: Digest, file_bytes: u64) -> Result<Self, ArchiveError> {
        fs::create_dir_all(folder).map_err(ArchiveError::file("make", folder))?;
        let lock = folder.join(LOCK);
        let lock_file = File::options().create(true).truncate(false).write(true).open(&lock);
        let lock_file = lock_file.map_err(ArchiveError::file("open", &lock))?;
        lock_file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ArchiveError::Busy { folder: folder.to_owned() },
            TryLockError::Error(error) => ArchiveError::file("lock", &lock)(error),
        })?;
        let manifest = match Manifest::read(folder)? {
            Some(manifest) => manifest,
            None => {
                let manifest = Manifest::new(genesis);
                manifest.write(folder)?;
                manifest
            }
        };
        Archive::of(folder, manifest.clone()).check_log(genesis)?;
        let archiver =
            Self { folder: folder.to_owned(), manifest, open: BTreeMap::new(), file_bytes, _lock: lock_file };
        archiver.remove_leftovers()?;
        Ok(archiver)
    }

    /// The archive as it is listed now.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive::of(&self.folder, self.manifest.clone())
    }

    /// Adds the records of a batch that begins where its partition ends.
    ///
    /// # Errors
    /// [`ArchiveError::NotAdjacent`], [`ArchiveError::File`]; [`ArchiveError::Damaged`] if the partition's last file is.
    pub fn append(&mut self, batch: &Batch) -> Result<(), ArchiveError> {
        let partition = batch.partition();
        for record in batch.iter() {
            let open = match self.open.remove(&partition) {
                Some(open) => open,
                None => OpenFile::after(&self.archive(), partition, self.file_bytes)?,
            };
            let open = self.open.entry(partition).or_insert(open);
            open.append(record)?;
            if open.segment.record_bytes >= self.file_bytes {
                self.list(partition)?;
            }
        }
        Ok(())
    }

    /// Finishes and lists all open files.
    ///
    /// # Errors
    /// [`ArchiveError::File`].
    pub fn finish(mut self) -> Result<Archive, ArchiveError> {
        for partition in self.open.keys().copied().collect::<Vec<_>>() {
            self.list(partition)?;
        }
        Ok(self.archive())
    }

    /// Finishes the open file of a partition and lists it, in place of the one that it begins with, if any.
    fn list(&mut self, partition: i32) -> Result<(), ArchiveError> {
        let Some(open) = self.open.remove(&partition) else { return Ok(()) };
        let segment = open.finish(&self.folder)?;
        let segments = self.manifest.partitions.entry(partition).or_default();
        let replaced = segments.pop_if(|last| last.first_offset == segment.first_offset);
        segments.push(segment);
        self.manifest.write(&self.folder)?;
        if let Some(replaced) = replaced {
            let path = self.folder.join(&replaced.file);
            fs::remove_file(&path).map_err(ArchiveError::file("remove", &path))?;
        }
        Ok(())
    }

    /// Removes files of ours that are not listed.
    fn remove_leftovers(&self) -> Result<(), ArchiveError> {
        let read = ArchiveError::file("read", &self.folder);
        let entries =
            fs::read_dir(&self.folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(read)?;
        let is_listed =
            |name: &str| self.manifest.partitions.values().flatten().any(|segment| segment.file == name);
        for path in entries.iter().map(fs::DirEntry::path) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let is_ours = name.starts_with("partition-") && name.ends_with(".avro");
            if name.ends_with(UNFINISHED) || (is_ours && !is_listed(name)) {
                fs::remove_file(&path).map_err(ArchiveError::file("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// A file that is being written.
struct OpenFile {
    partition: i32,
    path: PathBuf,
    writer: ArchiveFileWriter<BufWriter<File>>,
    segment: Segment,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("segment", &self.segment).finish_non_exhaustive()
    }
}

impl OpenFile {
    /// The next file of a partition. It begins with the records of the one before if that is less than half full, so
    /// that many short runs do not make many small files.
    fn after(archive: &Archive, partition: i32, file_bytes: u64) -> Result<Self, ArchiveError> {
        let segments = archive.segments(partition);
        let Some((last, before)) = segments.split_last() else {
            return Self::new(archive, partition, 0, Digest::default());
        };
        if last.record_bytes >= file_bytes / 2 {
            return Self::new(archive, partition, last.end_offset, last.digest);
        }
        let before = before.last().map_or_else(Digest::default, |segment| segment.digest);
        let mut open = Self::new(archive, partition, last.first_offset, before)?;
        for batch in archive.read_segment(partition, last, before, usize::MAX)? {
            batch.iter().try_for_each(|record| open.append(record))?;
        }
        Ok(open)
    }

    fn new(
        archive: &Archive,
        partition: i32,
        first_offset: i64,
        before: Digest,
    ) -> Result<Self, ArchiveError> {
        let segment = Segment {
            file: format!("partition-{partition:05}.{UNFINISHED}"),
            first_offset,
            end_offset: first_offset,
            record_bytes: 0,
            last_append_time: 0,
            digest: before,
        };
        let path = archive.path(&segment);
        let file = File::create(&path).map_err(ArchiveError::file("create", &path))?;
        let writer = ArchiveFileWriter::new(BufWriter::new(file)).map_err(ArchiveError::unreadable(&path))?;
        Ok(Self { partition, path, writer, segment })
    }

    fn append(&mut self, record: Record<'_>) -> Result<(), ArchiveError> {
        let (partition, end) = (self.partition, self.segment.end_offset);
        if record.offset != end {
            return Err(ArchiveError::NotAdjacent { partition, end, found: record.offset });
        }
        let archived = ArchivedRecord {
            partition,
            offset: record.offset,
            append_time_ms: record.append_time_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
        };
        self.writer.append(&archived).map_err(|error| self.unwritable(std::io::Error::other(error)))?;
        let bytes = [record.key, record.value].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        self.segment.record_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.segment.end_offset = end.saturating_add(1);
        self.segment.last_append_time = record.append_time_ms;
        self.segment.digest = chained(self.segment.digest, partition, record);
        Ok(())
    }

    fn unwritable(&self, error: std::io::Error) -> ArchiveError {
        ArchiveError::file("write", &self.path)(error)
    }

    /// Syncs the file and gives it its name.
    fn finish(self, folder: &Path) -> Result<Segment, ArchiveError> {
        let Self { partition, path, writer, mut segment } = self;
        let unwritable = |error: std::io::Error| ArchiveError::file("write", &path)(error);
        let out = writer.finish().map_err(|error| unwritable(std::io::Error::other(error)))?;
        let file = out.into_inner().map_err(|error| unwritable(error.into_error()))?;
        file.sync_all().map_err(unwritable)?;
        segment.file =
            format!("partition-{partition:05}-{:012}-{:012}.avro", segment.first_offset, segment.end_offset);
        fs::rename(&path, folder.join(&segment.file)).map_err(unwritable)?;
        sync_folder(folder)?;
        Ok(segment)
    }
}

#[cfg(test)]
mod tests;
