//! Through to the broker's acknowledgement.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fluxori_core::usage::UsageEvent;
use fluxori_emitter::{Emitted, SpoolOptions};

use crate::{NOBODY, Spooled, events, in_memory, on_disk};

/// Events of a run, made before its time begins.
const EVENTS: u64 = 1_000_000;
/// Runs, of which the median counts.
const RUNS: usize = 3;
/// Events that wait while their memory is measured.
const WAITING: u64 = 300_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Through {
    /// Events acknowledged per second, accepted by the spool with durability `process` on their way.
    pub(crate) from_disk: f64,
    /// The same, queued in memory.
    pub(crate) from_memory: f64,
    /// What this process grows by for each event that waits, with nobody to take it.
    pub(crate) bytes_per_event: u64,
}

pub(crate) fn measure(brokers: &str, topic: &str) -> Result<Through> {
    let bytes_per_event = bytes_per_event()?;
    let (mut disk, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        disk.push(run(brokers, topic, on_disk()?)?);
        memory.push(run(brokers, topic, in_memory())?);
    }
    Ok(Through { from_disk: median(disk), from_memory: median(memory), bytes_per_event })
}

fn run(brokers: &str, topic: &str, spool: SpoolOptions) -> Result<f64> {
    let events = events(EVENTS)?;
    let spooled = Spooled::new(brokers, topic, spool)?;
    let count = u32::try_from(events.len())?;
    let begin = Instant::now();
    for event in events {
        emit(&spooled, event)?;
    }
    spooled.emitter.close(PATIENCE)?;
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    let acknowledged = spooled.emitter.counts().acknowledged;
    ensure!(acknowledged == u64::from(count), "{acknowledged} of {count} acknowledged");
    Ok(rate)
}

fn emit(spooled: &Spooled, event: UsageEvent) -> Result<()> {
    match spooled.emitter.emit(event) {
        Emitted::Accepted(_) | Emitted::Queued => Ok(()),
        Emitted::Rejected { reason, .. } => Err(reason.into()),
    }
}

fn bytes_per_event() -> Result<u64> {
    let events = events(WAITING)?;
    let spooled = Spooled::new(NOBODY, "nowhere", in_memory())?;
    let before = resident()?;
    // The events that are emitted give their own memory back, but not to the system.
    for event in &events {
        emit(&spooled, event.clone())?;
    }
    std::thread::sleep(Duration::from_millis(500));
    Ok(resident()?.saturating_sub(before) / WAITING)
}

/// Memory of this process, in bytes.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes << 10)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
