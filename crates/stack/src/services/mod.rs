//! The three services: what each needs from the machine, how it is prepared, started, asked and stopped.

pub(crate) mod cache;
pub(crate) mod clickhouse;
pub(crate) mod kafka;
pub(crate) mod postgres;

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use self::cache::Downloads;
use crate::probe::Probe;
use crate::process::{self, StopFlag, Terms};
use crate::run_folder::RunFolder;

/// A service that the stack can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Service {
    Kafka,
    Postgres,
    Clickhouse,
}

impl Service {
    /// Its name in progress lines and file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
            Self::Clickhouse => "clickhouse",
        }
    }
}

/// What a service's preparation works with.
pub(crate) struct Setup<'a> {
    pub(crate) service: Service,
    pub(crate) run: &'a RunFolder,
    /// Where downloads are kept between runs.
    pub(crate) cache: &'a Path,
    pub(crate) clickhouse_engine: &'a Path,
    /// The supervisor's program, which children are started by way of.
    pub(crate) supervisor: &'a Path,
    pub(crate) stop: &'a StopFlag,
    pub(crate) progress: &'a dyn Fn(String),
}

impl Setup<'_> {
    /// A command of this run: see [`process::command`].
    pub(crate) fn command(&self, terms: Terms<'_>, program: impl AsRef<OsStr>) -> Command {
        process::command(self.supervisor, terms, program)
    }

    /// The log of this service.
    pub(crate) fn log(&self) -> PathBuf {
        self.run.log(self.service.name())
    }

    /// Downloads for this service.
    pub(crate) fn downloads(&self) -> Downloads<'_> {
        Downloads { cache: self.cache, log: self.log(), stop: self.stop, progress: self.progress }
    }
}

/// A server that can be started: everything it needs is in place.
pub(crate) struct Prepared {
    pub(crate) command: Command,
    /// What others reach it by: `host:port` for Kafka, a URL for the others.
    pub(crate) endpoint: String,
    pub(crate) probe: Probe,
    /// Ends it at once, its own child processes too.
    pub(crate) abort_signal: Signal,
}

/// A running server. It belongs to the thread that started it, and that thread has to outlive it: the kernel's death
/// signal follows the thread, not the process.
pub(crate) struct Running {
    child: std::process::Child,
    abort_signal: Signal,
    pub(crate) endpoint: String,
}

/// Longest time from a server's start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Longest time from the request to stop until the server is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Prepares a service, starts it and waits until it answers. When somebody else took its port in between, another one
/// is tried.
pub(crate) fn start(context: &Setup<'_>) -> Result<Running> {
    const ATTEMPTS: usize = 3;
    for attempt in 1.. {
        let prepared = match context.service {
            Service::Kafka => kafka::prepare(context),
            Service::Postgres => postgres::prepare(context),
            Service::Clickhouse => clickhouse::prepare(context),
        }?;
        match start_prepared(context, prepared) {
            Err(_) if attempt < ATTEMPTS && port_was_taken(&context.log()) => {
                std::fs::remove_file(context.log())?;
            }
            result => return result,
        }
    }
    bail!("unreachable: the loop returns")
}

fn start_prepared(context: &Setup<'_>, mut prepared: Prepared) -> Result<Running> {
    context.stop.check()?;
    let begin = Instant::now();
    let log = context.log();
    let child = process::spawn(&mut prepared.command, &log)?;
    context.run.add_process(i32::try_from(child.id())?)?;
    let mut running = Running { child, abort_signal: prepared.abort_signal, endpoint: prepared.endpoint };
    let error = loop {
        if let Some(status) = running.child.try_wait()? {
            bail!("{}", process::failure(status, &log));
        }
        match (prepared.probe)(&running.endpoint) {
            Ok(()) => return Ok(running),
            Err(error) if begin.elapsed() > START_LIMIT => {
                break format!(
                    "it does not answer after {} s ({error:#}); the end of its log:\n{}",
                    START_LIMIT.as_secs(),
                    process::tail(&log)
                );
            }
            Err(_) if context.stop.is_set() => break "stopped before it was up".to_owned(),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    running.stop();
    bail!("{error}")
}

impl Running {
    /// Waits until the run is to end, or the server ends by itself: then says how.
    pub(crate) fn wait(&mut self, stop: &StopFlag) -> Option<std::process::ExitStatus> {
        while !stop.is_set() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Ends the server. Its data go with it, so it need not end in order: what it would still write and sync, after many
    /// tests, takes it longer than anybody waits.
    pub(crate) fn stop(mut self) {
        process::terminate(&mut self.child, self.abort_signal, STOP_LIMIT);
    }
}

/// Different loopback ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are known, so that they differ.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).context("no free port on the loopback interface")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn port_was_taken(log: &Path) -> bool {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
    text.contains("address already in use") || text.contains("address in use")
}
