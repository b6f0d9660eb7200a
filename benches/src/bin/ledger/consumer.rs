//! One run of the real ledger consumer over a log and a database of its own, watched from outside.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fluxori_ledger::{Ledger, PartitionCursor};

use crate::log::Log;

/// How often the cursors are looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// A run in which nothing is committed for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// A partition with fewer records than this part of the log does not count as one that can run dry.
const SMALL_PART: i64 = 50;

/// A consumer that runs.
pub(crate) struct Consumer<'log> {
    log: &'log Log<'log>,
    instance: String,
    pub(crate) ledger: Ledger,
    pub(crate) database: String,
}

/// A look at the ledger and at the consumer's process.
#[derive(Debug, Clone)]
pub(crate) struct Glance {
    pub(crate) at: Instant,
    pub(crate) debited: i64,
    pub(crate) cpu: Duration,
}

/// What was done between two looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) debits_per_s: f64,
    pub(crate) cpu_us: f64,
}

impl<'log> Consumer<'log> {
    /// Starts it over a database of this name, which is made if it is not there.
    pub(crate) fn start(log: &'log Log<'_>, run: &str) -> Result<Self> {
        let (server, _) =
            log.bench.endpoints.database_url.rsplit_once('/').context("DATABASE_URL names no database")?;
        let database = format!("{server}/bench_{}_{run}", std::process::id());
        let ledger = log.bench.runtime.block_on(Ledger::prepare(&database, 2))?;
        let group = format!("bench-{}-{run}", std::process::id());
        let settings = [("DATABASE_URL", database.as_str()), ("FLUXORI__LEDGER__GROUP", &group)];
        let instance = format!("ledger-consumer-{run}");
        log.pipeline.start_instance("ledger-consumer", &instance, &settings)?;
        Ok(Self { log, instance, ledger, database })
    }

    pub(crate) fn cursors(&self) -> Result<Vec<PartitionCursor>> {
        Ok(self.log.bench.runtime.block_on(self.ledger.cursors())?)
    }

    pub(crate) fn stop(self) -> Result<()> {
        ensure!(self.log.pipeline.stop(&self.instance)?, "{} did not end cleanly", self.instance);
        Ok(())
    }

    /// Works until `warm_up` events are debited, then until the first partition has nothing left: beyond that only
    /// some partitions would be worked on.
    pub(crate) fn measure(&self, warm_up: i64) -> Result<Stretch> {
        let ends = self.log.ends()?;
        let all: i64 = ends.iter().sum();
        let begin = self.wait(|_, debited| debited >= warm_up)?;
        let end = self.wait(|cursors, _| {
            ends.iter().enumerate().filter(|(_, end)| **end * SMALL_PART > all).any(|(partition, end)| {
                cursors.iter().any(|found| {
                    usize::try_from(found.partition) == Ok(partition) && found.cursor.next_offset >= *end
                })
            })
        })?;
        ensure!(end.debited > begin.debited, "nothing was left to measure after the warm-up");
        Ok(stretch(&begin, &end))
    }

    /// Works until everything is applied.
    pub(crate) fn drain(&self) -> Result<Glance> {
        let ends = self.log.ends()?;
        self.wait(|cursors, _| {
            cursors.len() == ends.len()
                && cursors.iter().zip(&ends).all(|(found, end)| found.cursor.next_offset >= *end)
        })
    }

    /// Looks until it is so.
    pub(crate) fn wait(&self, is_so: impl Fn(&[PartitionCursor], i64) -> bool) -> Result<Glance> {
        let (mut before, mut since) = (-1, Instant::now());
        loop {
            let cursors = self.cursors()?;
            let debited = cursors.iter().map(|found| found.cursor.counters.debited).sum();
            let records: i64 = cursors.iter().map(|found| found.cursor.counters.records).sum();
            if is_so(&cursors, debited) {
                return Ok(Glance { at: Instant::now(), debited, cpu: self.cpu()? });
            }
            if records != before {
                (before, since) = (records, Instant::now());
            }
            ensure!(
                since.elapsed() < PATIENCE,
                "nothing was committed for {} s; see {}",
                PATIENCE.as_secs(),
                self.log.pipeline.log_file(&self.instance).display()
            );
            std::thread::sleep(GLANCE);
        }
    }

    /// User and system time of the process so far.
    fn cpu(&self) -> Result<Duration> {
        let pid = self.log.pipeline.pid(&self.instance)?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
        let (_, fields) = stat.rsplit_once(')').context("a process's stat")?;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let (user, system) = (ticks.next().context("utime")??, ticks.next().context("stime")??);
        // The kernel shows hundredths of a second to every program.
        Ok(Duration::from_millis((user + system) * 10))
    }

    /// The most memory that the process ever held, in MB.
    pub(crate) fn peak_memory_mb(&self) -> Result<f64> {
        let pid = self.log.pipeline.pid(&self.instance)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(f64::from(kib) * 1024.0 / 1e6)
    }
}

pub(crate) fn stretch(begin: &Glance, end: &Glance) -> Stretch {
    let debits = u32::try_from(end.debited - begin.debited).map_or(f64::NAN, f64::from);
    Stretch {
        debits_per_s: debits / (end.at - begin.at).as_secs_f64(),
        cpu_us: (end.cpu.saturating_sub(begin.cpu)).as_secs_f64() * 1e6 / debits,
    }
}
