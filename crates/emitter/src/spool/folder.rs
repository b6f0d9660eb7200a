//! The spool's folder: who has it, the names of its segments, and how far the log has it.
//!
//! ```text
//! FOLDER/TOPIC/SLOT/lock                        locked by the process that has the slot
//! FOLDER/TOPIC/SLOT/00000000000000000007.segment
//! FOLDER/TOPIC/SLOT/genesis                     digest of the log that the records are for, if it was pinned
//! FOLDER/TOPIC/SLOT/cursor                      two places, written in turns:
//!                                               turn u64 | index u64 | checksum u32
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fluxori_core::digest::Digest;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::segment::Space;

/// Most slots that are looked at.
const MAX_SLOTS: u32 = 1_000;
/// The cursor's places lie in different sectors, so that a torn write leaves one of them whole.
const PLACES: [u64; 2] = [0, 4096];

/// A slot that this process holds the lock of.
pub(crate) struct Folder {
    path: PathBuf,
    cursor: File,
    turn: u64,
    _lock: File,
    #[cfg(test)]
    pub(super) disk: Option<std::sync::Arc<super::power::Disk>>,
}

/// Takes the first free slot of a spool, and every other free slot that an earlier process left records in.
///
/// # Errors
/// The folder cannot be made, or a slot cannot be opened.
pub(crate) fn take_slots(
    folder: &Path,
    topic: &str,
    genesis: Option<Digest>,
) -> io::Result<(Folder, Vec<Folder>)> {
    let base = folder.join(topic);
    let (mut own, mut refused) = (None, None);
    let mut left = Vec::new();
    for slot in 0..MAX_SLOTS {
        let path = base.join(slot.to_string());
        let is_there = path.is_dir();
        if own.is_some() && !is_there {
            break;
        }
        let taken = match Folder::take(&path, genesis) {
            Ok(Some(taken)) => taken,
            Ok(None) => continue,
            // Of another user, or broken: nobody else is to suffer from it.
            Err(error) if is_there => {
                tracing::warn!(slot = %path.display(), %error, "a slot of the spool cannot be used");
                refused = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if own.is_none() {
            own = Some(taken);
        } else if !taken.segments()?.is_empty() {
            left.push(taken);
        }
    }
    let none = || io::Error::other(format!("all {MAX_SLOTS} slots of {} are in use", base.display()));
    Ok((own.ok_or_else(|| refused.unwrap_or_else(none))?, left))
}

impl Folder {
    /// Takes a slot; `None` if another process, or another emitter of this one, has it, or it holds what is for a log with another
    /// genesis.
    pub(crate) fn take(path: &Path, genesis: Option<Digest>) -> io::Result<Option<Self>> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = open(&path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let pin = path.join("genesis");
        match (std::fs::read_to_string(&pin), genesis) {
            (Ok(text), pinned) => {
                if pinned.is_none_or(|pinned| text.trim() != pinned.to_string()) {
                    return Ok(None);
                }
            }
            (Err(_), Some(pinned)) => std::fs::write(&pin, pinned.to_string())?,
            (Err(_), None) => {}
        }
        // For people who look whose it is.
        lock.set_len(0)?;
        (&lock).write_all(std::process::id().to_string().as_bytes())?;
        let cursor = open(&path.join("cursor"))?;
        let path = path.to_owned();
        Ok(Some(Self {
            path,
            cursor,
            turn: 0,
            _lock: lock,
            #[cfg(test)]
            disk: None,
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of the segments there are, in order.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".segment"));
            let number = number.filter(|number| number.len() == 20);
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn open_segment(&self, number: u64) -> io::Result<File> {
        File::options().read(true).write(true).open(self.segment_path(number))
    }

    /// Makes a file with all its blocks, so that writing to its pages cannot fail for want of space (see the promise's limits in `segment`).
    pub(crate) fn create_segment(&self, number: u64, bytes: u64) -> io::Result<Space> {
        let path = self.segment_path(number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let space = allocate(&file, bytes).and_then(|()| Space::in_file(number, file));
        if space.is_err() {
            // Half a segment would take the place that the next attempt needs.
            _ = std::fs::remove_file(&path);
        }
        space
    }

    pub(crate) fn remove_segment(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.segment_path(number))
    }

    /// Takes a segment that cannot be read out of the way, and keeps it.
    pub(crate) fn keep_unreadable(&self, number: u64) -> io::Result<PathBuf> {
        let path = self.segment_path(number);
        let kept = path.with_extension(format!("{}.unreadable", self.turn));
        std::fs::rename(path, &kept)?;
        Ok(kept)
    }

    /// Writes the names of the folders above to the disk.
    pub(crate) fn sync_parents(&self) -> io::Result<()> {
        self.path
            .ancestors()
            .skip(1)
            .take(3)
            .filter(|path| path.is_dir())
            .try_for_each(|path| File::open(path)?.sync_all())
    }

    /// Writes the names of the files to the disk.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            disk.sync_names(&self.path);
        }
        File::open(&self.path)?.sync_all()
    }

    /// Up to which index the log has the records; `None` if that was never written, or not whole.
    pub(crate) fn read_cursor(&mut self) -> io::Result<Option<u64>> {
        let mut found: Option<(u64, u64)> = None;
        for place in PLACES {
            let mut bytes = [0; 20];
            if self.cursor.read_exact_at(&mut bytes, place).is_ok() {
                found = found.max(read_place(bytes));
            }
        }
        self.turn = found.map_or(0, |(turn, _)| turn);
        Ok(found.map(|(_, index)| index))
    }

    /// Writes up to which index the log has the records.
    pub(crate) fn write_cursor(&mut self, index: u64) -> io::Result<()> {
        self.turn += 1;
        let mut bytes = Vec::with_capacity(20);
        bytes.extend_from_slice(&self.turn.to_le_bytes());
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let [even, odd] = PLACES;
        self.cursor.write_all_at(&bytes, if self.turn.is_multiple_of(2) { even } else { odd })
    }

    /// Writes the cursor to the disk.
    pub(crate) fn sync_cursor(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            disk.sync_file(&self.path, "cursor");
        }
        self.cursor.sync_data()
    }

    /// Tells the model of the disk that a segment's pages are about to be synced, which fails if the model says so.
    #[cfg(test)]
    pub(super) fn note_sync(&self, number: u64) -> io::Result<()> {
        match &self.disk {
            Some(disk) if disk.is_failing() => Err(io::ErrorKind::Other.into()),
            Some(disk) => {
                disk.sync_file(&self.path, &format!("{number:020}.segment"));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn segment_path(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.segment"))
    }
}

/// Gives a file its blocks; by writing zeros where the file system knows no other way, as some network ones do not.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) => write_zeros(file, bytes),
        result => Ok(result?),
    }
}

/// Writes as many zeros, up to the disk: a full one is an error here, and not when the kernel gets to it.
fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Turn and index.
fn read_place(bytes: [u8; 20]) -> Option<(u64, u64)> {
    let mut rest = bytes.as_slice();
    let mut number = [0; 8];
    rest.read_exact(&mut number).ok()?;
    let turn = u64::from_le_bytes(number);
    rest.read_exact(&mut number).ok()?;
    let index = u64::from_le_bytes(number);
    let checksum = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    (crc32fast::hash(bytes.get(..16)?) == checksum).then_some((turn, index))
}

#[cfg(test)]
mod tests {
    use super::super::segment::{Found, Segment};
    use super::*;

    #[test]
    fn a_file_of_zeros_is_a_segment_that_was_never_begun() {
        let mut file = tempfile::tempfile().unwrap();
        write_zeros(&file, 300_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 300_000);
        std::io::Seek::rewind(&mut file).unwrap();
        assert!(matches!(Segment::recover(0, file).unwrap(), Found::NeverBegun));
    }
}
