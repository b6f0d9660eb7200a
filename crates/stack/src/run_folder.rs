//! The folder of one run, and the removal of what dead runs have left.
//!
//! A run is alive as long as its supervisor holds the lock on `run-<pid>.lock`, which the kernel frees however that
//! process ends, and which is removed last. `run-<pid>/run.json` lists the run's processes and its folders elsewhere, so that a later run can end
//! and remove what a killed supervisor could not.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::process::start_time;

/// The folder of the run of this process.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    contents: Mutex<Contents>,
    /// Held for as long as the run lives.
    _lock: File,
}

/// What a run has to be rid of besides its folder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    processes: Vec<Process>,
    folders: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Ticks between boot and start: tells the process from a later one with the same id.
    start_time: u64,
}

impl RunFolder {
    /// Cleans up after dead runs under `stack_folder` and makes the folder of this one.
    pub(crate) fn create(stack_folder: &Path) -> Result<Self> {
        Self::create_named(stack_folder, &format!("run-{}", std::process::id()))
    }

    /// As [`RunFolder::create`], for a process with several runs; the name begins with `run-`.
    pub(crate) fn create_named(stack_folder: &Path, name: &str) -> Result<Self> {
        // One at a time, so that a folder whose lock is not taken yet is never mistaken for a dead run's.
        let guard = File::create(stack_folder.join("lock")).context("cannot create the stack's lock")?;
        guard.lock().context("cannot take the stack's lock")?;
        remove_dead_runs(stack_folder)?;

        let path = stack_folder.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let lock = File::create(lock_of(&path))?;
        lock.lock().context("cannot take the run's lock")?;
        let folder = Self { path, contents: Mutex::default(), _lock: lock };
        folder.update(|_| {})?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log of `name` goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// Records a process of this run.
    pub(crate) fn add_process(&self, pid: i32) -> Result<()> {
        let start_time = start_time(pid).unwrap_or_default();
        self.update(|contents| contents.processes.push(Process { pid, start_time }))
    }

    /// Makes a folder for `name` that others than this user can reach: in the run's folder where they can traverse all
    /// that is above it, else under the system's temporary folder.
    pub(crate) fn reachable_folder(&self, name: &str) -> Result<PathBuf> {
        let inside = self.path.join(name);
        let traversable = self.path.ancestors().all(|ancestor| {
            ancestor.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
        });
        if traversable {
            std::fs::create_dir(&inside)?;
            return Ok(inside);
        }
        let outside = std::env::temp_dir().join(format!("fluxori-{name}-{}-{}", std::process::id(), nonce()));
        self.update(|contents| contents.folders.push(outside.clone()))?;
        // Fails where it exists already: a folder that somebody else has put there is not ours.
        std::fs::DirBuilder::new().mode(0o700).create(&outside)?;
        Ok(outside)
    }

    /// Removes the folder and those elsewhere.
    pub(crate) fn remove(self) -> Result<()> {
        let contents = std::mem::take(&mut *self.contents.lock().unwrap_or_else(PoisonError::into_inner));
        for folder in &contents.folders {
            remove(folder)?;
        }
        remove(&self.path)?;
        std::fs::remove_file(lock_of(&self.path)).context("cannot remove the run's lock")
    }

    fn update(&self, change: impl FnOnce(&mut Contents)) -> Result<()> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut contents);
        let temporary = self.path.join("run.json.new");
        std::fs::write(&temporary, serde_json::to_vec(&*contents)?)?;
        std::fs::rename(temporary, self.path.join("run.json"))?;
        Ok(())
    }
}

/// Whether the run of this folder is alive.
pub(crate) fn is_alive(run_folder: &Path) -> bool {
    File::open(lock_of(run_folder))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

fn lock_of(run_folder: &Path) -> PathBuf {
    run_folder.with_extension("lock")
}

fn remove_dead_runs(stack_folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(stack_folder)? {
        let path = entry?.path();
        let is_run = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("run-") && !name.ends_with(".lock"));
        if !is_run || is_alive(&path) {
            continue;
        }
        let contents: Contents = std::fs::read(path.join("run.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        for process in &contents.processes {
            if start_time(process.pid) == Some(process.start_time) {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
        }
        for folder in &contents.folders {
            remove(folder)?;
        }
        remove(&path)?;
        let _ = std::fs::remove_file(lock_of(&path));
    }
    Ok(())
}

/// Removes a folder; a file that a dying process still adds meanwhile is tried again.
fn remove(folder: &Path) -> Result<()> {
    let mut result = Ok(());
    for _ in 0..20 {
        result = match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => return Ok(()),
        };
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    result.with_context(|| format!("cannot remove {}", folder.display()))
}

/// A number that nobody can foresee, so that nobody can be there first.
fn nonce() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
