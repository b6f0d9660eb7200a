//! From append to commit, with events offered in an open loop: at a fixed rate, whatever the ledger does.
//!
//! Seen from outside: the cursors are polled every 3 ms, and a record counts as committed at the first look that finds its
//! partition's cursor beyond it. So the figure is at most one look too high, and never too low. Append times are the
//! broker's, in whole milliseconds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fluxori_core::id::OrgId;
use fluxori_runtime::clock;
use fluxori_stream::Range;
use tokio::time::Instant;

use crate::consumer::Consumer;
use crate::log::{Log, acknowledged};
use crate::workload::Workload;

/// Events offered per second.
const RATE: usize = 50_000;
/// A part of them is handed over so often.
const STEP: Duration = Duration::from_millis(2);
const GLANCE: Duration = Duration::from_millis(3);

/// The moment of a look, in milliseconds since 1970, and the cursors found.
type Look = (i64, Vec<(usize, i64)>);

/// The events that are offered in so many seconds, drawn beforehand.
pub(crate) fn draw(workload: &mut Workload, seconds: usize) -> Result<Vec<(OrgId, Vec<u8>)>> {
    workload.move_to(clock::now().into());
    (0..RATE * seconds).map(|_| workload.event()).collect()
}

/// The 99th percentile in milliseconds; the first tenth of the events does not count.
pub(crate) fn p99_ms(log: &Log<'_>, consumer: &Consumer<'_>, events: &[(OrgId, Vec<u8>)]) -> Result<f64> {
    consumer.drain()?;
    let starts = log.ends()?;
    let looks: Vec<Look> = log.bench.runtime.block_on(async {
        let offer = async {
            let begin = Instant::now();
            let per_step = RATE * usize::try_from(STEP.as_millis())? / 1000;
            let mut deliveries = Vec::with_capacity(events.len());
            for (number, step) in (0_u32..).zip(events.chunks(per_step)) {
                tokio::time::sleep_until(begin + STEP * number).await;
                for (org, value) in step {
                    deliveries.push(log.enqueue(org.as_str(), value).await?);
                }
            }
            let took = begin.elapsed();
            acknowledged(deliveries).await?;
            eprintln!("  {} events offered in {:.1} s", events.len(), took.as_secs_f64());
            anyhow::Ok(())
        };
        let watch = async {
            let mut looks: Vec<Look> = Vec::new();
            let mut quiet = Instant::now();
            loop {
                let cursors = consumer.ledger.cursors().await?;
                let now = clock::now().timestamp_millis();
                let found: Vec<_> = cursors
                    .iter()
                    .filter_map(|found| {
                        Some((usize::try_from(found.partition).ok()?, found.cursor.next_offset))
                    })
                    .collect();
                if looks.last().is_none_or(|(_, before)| *before != found) {
                    looks.push((now, found));
                    quiet = Instant::now();
                }
                if quiet.elapsed() > Duration::from_secs(2) {
                    return anyhow::Ok(looks);
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        let (offered, looks) = tokio::join!(offer, watch);
        offered?;
        looks
    })?;
    let mut lags = lags(log, &starts, &looks)?;
    lags.sort_unstable();
    ensure!(lags.len() > RATE, "too few records to tell");
    let at = |part: usize| lags.get(lags.len() * part / 1000).copied().unwrap_or_default();
    eprintln!("  p50 {} ms, p99 {} ms, p99.9 {} ms", at(500), at(990), at(999));
    Ok(f64::from(i32::try_from(at(990))?))
}

/// How long each record waited, in milliseconds.
fn lags(log: &Log<'_>, starts: &[i64], looks: &[Look]) -> Result<Vec<i64>> {
    let ends = log.ends()?;
    let ranges: Vec<Range> = (0_i32..)
        .zip(starts.iter().zip(&ends))
        .map(|(partition, (start, end))| Range { partition, start: start + (end - start) / 10, end: *end })
        .filter(|range| range.end > range.start)
        .collect();
    log.bench.runtime.block_on(async {
        let mut lags = Vec::new();
        let mut scan = log.reader().scan(&ranges, 10_000)?;
        while let Some(batch) = scan.next().await? {
            let partition = usize::try_from(batch.partition())?;
            let cursor = |look: &Look| {
                look.1.iter().find(|(found, _)| *found == partition).map_or(0, |(_, next)| *next)
            };
            let mut look = 0;
            for record in batch.iter() {
                look += looks
                    .get(look..)
                    .and_then(|rest| rest.iter().position(|look| cursor(look) > record.offset))
                    .context("a record that was never seen to be committed")?;
                let seen = looks.get(look).map_or(i64::MAX, |(at, _)| *at);
                lags.push((seen - record.append_time_ms).max(0));
            }
        }
        anyhow::Ok(lags)
    })
}
