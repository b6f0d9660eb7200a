//! No gaps: a log that lacks what the ledger needs next, or is not the one that the ledger was made from, halts its
//! partition with a message, while the others go on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::load::{Emitted, Load, seed};
use e2e::{PARTITIONS, endpoints, eventually, ledger_at, readiness, sql};
use fluxori_stack::pipeline::Pipeline;
use nix::sys::signal::Signal;

use super::topic::{Record, Topic};

/// The offset of the next record to be applied, by partition.
fn cursors(pipeline: &Pipeline) -> Result<BTreeMap<i32, i64>> {
    let rows = sql(pipeline, "SELECT log_partition, next_offset FROM ledger.partition_cursors")?;
    rows.into_iter()
        .map(|row| {
            let [partition, offset] = row.try_into().map_err(|_| anyhow::anyhow!("two columns"))?;
            Ok((partition.parse()?, offset.parse()?))
        })
        .collect()
}

/// Waits until `/readyz` says that the partition is halted, and all of these words.
fn expect_halted(pipeline: &Pipeline, partition: i32, words: &[&str]) -> Result<()> {
    let mut last = String::new();
    let halted = format!("partition {partition} halted: ");
    eventually(&format!("partition {partition} halts, and says {words:?}"), || {
        last = readiness(pipeline)?.1;
        Ok((last.contains(&halted) && words.iter().all(|word| last.contains(word))).then_some(()))
    })
    .with_context(|| format!("/readyz says {last}"))
}

#[test]
fn records_deleted_before_they_were_applied_halt_their_partition_and_no_other() -> Result<()> {
    const UNAPPLIED_GONE: i32 = 0;
    const APPLIED_GONE_BUT_THE_LAST: i32 = 1;
    const LAST_APPLIED_GONE: i32 = 2;
    let seed = seed("records_deleted_before_they_were_applied_halt_their_partition_and_no_other")?;
    let pipeline = ledger_at(endpoints()?)?;
    let topic = Topic::of(&pipeline)?;
    let load = Load::begin(&pipeline, 4_000, seed)?;
    load.wait_for_more(500)?;
    ensure!(pipeline.stop("ledger-consumer")?, "the consumer does not end cleanly");
    let mut emitted = load.end()?;

    let before = cursors(&pipeline)?;
    let cursor = |partition: i32| before.get(&partition).copied().context("no cursor");
    topic.delete_before(UNAPPLIED_GONE, cursor(UNAPPLIED_GONE)? + 10)?;
    topic.delete_before(APPLIED_GONE_BUT_THE_LAST, cursor(APPLIED_GONE_BUT_THE_LAST)? - 1)?;
    topic.delete_before(LAST_APPLIED_GONE, cursor(LAST_APPLIED_GONE)?)?;
    pipeline.start("ledger-consumer")?;

    let (first, begin) = (cursor(UNAPPLIED_GONE)? - 1, cursor(UNAPPLIED_GONE)? + 10);
    expect_halted(
        &pipeline,
        UNAPPLIED_GONE,
        &[
            &format!("offset {first} is due"),
            &format!("the broker's log begins at {begin}: {first} to {} are missing", begin - 1),
            "restore",
        ],
    )?;
    let last = cursor(LAST_APPLIED_GONE)? - 1;
    expect_halted(&pipeline, LAST_APPLIED_GONE, &[&format!("begins at {}: {last} is missing", last + 1)])?;
    let go_on: Vec<i32> = (0..i32::try_from(PARTITIONS)?)
        .filter(|partition| ![UNAPPLIED_GONE, LAST_APPLIED_GONE].contains(partition))
        .collect();
    for partition in &go_on {
        let end = topic.watermarks(*partition)?.high;
        eventually(&format!("partition {partition} goes on"), || {
            Ok((cursors(&pipeline)?.get(partition) == Some(&end)).then_some(()))
        })?;
    }
    let after = cursors(&pipeline)?;
    for partition in [UNAPPLIED_GONE, LAST_APPLIED_GONE] {
        ensure!(after.get(&partition) == Some(&cursor(partition)?), "partition {partition} went on");
    }
    emitted.keep_partitions(&go_on);
    emitted.expect_sums(&pipeline)
}

