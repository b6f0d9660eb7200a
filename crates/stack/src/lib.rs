//! Starts the real Postgres, Apache Kafka and ClickHouse on free loopback ports, for the demo, tests and benches.
//!
//! ```no_run
//! let stack = fluxori_stack::Stack::start(&fluxori_stack::Options::default())?;
//! println!("{}", stack.endpoints().kafka_brokers);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! A service that the environment names (`KAFKA_BROKERS`, `DATABASE_URL`, `CLICKHOUSE_URL`) is used instead of one of
//! ours. The others belong to a supervisor, a process of its own that ends them as soon as its standard input closes:
//! so they stop with the process that started them, however that one ends (return, panic, Ctrl-C, SIGKILL). Each run has
//! a folder under `target/stack/`, which goes when the run does; what had to be downloaded stays in `target/stack/cache`.

pub mod detached;
mod endpoints;
mod launch;
mod paths;
pub mod pipeline;
mod prerequisites;
mod probe;
mod process;
mod run_folder;
pub mod server;
mod services;
pub mod supervisor;

pub use endpoints::Endpoints;

use std::path::PathBuf;

use anyhow::Result;

use crate::launch::Launched;
use crate::process::StopFlag;
use crate::services::cache::Downloads;

/// How to start the stack. The default suits a run from inside the workspace.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Install what is missing on the machine with apt-get (Debian, as root). Also on when `CI=true`.
    pub install: bool,
    /// Where runs and downloads are kept; `target/stack` of the workspace unless given.
    pub folder: Option<PathBuf>,
    /// The folder that holds `stack-supervisor` and `clickhouse-engine`; without it they are built with cargo first.
    pub binaries: Option<PathBuf>,
    /// No progress lines on standard error.
    pub quiet: bool,
}

/// The services of one run. They stop when it is dropped, or when this process ends in any other way.
#[derive(Debug)]
#[must_use = "the services stop when it is dropped"]
pub struct Stack {
    endpoints: Endpoints,
    /// `None` when the environment names all three.
    launched: Option<Launched>,
}

impl Stack {
    /// Starts what the environment does not name, waits until all of it answers, and says where.
    ///
    /// # Errors
    /// Tools that are missing on the machine (all of them, with the command that installs them), a service from the
    /// environment that does not answer, and a service of ours that does not come up, with the end of its log.
    pub fn start(options: &Options) -> Result<Self> {
        let (endpoints, launched) = launch::launch(options, launch::Lifetime::OfCaller)?;
        Ok(Self { endpoints, launched })
    }

    /// Where the services answer.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The folder with the logs of the services started by this run, if any was.
    pub fn run_folder(&self) -> Option<&std::path::Path> {
        self.launched.as_ref().map(|launched| launched.run_folder.as_path())
    }

    /// Stops the services and waits for it; dropping does the same.
    pub fn stop(self) {}
}

/// Checks that the machine has what building and [`Stack::start`] need, to be called before a long build.
///
/// # Errors
/// All that is missing, with the command that installs it.
pub fn check_tools(options: &Options) -> Result<()> {
    launch::check_tools(options)
}

/// The library of ClickHouse's engine, which `clickhouse-engine` runs over; downloaded if it is not there.
///
/// # Errors
/// When it has to be downloaded and npm is missing or fails.
pub fn clickhouse_library(options: &Options) -> Result<PathBuf> {
    let folder = paths::stack_folder(options)?;
    let downloads = Downloads {
        cache: &folder.join("cache"),
        log: folder.join("clickhouse-download.log"),
        stop: &StopFlag::default(),
        progress: &|_| {},
    };
    services::clickhouse::library(&downloads, std::process::Command::new("npm"))
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(launched) = self.launched.take() {
            launched.stop();
        }
    }
}
