//! Downloads that are kept between runs. An entry is a folder that appears complete or not at all.

use std::fs::{File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::StopFlag;

/// Where and how downloads are done.
pub(crate) struct Downloads<'a> {
    /// Where they are kept between runs.
    pub(crate) cache: &'a Path,
    /// Where the output of the tools goes.
    pub(crate) log: PathBuf,
    pub(crate) stop: &'a StopFlag,
    pub(crate) progress: &'a dyn Fn(String),
}

/// What an entry is made from.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    /// Files of ours that say what to download; an entry made from others is not this one.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// For the progress line.
    pub(crate) what: &'a str,
}

impl Entry<'_> {
    /// The entry's folder: its name has a digest of the files, so that a new version never touches one in use.
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.files.hash(&mut hasher);
        cache.join(format!("{}-{:016x}", self.name, hasher.finish()))
    }

    /// Returns the entry's folder, after `download` has filled it if it was not there. `download` gets a folder with
    /// the entry's files in it, which becomes the entry when it has returned without an error.
    pub(crate) fn get(
        &self,
        downloads: &Downloads<'_>,
        download: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.folder(downloads.cache);
        if folder.is_dir() {
            return Ok(folder);
        }
        std::fs::create_dir_all(downloads.cache)?;
        let _lock = self.lock(downloads)?;
        if folder.is_dir() {
            return Ok(folder);
        }
        (downloads.progress)(format!("downloading {}", self.what));
        let partial = downloads.cache.join(format!("{}.partial", self.name));
        if partial.exists() {
            std::fs::remove_dir_all(&partial)?;
        }
        std::fs::create_dir(&partial)?;
        for (name, text) in self.files {
            std::fs::write(partial.join(name), text)?;
        }
        download(&partial).with_context(|| format!("cannot download {}", self.what))?;
        std::fs::rename(&partial, &folder)?;
        Ok(folder)
    }

    /// Waits for other runs that download the same.
    fn lock(&self, downloads: &Downloads<'_>) -> Result<File> {
        let lock = File::create(downloads.cache.join(format!("{}.lock", self.name)))?;
        let mut said = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the cache"),
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        (downloads.progress)(format!("waiting for another run that downloads {}", self.what));
                        said = true;
                    }
                    downloads.stop.check()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}
