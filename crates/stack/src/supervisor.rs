//! The supervisor: the process that owns a run.
//!
//! It starts the services, each from a thread of its own, reports over its standard output, and ends them when its
//! standard input closes (a run that lasts as long as its caller) or at SIGTERM (a detached one). Should it be killed
//! itself, the kernel signals the servers (see `process::run_child`), and the next run removes the folder.

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};

use crate::detached;
use crate::endpoints::{Endpoints, PartialEndpoints};
use crate::process::{self, CHILD_WORD, StopFlag};
use crate::run_folder::RunFolder;
use crate::services::{self, Service, Setup};

/// What the supervisor is to do; its only argument, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) stack_folder: PathBuf,
    pub(crate) clickhouse_engine: PathBuf,
    pub(crate) services: Vec<Service>,
    /// What the environment names instead.
    pub(crate) named: PartialEndpoints,
    /// Stays when its caller ends, and says in a file where it is.
    pub(crate) detached: bool,
}

/// What the supervisor reports, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Something for people.
    Progress(String),
    /// All services answer.
    Ready { endpoints: Endpoints, run_folder: PathBuf },
    /// At least one service did not come up; all are stopped, and the process ends.
    Failed(String),
}

/// What reaches the supervisor's main thread.
enum Event {
    Progress(String),
    Started(Service, String),
    Failed(Service, anyhow::Error),
    /// The caller is gone, or a signal came.
    Stop,
}

/// The supervisor's `main`: exits when the run has ended.
///
/// # Errors
/// A wrong argument, or a run folder that cannot be made or removed; what happens to the services is reported.
pub fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().context(
        "this program is started by `cargo xtask up`, `cargo xtask demo` and tests; by itself it does nothing",
    )?;
    if first == CHILD_WORD {
        return process::run_child(arguments);
    }
    let plan: Plan = serde_json::from_str(first.to_str().context("the plan is not UTF-8")?)?;
    // Before any thread starts, so that all of them inherit it and `wait_for_signal` gets the signals.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    // Out of the terminal's reach: Ctrl-C is for the caller, whose end we see.
    let _ = setsid();
    supervise(&plan, signals)
}

fn supervise(plan: &Plan, signals: SigSet) -> Result<()> {
    let run = Arc::new(RunFolder::create(&plan.stack_folder)?);
    let stop = Arc::new(StopFlag::default());
    let (events, inbox) = channel();

    let on_signal = events.clone();
    std::thread::spawn(move || {
        while signals.wait().is_err() {}
        let _ = on_signal.send(Event::Stop);
    });
    if !plan.detached {
        let on_close = events.clone();
        std::thread::spawn(move || {
            // Nothing is ever written to it, so reading ends when the caller does.
            let _ = std::io::stdin().read(&mut [0]);
            let _ = on_close.send(Event::Stop);
        });
    }

    let threads: Vec<_> = plan
        .services
        .iter()
        .map(|service| {
            let (service, run, stop, events) = (*service, run.clone(), stop.clone(), events.clone());
            let (cache, engine) = (plan.stack_folder.join("cache"), plan.clickhouse_engine.clone());
            std::thread::spawn(move || {
                let report = events.clone();
                let setup = Setup {
                    service,
                    run: &run,
                    cache: &cache,
                    clickhouse_engine: &engine,
                    supervisor: Path::new(process::THIS_PROGRAM),
                    stop: &stop,
                    progress: &move |text| {
                        let _ = report.send(Event::Progress(format!("{}: {text}", service.name())));
                    },
                };
                serve(&setup, &events);
            })
        })
        .collect();
    drop(events);

    let mut outcome = Outcome::new(plan, run.path());
    for event in inbox {
        match outcome.take(event) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                outcome.failure = Some(format!("{error:#}"));
                break;
            }
        }
    }
    stop.set();
    for thread in threads {
        let _ = thread.join();
    }
    let failure = outcome.failure;
    if plan.detached {
        detached::State::remove(&plan.stack_folder)?;
    }
    if let Some(run) = Arc::into_inner(run) {
        run.remove()?;
    }
    if let Some(failure) = failure {
        report(&Report::Failed(failure));
    }
    Ok(())
}

/// A service's thread: starts it, and stops it when the run ends.
fn serve(setup: &Setup<'_>, events: &Sender<Event>) {
    match services::start(setup) {
        Err(error) => {
            let _ = events.send(Event::Failed(setup.service, error));
        }
        Ok(mut running) => {
            let _ = events.send(Event::Started(setup.service, running.endpoint.clone()));
            if let Some(status) = running.wait(setup.stop) {
                let failure = process::failure(status, &setup.log());
                let _ = events.send(Event::Failed(setup.service, anyhow::Error::msg(failure)));
            }
            running.stop();
        }
    }
}

/// What has become of the services so far.
struct Outcome<'a> {
    begin: Instant,
    plan: &'a Plan,
    run_folder: &'a Path,
    waiting_for: usize,
    started: PartialEndpoints,
    failure: Option<String>,
}

impl<'a> Outcome<'a> {
    fn new(plan: &'a Plan, run_folder: &'a Path) -> Self {
        Self {
            begin: Instant::now(),
            plan,
            run_folder,
            waiting_for: plan.services.len(),
            started: PartialEndpoints::default(),
            failure: None,
        }
    }

    /// Takes an event in and reports; `false` when the run is to end.
    fn take(&mut self, event: Event) -> Result<bool> {
        match event {
            Event::Stop => Ok(false),
            Event::Progress(text) => Ok(report(&Report::Progress(text))),
            Event::Started(service, endpoint) => self.started(service, endpoint),
            Event::Failed(service, error) if self.waiting_for > 0 => {
                self.failure = Some(format!("{} does not come up: {error:#}", service.name()));
                Ok(false)
            }
            // A server that ends in the middle of a run: its users see it, and the others go on, so that what it left
            // can be looked at.
            Event::Failed(service, error) => {
                let _ = writeln!(std::io::stderr(), "{} has ended: {error:#}", service.name());
                Ok(true)
            }
        }
    }

    fn started(&mut self, service: Service, endpoint: String) -> Result<bool> {
        let seconds = self.begin.elapsed().as_secs_f32();
        let text = format!("{}: answers after {seconds:.1} s on {endpoint}", service.name());
        let slot = match service {
            Service::Kafka => &mut self.started.kafka_brokers,
            Service::Postgres => &mut self.started.database_url,
            Service::Clickhouse => &mut self.started.clickhouse_url,
        };
        *slot = Some(endpoint);
        self.waiting_for -= 1;
        let heard = report(&Report::Progress(text));
        if !heard || self.waiting_for > 0 {
            return Ok(heard);
        }
        let known = self.plan.named.clone().or(self.started.clone());
        let endpoints = known.complete().context("a service is neither named nor started")?;
        if self.plan.detached {
            detached::State::write(&self.plan.stack_folder, self.run_folder, &endpoints)?;
        }
        Ok(report(&Report::Ready { endpoints, run_folder: self.run_folder.to_path_buf() }))
    }
}

/// Writes a report; `false` when nobody reads any more.
fn report(report: &Report) -> bool {
    let mut output = BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer(&mut output, report).is_ok() && writeln!(output).is_ok() && output.flush().is_ok()
}
