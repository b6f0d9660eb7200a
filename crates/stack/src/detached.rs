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
}

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
/// When it does not stop within 30 seconds.
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
    let begin = Instant::now();
    while state.is_alive() {
        ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "the stack's supervisor (process {pid}) does not stop"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// Keeps two of these commands from running at once.
fn lock(folder: &Path) -> Result<File> {
    let lock = File::create(folder.join("up.lock"))?;
    lock.lock()?;
    Ok(lock)
}
