//! What a call costs its caller.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fluxori_core::usage::UsageEvent;
use fluxori_emitter::Emitted;

use crate::floors::{BareQueue, ClientLibrary, Copying};
use crate::{Spooled, event, in_memory, on_disk};

/// Rounds, of which the median counts; each measures every candidate.
const ROUNDS: usize = 7;
/// Calls of a candidate in a round, after as many that do not count.
const CALLS: u64 = 30_000;
/// Seconds at the given pace, in a round.
const PACED: Duration = Duration::from_secs(2);
/// Time between two calls: 100,000 a second.
const PACE: Duration = Duration::from_micros(10);

/// Medians over the rounds of the median call, in nanoseconds.
pub(crate) struct Calls {
    pub(crate) queue_ns: u64,
    pub(crate) librdkafka_ns: u64,
    pub(crate) queued_ns: u64,
    pub(crate) accepted_ns: u64,
    pub(crate) accepted_floor_ns: u64,
}

/// Medians over the rounds of the 99.9th percentile of calls at 100,000 a second, in nanoseconds.
pub(crate) struct Paced {
    pub(crate) queue_ns: u64,
    pub(crate) accepted_floor_ns: u64,
    pub(crate) accepted_ns: u64,
}

pub(crate) fn measure(brokers: &str, topic: &str) -> Result<Calls> {
    let mut rounds: [Vec<u64>; 5] = Default::default();
    let [queue_ns, librdkafka_ns, queued_ns, accepted_ns, accepted_floor_ns] = &mut rounds;
    for _ in 0..ROUNDS {
        let queue = BareQueue::new();
        queue_ns.push(median(burst(|event| Ok(queue.push(event)))?));

        let client = ClientLibrary::new(brokers, topic)?;
        librdkafka_ns.push(median(burst(|event| client.send(&event))?));
        client.end()?;

        let memory = Spooled::new(brokers, topic, in_memory())?;
        queued_ns.push(median(burst(|event| Ok(matches!(memory.emitter.emit(event), Emitted::Queued)))?));
        memory.emitter.close(Duration::from_secs(60))?;

        let disk = Spooled::new(brokers, topic, on_disk()?)?;
        accepted_ns
            .push(median(burst(|event| Ok(matches!(disk.emitter.emit(event), Emitted::Accepted(_))))?));
        disk.emitter.close(Duration::from_secs(60))?;

        let mut copying = Copying::new()?;
        accepted_floor_ns.push(median(burst(|event| {
            copying.copy(&event);
            Ok(true)
        })?));
    }
    let [queue_ns, librdkafka_ns, queued_ns, accepted_ns, accepted_floor_ns] = rounds.map(median);
    Ok(Calls { queue_ns, librdkafka_ns, queued_ns, accepted_ns, accepted_floor_ns })
}

pub(crate) fn paced(brokers: &str, topic: &str) -> Result<Paced> {
    let (mut queue_ns, mut accepted_floor_ns, mut accepted_ns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let queue = BareQueue::new();
        queue_ns.push(quantile(at_pace(|event| Ok(queue.push(event)))?, 999));
        drop(queue);
        let mut copying = Copying::new()?;
        accepted_floor_ns.push(quantile(
            at_pace(|event| {
                copying.copy(&event);
                Ok(true)
            })?,
            999,
        ));
        let disk = Spooled::new(brokers, topic, on_disk()?)?;
        let accept = |event| Ok(matches!(disk.emitter.emit(event), Emitted::Accepted(_)));
        accepted_ns.push(quantile(at_pace(accept)?, 999));
        disk.emitter.close(Duration::from_secs(60))?;
    }
    let [queue_ns, accepted_floor_ns, accepted_ns] = [queue_ns, accepted_floor_ns, accepted_ns].map(median);
    Ok(Paced { queue_ns, accepted_floor_ns, accepted_ns })
}

/// Times of calls one after another, without those that warm up.
fn burst(mut call: impl FnMut(UsageEvent) -> Result<bool>) -> Result<Vec<u64>> {
    timed(CALLS, Duration::ZERO, &mut call)?;
    timed(CALLS, Duration::ZERO, &mut call)
}

/// Times of calls at the given pace, without those of a first quarter of a second: a segment's pages are made ready behind its first calls.
fn at_pace(mut call: impl FnMut(UsageEvent) -> Result<bool>) -> Result<Vec<u64>> {
    let calls = |time: Duration| u64::try_from(time.as_nanos() / PACE.as_nanos());
    timed(calls(PACED / 8)?, PACE, &mut call)?;
    timed(calls(PACED)?, PACE, &mut call)
}

/// Times of calls in nanoseconds, without what the clock itself takes.
fn timed(count: u64, pace: Duration, mut call: impl FnMut(UsageEvent) -> Result<bool>) -> Result<Vec<u64>> {
    let clock = clock_ns();
    let mut times = Vec::with_capacity(usize::try_from(count)?);
    let mut due = Instant::now();
    for n in 0..count {
        // As at a call site: the event has just been made.
        let event = event(n)?;
        while !pace.is_zero() && Instant::now() < due {
            std::hint::spin_loop();
        }
        due += pace;
        let begin = Instant::now();
        let taken = call(event)?;
        let nanos = u64::try_from(begin.elapsed().as_nanos())?;
        ensure!(taken, "an event was not taken");
        times.push(nanos.saturating_sub(clock));
    }
    Ok(times)
}

/// What two looks at the clock take.
fn clock_ns() -> u64 {
    let look = || {
        let begin = Instant::now();
        u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    };
    median((0..10_000).map(|_| look()).collect())
}

fn median(times: Vec<u64>) -> u64 {
    quantile(times, 500)
}

/// The value below which so many thousandths lie.
fn quantile(mut times: Vec<u64>, thousandths: usize) -> u64 {
    times.sort_unstable();
    let at = times.len() * thousandths / 1000;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or(0)
}
