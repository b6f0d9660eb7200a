//! Emitting: what a call costs its caller, beside a bare bounded queue and librdkafka's own `send`, and how many events a second come
//! through to the broker's acknowledgement.
//!
//! `docs/performance.md` says what each figure means. Needs `KAFKA_BROKERS` and the binaries beside this one: `cargo xtask bench emit`
//! sees to both.

mod allocations;
mod calls;
mod floors;
mod through;

use std::path::PathBuf;

use anyhow::Result;
use fluxori_core::id::{EventId, Model, Module, OrgId, Provider};
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_emitter::{Emitter, EmitterOptions, SpoolOptions};
use fluxori_runtime::clock;
use fluxori_stack::pipeline::{Pipeline, binaries_beside};
use serde_json::json;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

/// An event as call sites emit it: a user, a feature, a response id, two tags.
fn event(n: u64) -> Result<UsageEvent> {
    let mut fields = UsageFields::new(
        EventId(Uuid::now_v7()),
        clock::now().into(),
        OrgId::new(&format!("org-{}", n % 100))?,
        Module::new("rag-retrieval")?,
        Provider::new("openai")?,
        Model::new("gpt-5")?,
    );
    fields.user_id = Some(format!("user-{}", n % 10_000).parse()?);
    fields.feature = Some("answer".parse()?);
    fields.response_model = Some("gpt-5-2025-08-07".parse()?);
    fields.response_id = Some(format!("chatcmpl-{n:024}").parse()?);
    fields.input_tokens = 1_000;
    fields.cache_read_input_tokens = 600;
    fields.output_tokens = 200;
    fields.latency_ms = Some(1_234);
    fields.tags.insert("environment".to_owned(), "production".to_owned());
    fields.tags.insert("team".to_owned(), "search".to_owned());
    Ok(UsageEvent::new(fields)?)
}

fn events(count: u64) -> Result<Vec<UsageEvent>> {
    (0..count).map(event).collect()
}

/// An emitter with a spool of its own, on disk or in memory, and its folder.
struct Spooled {
    emitter: Emitter,
    folder: Option<PathBuf>,
}

impl Spooled {
    fn new(brokers: &str, topic: &str, spool: SpoolOptions) -> Result<Self> {
        let folder = spool.folder.clone();
        let options = EmitterOptions { topic: topic.to_owned(), spool, ..EmitterOptions::new(brokers) };
        Ok(Self { emitter: Emitter::new(options)?, folder })
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn in_memory() -> SpoolOptions {
    SpoolOptions { max_bytes: 1 << 30, ..SpoolOptions::in_memory() }
}

/// In a folder on the disk that holds the binaries.
fn on_disk() -> Result<SpoolOptions> {
    let folder = binaries_beside(&std::env::current_exe()?)?.join("bench").join(Uuid::now_v7().to_string());
    Ok(SpoolOptions { max_bytes: 2 << 30, ..SpoolOptions::in_folder(folder) })
}

fn main() -> Result<()> {
    let options = benches::pipeline_options(benches::endpoints()?, "emit")?;
    let (brokers, name) = (options.endpoints.kafka_brokers.clone(), options.name.clone());
    let pipeline = Pipeline::init_without_ledger(options)?;

    let calls = calls::measure(&brokers, &name)?;
    println!("per call                     p50 ns");
    for (what, nanos) in [
        ("bare queue", calls.queue_ns),
        ("librdkafka's send", calls.librdkafka_ns),
        ("queued in memory", calls.queued_ns),
        ("accepted in the spool", calls.accepted_ns),
        ("  encode, checksum, copy", calls.accepted_floor_ns),
    ] {
        println!("{what:<28} {nanos:>6}");
    }
    let paced = calls::paced(&brokers, &name)?;
    println!(
        "at 100,000 events/s          p99.9: bare queue {} ns, encode, checksum, copy {} ns, accepted {} ns",
        paced.queue_ns, paced.accepted_floor_ns, paced.accepted_ns
    );
    let allocated = allocations::per_emit()?;
    println!("allocations per emit         {allocated}");
    let through = through::measure(&brokers, &name)?;
    println!(
        "acknowledged per second      {:.0} from disk, {:.0} from memory",
        through.from_disk, through.from_memory
    );
    println!("memory per queued event      {} bytes", through.bytes_per_event);
    println!(
        "{}",
        json!({
            "queue_floor_ns": calls.queue_ns,
            "librdkafka_send_ns": calls.librdkafka_ns,
            "queued_p50_ns": calls.queued_ns,
            "accepted_p50_ns": calls.accepted_ns,
            "accepted_floor_ns": calls.accepted_floor_ns,
            "accepted_ratio": ratio(calls.accepted_ns, calls.accepted_floor_ns),
            "queue_p999_ns": paced.queue_ns,
            "accepted_floor_p999_ns": paced.accepted_floor_ns,
            "accepted_p999_ns": paced.accepted_ns,
            "p999_ratio": ratio(paced.accepted_ns, paced.queue_ns),
            "allocations_per_emit": allocated,
            "acked_per_s": through.from_disk.round(),
            "acked_from_memory_per_s": through.from_memory.round(),
            "bytes_per_queued_event": through.bytes_per_event,
        })
    );
    drop(pipeline);
    Ok(())
}

/// To two places.
fn ratio(subject: u64, floor: u64) -> f64 {
    let whole = |nanos: u64| u32::try_from(nanos).map_or(f64::NAN, f64::from);
    (whole(subject) / whole(floor) * 100.0).round() / 100.0
}