/// A ledger that has applied thousands of events, the topic and its records.
fn applied(test: &str) -> Result<(Pipeline, Emitted, Topic, Vec<Vec<Record>>)> {
    let pipeline = ledger_at(endpoints()?)?;
    let load = Load::begin(&pipeline, 4_000, seed(test)?)?;
    load.wait_for_more(500)?;
    let emitted = load.end_and_compare(&pipeline)?;
    let topic = Topic::of(&pipeline)?;
    let records = topic.records()?;
    Ok((pipeline, emitted, topic, records))
}

/// Each partition's records two times over: the cursor of whoever has applied them once is in the middle.
fn twice(records: &[Vec<Record>]) -> Vec<Vec<Record>> {
    records.iter().map(|records| [records.as_slice(), records].concat()).collect()
}

#[test]
fn a_topic_that_was_made_again_halts_every_partition() -> Result<()> {
    let (pipeline, emitted, topic, records) = applied("a_topic_that_was_made_again_halts_every_partition")?;
    let before = cursors(&pipeline)?;

    // While the consumer runs, which sees that the log has shrunk. (Filled beyond the cursor within the moment between two
    // fetches, it would look like the same log to one that runs.)
    topic.recreate()?;
    for partition in before.keys() {
        expect_halted(&pipeline, *partition, &["the topic was made again"])?;
    }
    topic.append(&twice(&records))?;
    // While it is away, and as long as before: the record before the cursor has another append time.
    pipeline.kill("ledger-consumer")?;
    pipeline.start("ledger-consumer")?;
    for partition in before.keys() {
        expect_halted(&pipeline, *partition, &["is not the one that the ledger applied last"])?;
    }
    ensure!(pipeline.stop("ledger-consumer")?, "the consumer does not end cleanly");

    // While it is away, and shorter: the same genesis and half of the records.
    topic.recreate()?;
    let half = records.iter().map(|records| records.iter().take(records.len() / 2).cloned().collect());
    topic.append(&half.collect::<Vec<_>>())?;
    pipeline.start("ledger-consumer")?;
    for (partition, cursor) in &before {
        let due = format!("offset {} is due", cursor - 1);
        expect_halted(&pipeline, *partition, &[&due, "log ends at", "made again"])?;
    }
    ensure!(cursors(&pipeline)? == before, "a cursor has moved");
    emitted.expect_sums(&pipeline)
}

#[test]
fn a_topic_that_was_made_again_behind_a_frozen_consumers_back_halts_it() -> Result<()> {
    let (pipeline, emitted, topic, records) =
        applied("a_topic_that_was_made_again_behind_a_frozen_consumers_back_halts_it")?;
    let before = cursors(&pipeline)?;
    pipeline.signal("ledger-consumer", Signal::SIGSTOP)?;
    let frozen = Instant::now();
    topic.recreate()?;
    topic.append(&twice(&records))?;
    // Shorter than its session, so that the group has not missed it, and longer than the consumer overlooks.
    std::thread::sleep(Duration::from_secs(3).saturating_sub(frozen.elapsed()));
    pipeline.signal("ledger-consumer", Signal::SIGCONT)?;
    for partition in before.keys() {
        expect_halted(&pipeline, *partition, &["is not the one that the ledger applied last"])?;
    }
    ensure!(cursors(&pipeline)? == before, "a cursor has moved");
    emitted.expect_sums(&pipeline)
}

#[test]
fn a_ledger_of_another_log_than_the_one_pinned_halts() -> Result<()> {
    let pipeline = ledger_at(endpoints()?)?;
    ensure!(pipeline.stop("ledger-consumer")?, "the consumer does not end cleanly");
    let another = "0000000000000000000000000000000000000000000000000000000000000001";
    pipeline.start_instance("ledger-consumer", "misled", &[("FLUXORI__LOG__GENESIS", another)])?;
    eventually("it halts and names the genesis", || {
        let log = std::fs::read_to_string(pipeline.log_file("misled"))?;
        Ok((log.contains("halted; the other partitions go on") && log.contains("genesis")).then_some(()))
    })
}
