//! One server of a test's own, to be killed, stopped and started again on its data.
//!
//! Unlike a [`Stack`](crate::Stack) it belongs to this process, and ends with it however that ends. Whatever the
//! environment names, this one is started.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::probe::Probe;
use crate::process::{self, StopFlag};
use crate::run_folder::RunFolder;
use crate::services::{Service, Setup, kafka, postgres};
use crate::{Options, paths};

/// Longest time from a start to the first answer: a Postgres that was killed replays its log first.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Longest time that a server may take to end after a signal that ends it.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A server; it runs from the beginning.
#[derive(Debug)]
pub struct Server {
    /// Starts it again and again at the same address; taken out while it is used.
    command: Option<Command>,
    child: Child,
    endpoint: String,
    probe: Probe,
    log: PathBuf,
    small_disk: Option<PathBuf>,
    /// Ends it at once, its own child processes too.
    abort_signal: Signal,
    run: Option<RunFolder>,
}

impl Server {
    /// A Kafka of one node.
    ///
    /// # Errors
    /// It does not come up.
    pub fn kafka(options: &Options) -> Result<Self> {
        Self::launch(options, Service::Kafka, None)
    }

    /// A Postgres.
    ///
    /// # Errors
    /// It does not come up.
    pub fn postgres(options: &Options) -> Result<Self> {
        Self::launch(options, Service::Postgres, None)
    }

    /// A Postgres that sees a disk in memory of so many MiB, empty and its own, to put a tablespace on:
    /// [`Server::small_disk`]. The disk is in the server's own mount namespace and goes with it.
    ///
    /// # Errors
    /// It does not come up; see [`check_small_disk`] first.
    pub fn postgres_with_small_disk(options: &Options, mebibytes: u32) -> Result<Self> {
        Self::launch(options, Service::Postgres, Some(mebibytes))
    }

    fn launch(options: &Options, service: Service, small_disk: Option<u32>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let folder = paths::stack_folder(options)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("run-{}-{}-{number}", std::process::id(), service.name());
        let run = RunFolder::create_named(&folder, &name)?;
        let binaries = paths::binaries(options)?;
        let setup = Setup {
            service,
            run: &run,
            cache: &folder.join("cache"),
            clickhouse_engine: &binaries.clickhouse_engine,
            supervisor: &binaries.supervisor,
            stop: &StopFlag::default(),
            progress: &|_| {},
        };
        let prepared = match service {
            Service::Kafka => kafka::prepare(&setup)?,
            Service::Postgres => postgres::prepare(&setup)?,
            Service::Clickhouse => bail!("nobody starts a ClickHouse of its own"),
        };
        let log = setup.log();
        let (mut command, mut disk) = (prepared.command, None);
        if let Some(mebibytes) = small_disk {
            let folder = run.reachable_folder("small-disk")?;
            command = with_disk(&command, &folder, mebibytes)?;
            disk = Some(folder);
        }
        let (command, child) = process::spawn_lasting(command, &log)?;
        let mut server = Self {
            command: Some(command),
            child,
            endpoint: prepared.endpoint,
            probe: prepared.probe,
            log,
            small_disk: disk,
            abort_signal: prepared.abort_signal,
            run: Some(run),
        };
        server.record()?;
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// `host:port` of a Kafka, the URL of a Postgres' own database.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The folder of the small disk: as the server names it, and as this process reaches it while the server runs.
    #[must_use]
    pub fn small_disk(&self) -> Option<(PathBuf, PathBuf)> {
        let folder = self.small_disk.clone()?;
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        let reached = root.join(folder.strip_prefix("/").unwrap_or(&folder));
        Some((folder, reached))
    }

    /// Sends a signal that ends the server, and waits until it has ended: SIGTERM ends a Kafka in order; SIGINT is
    /// Postgres' fast mode and SIGQUIT its immediate one.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begin.elapsed() < STOP_LIMIT, "it does not end after {signal}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts it again, after it has ended, and waits until it answers.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "it runs");
        let command = self.command.take().context("its start failed before")?;
        let (command, child) = process::spawn_lasting(command, &self.log)?;
        (self.command, self.child) = (Some(command), child);
        self.record()?;
        self.wait_until_it_answers()
    }

    /// A later run ends it if this process cannot.
    fn record(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        self.run.as_ref().map_or(Ok(()), |run| run.add_process(pid))
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let Err(error) = (self.probe)(&self.endpoint) else { return Ok(()) };
            if let Some(status) = self.child.try_wait()? {
                bail!("{}", process::failure(status, &self.log));
            }
            if begin.elapsed() > START_LIMIT {
                bail!("it does not answer ({error:#}); the end of its log:\n{}", process::tail(&self.log));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its data go with it, so it need not end in order.
            process::terminate(&mut self.child, self.abort_signal, Duration::from_secs(5));
        }
        if let Some(Err(error)) = self.run.take().map(RunFolder::remove) {
            eprintln!("what a server has left: {error:#}");
        }
    }
}

/// Checks that this process may give a server a small disk.
///
/// # Errors
/// Why not, such as that it may not mount.
pub fn check_small_disk() -> Result<()> {
    let tried = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"])
        .stdin(Stdio::null())
        .output()
        .context("there is no `unshare`")?;
    let said = String::from_utf8_lossy(&tried.stderr);
    ensure!(tried.status.success(), "a tmpfs cannot be mounted: {}", said.trim());
    Ok(())
}

/// The same command in a mount namespace of its own, where a disk in memory is mounted on `folder`. It belongs to the
/// owner of the folder that the command runs in, which is the server's data.
fn with_disk(command: &Command, folder: &Path, mebibytes: u32) -> Result<Command> {
    const MOUNT: &str = r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#;
    let data = command.get_current_dir().context("the server runs in no folder of its own")?;
    let owner = std::fs::metadata(data)?.uid();
    let options = format!("size={mebibytes}m,mode=0700,uid={owner}");
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", MOUNT, "sh", &options]).arg(folder);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.current_dir(data).stdin(Stdio::null()).process_group(0);
    Ok(wrapped)
}
