//! The caller's side: uses what the environment names, and has a supervisor start the rest.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::endpoints::{Endpoints, PartialEndpoints};
use crate::services::Service;
use crate::supervisor::{Plan, Report};
use crate::{Options, paths, prerequisites, probe};

/// How long services live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the caller drops them or ends.
    OfCaller,
    /// Until somebody ends the supervisor.
    Detached,
}

/// A supervisor whose services answer.
#[derive(Debug)]
pub(crate) struct Launched {
    supervisor: Child,
    pub(crate) run_folder: PathBuf,
}

/// Longest time that a run may take to stop, before its supervisor is killed: its servers get ten seconds, the rest is for
/// the removal of their data, which the next run goes on with.
const STOP_LIMIT: Duration = Duration::from_mins(2);

/// The services that the environment does not name.
fn ours(named: &PartialEndpoints) -> Vec<Service> {
    [
        (Service::Postgres, named.database_url.is_none()),
        (Service::Kafka, named.kafka_brokers.is_none()),
        (Service::Clickhouse, named.clickhouse_url.is_none()),
    ]
    .into_iter()
    .filter_map(|(service, ours)| ours.then_some(service))
    .collect()
}

/// Checks that everything is there which building and the services need that the environment does not name.
pub(crate) fn check_tools(options: &Options) -> Result<()> {
    let install = options.install || std::env::var("CI").is_ok_and(|value| value == "true");
    let cache = paths::stack_folder(options)?.join("cache");
    prerequisites::check(&ours(&PartialEndpoints::from_environment()), &cache, install, &|text| {
        if !options.quiet {
            let _ = writeln!(std::io::stderr(), "stack: {text}");
        }
    })
}

/// Starts what the environment does not name, and checks what it does.
pub(crate) fn launch(options: &Options, lifetime: Lifetime) -> Result<(Endpoints, Option<Launched>)> {
    let progress = |text: String| {
        if !options.quiet {
            let _ = writeln!(std::io::stderr(), "stack: {text}");
        }
    };
    let named = PartialEndpoints::from_environment();
    check_named(&named)?;
    if let Some(endpoints) = named.clone().complete() {
        progress("all three services are named in the environment".to_owned());
        return Ok((endpoints, None));
    }
    check_tools(options)?;
    let services = ours(&named);
    let stack_folder = paths::stack_folder(options)?;
    let binaries = paths::binaries(options)?;
    let plan = Plan {
        named,
        stack_folder,
        clickhouse_engine: binaries.clickhouse_engine,
        services,
        detached: lifetime == Lifetime::Detached,
    };
    let mut command = Command::new(binaries.supervisor);
    command.arg(serde_json::to_string(&plan)?).stdout(Stdio::piped());
    match lifetime {
        Lifetime::OfCaller => command.stdin(Stdio::piped()),
        // Not even our standard error, so that nobody who reads it waits for the services.
        Lifetime::Detached => command.stdin(Stdio::null()).stderr(Stdio::null()),
    };
    let mut supervisor = command.spawn().context("cannot start the stack's supervisor")?;
    let reports = supervisor.stdout.take().context("the supervisor has no standard output")?;
    for line in BufReader::new(reports).lines() {
        match serde_json::from_str(&line?)? {
            Report::Progress(text) => progress(text),
            Report::Failed(text) => {
                let _ = supervisor.wait();
                bail!("{text}")
            }
            Report::Ready { endpoints, run_folder } => {
                return Ok((endpoints, Some(Launched { supervisor, run_folder })));
            }
        }
    }
    bail!("the stack's supervisor ended without a word")
}

/// Checks that the services which the environment names answer.
fn check_named(named: &PartialEndpoints) -> Result<()> {
    let probes: [(&str, &Option<String>, probe::Probe); 3] = [
        ("KAFKA_BROKERS", &named.kafka_brokers, probe::kafka),
        ("DATABASE_URL", &named.database_url, probe::postgres),
        ("CLICKHOUSE_URL", &named.clickhouse_url, probe::clickhouse),
    ];
    for (variable, value, probe) in probes {
        if let Some(value) = value {
            probe(value).with_context(|| {
                format!(
                    "{variable} names {}, and no such server answers there; start it, or unset {variable} to have one \
                     started",
                    without_password(value)
                )
            })?;
        }
    }
    Ok(())
}

/// A URL that may be shown: its password, if it has one, is replaced.
fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        let (credentials, host) = rest.rsplit_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        (!password.is_empty()).then(|| format!("{scheme}://{user}:***@{host}"))
    };
    hidden().unwrap_or_else(|| url.to_owned())
}

impl Launched {
    /// Ends the run and waits until nothing of it is left.
    pub(crate) fn stop(mut self) {
        drop(self.supervisor.stdin.take());
        let begin = Instant::now();
        while matches!(self.supervisor.try_wait(), Ok(None)) {
            if begin.elapsed() > STOP_LIMIT {
                let _ = self.supervisor.kill();
                let _ = self.supervisor.wait();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("postgres://ann:secret@db/x"), "postgres://ann:***@db/x");
        assert_eq!(without_password("http://default:@db:8123"), "http://default:@db:8123");
        assert_eq!(without_password("db:9092"), "db:9092");
    }
}
