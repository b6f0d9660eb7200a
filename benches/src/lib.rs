//! What benchmarks share: medians of interleaved runs.

use std::time::{Duration, Instant};

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
