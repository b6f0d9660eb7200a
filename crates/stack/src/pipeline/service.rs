//! One running instance of a service.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{CHILD_WORD, spawn, tail, terminate};

/// A service may take so long to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that all services are started from: the kernel's death signal comes when the thread ends that started a
/// process, and a test's thread ends before the pipelines that it shares.
static STARTER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, inbox) = channel::<Job>();
    std::thread::spawn(move || inbox.into_iter().for_each(|job| job()));
    jobs
});

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
        let log = log.to_path_buf();
        let (answer, started) = channel();
        let job: Job = Box::new(move || {
            let child = spawn(&mut command, &log);
            let _ = answer.send(child.map(|child| Self { child, log }));
        });
        STARTER.send(job).ok().context("the thread that starts services is gone")?;
        started.recv().context("the thread that starts services is gone")?
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
