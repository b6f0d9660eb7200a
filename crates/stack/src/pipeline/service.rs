//! One running instance of a service.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{CHILD_WORD, spawn_lasting, tail, terminate};

/// A service may take so long to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a binary by way of the supervisor's program, so that it ends with this process.
    pub(super) fn start(
        binaries: &Path,
        service: &str,
        environment: Vec<(String, String)>,
        log: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(binaries.join("stack-supervisor"));
        command
            .arg(CHILD_WORD)
            .args([&std::process::id().to_string(), Signal::SIGKILL.as_str(), ""])
            .arg(binaries.join(service))
            .envs(environment)
            .stdin(std::process::Stdio::null());
        let (_, child) = spawn_lasting(command, log)?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log_tail(&self) -> String {
        tail(&self.log)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end; true if it did so by itself and without an error.
    pub(super) fn stop(&mut self) -> bool {
        terminate(&mut self.child, Signal::SIGTERM, PATIENCE);
        self.child.wait().is_ok_and(|status| status.success())
    }
}
