//! What benchmarks share: medians of interleaved runs, and a log of one's own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fluxori_stack::Endpoints;
use fluxori_stack::pipeline::{PipelineOptions, binaries_beside};

/// Partitions of a benchmark's log.
pub const PARTITIONS: i32 = 8;

/// The servers that `cargo xtask bench` started.
///
/// # Errors
/// The environment does not name them.
pub fn endpoints() -> Result<Endpoints> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    Ok(Endpoints {
        kafka_brokers: variable("KAFKA_BROKERS")?,
        database_url: variable("DATABASE_URL")?,
        clickhouse_url: variable("CLICKHOUSE_URL")?,
    })
}

/// A pipeline of a benchmark's own, on the binaries beside it.
///
/// # Errors
/// The benchmark's own program cannot be found.
pub fn pipeline_options(endpoints: Endpoints, name: &str) -> Result<PipelineOptions> {
    let binaries = binaries_beside(&std::env::current_exe()?)?;
    let name = format!("bench_{}_{name}", std::process::id());
    Ok(PipelineOptions {
        endpoints,
        folder: binaries.join("bench").join(&name),
        binaries,
        name,
        partitions: u32::try_from(PARTITIONS)?,
        org_keys: Vec::new(),
        settings: Vec::new(),
    })
}

/// How often each thing is measured.
pub const RUNS: usize = 5;

/// Runs `subject` and `floor` in turns, after one run of each that does not count, and returns their median times.
///
/// # Errors
/// One of them failed.
pub fn interleaved<E>(
    mut subject: impl FnMut() -> Result<(), E>,
    mut floor: impl FnMut() -> Result<(), E>,
) -> Result<(Duration, Duration), E> {
    let mut times = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let begin = Instant::now();
        subject()?;
        let subject_time = begin.elapsed();
        let begin = Instant::now();
        floor()?;
        let floor_time = begin.elapsed();
        if run > 0 {
            times.0.push(subject_time);
            times.1.push(floor_time);
        }
    }
    Ok((median(times.0), median(times.1)))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How many a second.
#[must_use]
pub fn per_second(count: usize, time: Duration) -> f64 {
    u32::try_from(count).map_or(f64::NAN, f64::from) / time.as_secs_f64()
}
