//! A stack that stays when the command that started it ends: `cargo xtask up` and `down`.
//!
//! `target/stack/up.json` says where it is. It counts only while the run that it names is alive.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::launch::{self, Lifetime};
use crate::{Endpoints, Options, paths, run_folder};

/// What `up.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The supervisor.
    pid: u32,
    run_folder: PathBuf,
    endpoints: Endpoints,
}

impl State {
    /// Says that the run of this process, the supervisor, is up.
    pub(crate) fn write(stack_folder: &Path, run_folder: &Path, endpoints: &Endpoints) -> Result<()> {
        let state = Self {
            pid: std::process::id(),
            run_folder: run_folder.to_path_buf(),
            endpoints: endpoints.clone(),
        };
        let temporary = stack_folder.join("up.json.new");
        std::fs::write(&temporary, serde_json::to_vec_pretty(&state)?)?;
        Ok(std::fs::rename(temporary, stack_folder.join(FILE))?)
    }

    /// Takes back that the run of this process is up, if it was said.
    pub(crate) fn remove(stack_folder: &Path) -> Result<()> {
        match Self::read(stack_folder)? {
            Some(state) if state.pid == std::process::id() => {
                Ok(std::fs::remove_file(stack_folder.join(FILE))?)
            }
            _ => Ok(()),
        }
    }

    fn read(stack_folder: &Path) -> Result<Option<Self>> {
        match std::fs::read(stack_folder.join(FILE)) {
            // A file that cannot be read as a state is as good as none: it is written in one step, by us.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read up.json"),
        }
    }

    /// Whether it holds still: its supervisor has the run's lock.
    fn is_alive(&self) -> bool {
        run_folder::is_alive(&self.run_folder)
    }

    /// Whether its servers run, as far as is known: the supervisor takes `up.json` back when all of them have ended.
    fn is_up(&self, stack_folder: &Path) -> Result<bool> {
        Ok(Self::read(stack_folder)?.is_some_and(|state| state.pid == self.pid))
    }

    /// Waits until the servers have ended, and then until their data are removed.
    fn wait_for_end(&self, stack_folder: &Path, limits: Limits) -> Result<()> {
        let begin = Instant::now();
        let mut removing_since = None;
        while self.is_alive() {
            if removing_since.is_none() && !self.is_up(stack_folder)? {
                removing_since = Some(Instant::now());
            }
            let pid = self.pid;
            match removing_since {
                None => ensure!(
                    begin.elapsed() < limits.servers,
                    "the stack's servers do not end; their supervisor is process {pid}"
                ),
                Some(since) => ensure!(
                    since.elapsed() < limits.data,
                    "the stack's servers have ended, and their data in {} are still being removed by process {pid}",
                    self.run_folder.display()
                ),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// How long [`down`] waits.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// For servers to end.
    servers: Duration,
    /// For their data to be removed.
    data: Duration,
}

/// A server is killed that has not ended after ten seconds, and has to give its memory back. What long tests and
/// benches leave behind are gigabytes in tens of thousands of files: to remove them takes a busy machine longer than
/// servers take to end.
const LIMITS: Limits = Limits { servers: Duration::from_secs(60), data: Duration::from_mins(10) };

const FILE: &str = "up.json";

/// What [`up`] found or did.
#[derive(Debug)]
pub enum Up {
    /// Started now.
    Started(Endpoints),
    /// It was up already, and was left as it is.
    Already(Endpoints),
    /// The environment names all three services, so there is nothing to start.
    Named(Endpoints),
}

/// Starts the stack and leaves it running until [`down`], from whichever process.
///
/// # Errors
/// As [`crate::Stack::start`].
pub fn up(options: &Options) -> Result<Up> {
    let folder = paths::stack_folder(options)?;
    let _lock = lock(&folder)?;
    if let Some(state) = State::read(&folder)?.filter(State::is_alive) {
        return Ok(Up::Already(state.endpoints));
    }
    let (endpoints, launched) = launch::launch(options, Lifetime::Detached)?;
    Ok(if launched.is_some() { Up::Started(endpoints) } else { Up::Named(endpoints) })
}

/// Stops what [`up`] has left running, with its data; `false` when nothing was.
///
/// # Errors
/// When its servers do not end within a minute, or their data are not removed within ten more.
pub fn down(options: &Options) -> Result<bool> {
    let folder = paths::stack_folder(options)?;
    let _lock = lock(&folder)?;
    let Some(state) = State::read(&folder)? else {
        return Ok(false);
    };
    if !state.is_alive() {
        std::fs::remove_file(folder.join(FILE))?;
        return Ok(false);
    }
    let pid = i32::try_from(state.pid).context("up.json names a process that cannot be")?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot signal the stack's supervisor")?;
    state.wait_for_end(&folder, LIMITS)?;
    Ok(true)
}

/// Keeps two of these commands from running at once.
fn lock(folder: &Path) -> Result<File> {
    let lock = File::create(folder.join("up.lock"))?;
    lock.lock()?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_hours(1);

    /// A run of this process that is up, and its lock.
    fn up(stack_folder: &Path) -> (State, File) {
        let run_folder = stack_folder.join("run-1");
        let lock = File::create(run_folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let endpoints = Endpoints {
            kafka_brokers: String::new(),
            database_url: String::new(),
            clickhouse_url: String::new(),
        };
        State::write(stack_folder, &run_folder, &endpoints).unwrap();
        (State::read(stack_folder).unwrap().unwrap(), lock)
    }

    #[test]
    fn data_may_take_longer_to_remove_than_servers_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let (state, lock) = up(folder.path());
        State::remove(folder.path()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope
                .spawn(|| state.wait_for_end(folder.path(), Limits { servers: Duration::ZERO, data: NEVER }));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!waiting.is_finished());
            drop(lock);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn whatever_does_not_end_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (state, _lock) = up(folder.path());
        let ended = state.wait_for_end(folder.path(), Limits { servers: Duration::ZERO, data: NEVER });
        assert!(ended.unwrap_err().to_string().contains("servers do not end"));
        State::remove(folder.path()).unwrap();
        let ended = state.wait_for_end(folder.path(), Limits { servers: NEVER, data: Duration::ZERO });
        assert!(ended.unwrap_err().to_string().contains("run-1 are still being removed"));
    }
}
