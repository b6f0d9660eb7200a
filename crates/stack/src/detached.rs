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
use crate::process::start_time;
use crate::{Endpoints, Options, paths, run_folder};

/// What `up.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    pid: i32,
    start_time: u64,
    run_folder: PathBuf,
    endpoints: Endpoints,
}

impl State {
    fn is_alive(&self) -> bool {
        run_folder::is_alive(&self.run_folder) && start_time(self.pid) == Some(self.start_time)
    }
}

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
    if let Some(state) = read(&folder)?.filter(State::is_alive) {
        return Ok(Up::Already(state.endpoints));
    }
    let (endpoints, launched) = launch::launch(options, Lifetime::Detached)?;
    let Some(launched) = launched else {
        return Ok(Up::Named(endpoints));
    };
    let (pid, start_time) = launched.supervisor();
    let state = State {
        pid: i32::try_from(pid)?,
        start_time: start_time.context("the stack's supervisor ended at once")?,
        run_folder: launched.run_folder,
        endpoints,
    };
    let temporary = folder.join("up.json.new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(&state)?)?;
    std::fs::rename(temporary, folder.join("up.json"))?;
    Ok(Up::Started(state.endpoints))
}

/// Stops what [`up`] has left running, with its data; `false` when nothing was.
///
/// # Errors
/// When it does not stop within 30 seconds.
pub fn down(options: &Options) -> Result<bool> {
    let folder = paths::stack_folder(options)?;
    let _lock = lock(&folder)?;
    let Some(state) = read(&folder)? else {
        return Ok(false);
    };
    let was_alive = state.is_alive();
    if was_alive {
        kill(Pid::from_raw(state.pid), Signal::SIGTERM).context("cannot signal the stack's supervisor")?;
        let begin = Instant::now();
        while state.is_alive() {
            ensure!(
                begin.elapsed() < Duration::from_secs(30),
                "the stack's supervisor (process {}) does not stop",
                state.pid
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    std::fs::remove_file(folder.join("up.json"))?;
    Ok(was_alive)
}

/// Keeps two of these commands from running at once.
fn lock(folder: &Path) -> Result<File> {
    let lock = File::create(folder.join("up.lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn read(folder: &Path) -> Result<Option<State>> {
    match std::fs::read(folder.join("up.json")) {
        // A file that cannot be read as a state is as good as none: it is written in one step, by us.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("cannot read up.json"),
    }
}
