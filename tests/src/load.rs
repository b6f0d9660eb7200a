//! Usage in flight: thousands of events on their way while something fails, and their sums, counted here.
//!
//! What an event costs is computed in `load/usage.rs` alone, from the figures of the rate card's first models, and never
//! with the product's own arithmetic.

mod source;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fluxori_core::record::partition_of;
use fluxori_stack::pipeline::Pipeline;
use fluxori_stream::{Publisher, StreamError};
use rand::RngExt as _;

pub use source::{Cost, Source};
use usage::GRANTED;
pub use usage::{event, millionths, opening};

use crate::{PARTITIONS, publisher_options, sql, try_sql, verify};

/// So many events are handed over before their acknowledgements are waited for.
const CHUNK: usize = 250;
/// One record in so many is published twice: in the same chunk, or some chunks later.
const DUPLICATE_EVERY: u32 = 20;
/// So many records are remembered, of which some are published again.
const REMEMBERED: usize = 1_000;
/// How long the ledger may take to come to the end of the log.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an org has used: events, and credits in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    events: u64,
    credits: i64,
}

/// What was emitted, by org.
#[derive(Debug, Default)]
pub struct Emitted {
    orgs: BTreeMap<String, Used>,
    duplicates: u64,
}

/// A flow of usage that keeps so many events in flight (acknowledged by Kafka, not yet applied) until it is ended.
#[derive(Debug)]
pub struct Load {
    progress: Arc<Progress>,
    flow: JoinHandle<Result<Emitted>>,
}

#[derive(Debug, Default)]
struct Progress {
    emitted: AtomicU64,
    applied: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Opens orgs in every partition and begins to emit.
    ///
    /// # Errors
    /// The CLI's key cannot be read, or Kafka is away.
    pub fn begin(pipeline: &Pipeline, in_flight: u64, seed: u64) -> Result<Self> {
        let source = Source::open(pipeline, seed)?;
        let publisher = Publisher::new(&publisher_options(pipeline)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let progress = Arc::new(Progress::default());
        let flow = Flow {
            source,
            publisher,
            runtime,
            database: pipeline.owner_url().to_owned(),
            progress: Arc::clone(&progress),
            in_flight,
            remembered: Vec::new(),
        };
        Ok(Self { progress, flow: std::thread::spawn(move || flow.run()) })
    }

    /// Events that the ledger has debited, as of a moment ago.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.progress.applied.load(Ordering::Relaxed)
    }

    /// Events that Kafka has and the ledger has not debited, as of a moment ago.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.progress.emitted.load(Ordering::Relaxed).saturating_sub(self.applied())
    }

    /// Waits until the ledger has debited so many more events than now, while at least a thousand others are in flight.
    ///
    /// # Errors
    /// It has not in time, or the flow has failed.
    pub fn wait_for_more(&self, events: u64) -> Result<()> {
        let (begin, wanted) = (Instant::now(), self.applied() + events);
        while self.applied() < wanted || self.in_flight() < 1_000 {
            ensure!(!self.flow.is_finished(), "the load has ended by itself");
            ensure!(
                begin.elapsed() < PATIENCE,
                "{} events are debited and not {wanted}, {} in flight",
                self.applied(),
                self.in_flight()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops emitting and says what was emitted.
    ///
    /// # Errors
    /// What the flow failed of.
    pub fn end(self) -> Result<Emitted> {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.flow.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    }

    /// Stops emitting, waits until the ledger has come to the end, and compares: every event debited once and for what it
    /// costs, every balance what is left of the grant, and the ledger what its log says.
    ///
    /// # Errors
    /// The first difference.
    pub fn end_and_compare(self, pipeline: &Pipeline) -> Result<Emitted> {
        let emitted = self.end()?;
        emitted.expect_applied_once(pipeline, 0)?;
        verify(pipeline)?;
        Ok(emitted)
    }
}

impl Emitted {
    /// How many events, duplicates not counted.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.orgs.values().map(|used| used.events).sum()
    }

    /// How many records were published a second time on purpose. What Kafka did not acknowledge in time comes on top.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// What they cost, in millionths of a credit.
    #[must_use]
    pub fn credits(&self) -> i64 {
        self.orgs.values().map(|used| used.credits).sum()
    }

    /// Waits until the ledger has debited as many events, and `others` of other orgs, and compares every org with what
    /// was emitted.
    ///
    /// # Errors
    /// Too many or too few events, or the first org with another sum or balance.
    pub fn expect_applied_once(&self, pipeline: &Pipeline, others: u64) -> Result<()> {
        let (begin, wanted) = (Instant::now(), self.events() + others);
        loop {
            let last = match debited(pipeline.owner_url()) {
                Ok(debited) if debited == wanted => break,
                Ok(debited) if debited > wanted => {
                    bail!("{debited} events are debited, and {wanted} were emitted")
                }
                other => other,
            };
            ensure!(begin.elapsed() < PATIENCE, "debited: {last:?}, emitted: {wanted}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.expect_sums(pipeline)
    }

    /// Leaves out what was emitted to other partitions than these.
    pub fn keep_partitions(&mut self, partitions: &[i32]) {
        self.orgs.retain(|org, _| partition(org).is_ok_and(|partition| partitions.contains(&partition)));
    }

    /// Compares every org's sum and balance with what was emitted.
    ///
    /// # Errors
    /// The first org that differs.
    pub fn expect_sums(&self, pipeline: &Pipeline) -> Result<()> {
        let rows = sql(
            pipeline,
            "SELECT o.org_id, o.balance, count(t.amount), coalesce(sum(t.amount), 0) FROM ledger.organizations o
             LEFT JOIN ledger.credit_transactions t ON t.org_id = o.org_id AND t.kind = 'debit'
             GROUP BY o.org_id, o.balance",
        )?;
        let mut found = BTreeMap::new();
        for row in rows {
            let [org, balance, events, credits] =
                row.try_into().map_err(|_| anyhow::anyhow!("four columns"))?;
            found.insert(org, (millionths(&balance)?, events.parse::<u64>()?, millionths(&credits)?));
        }
        for (org, used) in &self.orgs {
            let expected = (GRANTED - used.credits, used.events, used.credits);
            let found = found.get(org).with_context(|| format!("{org} is not in the ledger"))?;
            ensure!(*found == expected, "{org}: balance, events, credits are {found:?} and not {expected:?}");
        }
        Ok(())
    }
}

struct Flow {
    source: Source,
    publisher: Publisher,
    runtime: tokio::runtime::Runtime,
    database: String,
    progress: Arc<Progress>,
    in_flight: u64,
    /// Records of late, to be published again.
    remembered: Vec<(String, Vec<u8>)>,
}

impl Flow {
    fn run(mut self) -> Result<Emitted> {
        let mut asked: Option<Instant> = None;
        while !self.progress.stop.load(Ordering::Relaxed) {
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_millis(200)) {
                // While Postgres is away, what is in flight is what was before.
                if let Ok(debited) = debited(&self.database) {
                    self.progress.applied.fetch_max(debited, Ordering::Relaxed);
                }
                asked = Some(Instant::now());
            }
            let emitted = self.progress.emitted.load(Ordering::Relaxed);
            if emitted.saturating_sub(self.progress.applied.load(Ordering::Relaxed)) < self.in_flight {
                self.emit_chunk()?;
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(self.source.into_emitted())
    }

    /// Emits a chunk: in any order, since producers' clocks and retries keep none, and some records a second time. What is
    /// not acknowledged in time is published again, as every producer does.
    fn emit_chunk(&mut self) -> Result<()> {
        let mut records = Vec::with_capacity(CHUNK);
        for _ in 0..CHUNK {
            let (event, cost) = self.source.next()?;
            let record = (event.org_id.to_string(), fluxori_wire::encode_usage(&event)?);
            self.source.accepted(cost);
            let random = self.source.random();
            if self.remembered.len() < REMEMBERED {
                self.remembered.push(record.clone());
            } else if let Some(place) = self.remembered.get_mut(random.random_range(0..REMEMBERED)) {
                *place = record.clone();
            }
            if random.random_range(0..DUPLICATE_EVERY) == 0 {
                let earlier = self.remembered.get(random.random_range(0..self.remembered.len()));
                let again = if random.random() { earlier.unwrap_or(&record) } else { &record };
                records.push(again.clone());
                self.source.duplicated();
            }
            let random = self.source.random();
            records.insert(random.random_range(0..=records.len()), record);
        }
        self.runtime.block_on(async {
            while !records.is_empty() {
                let mut deliveries = Vec::with_capacity(records.len());
                for (org, value) in &records {
                    deliveries.push(self.publisher.enqueue(partition(org)?, org.as_bytes(), value)?);
                }
                let mut again = Vec::new();
                for (record, delivery) in records.into_iter().zip(deliveries) {
                    match delivery.await {
                        Ok(_) => {}
                        Err(StreamError::NotAcknowledged { .. }) => again.push(record),
                        Err(error) => return Err(error.into()),
                    }
                }
                records = again;
            }
            anyhow::Ok(())
        })?;
        self.progress.emitted.fetch_add(u64::try_from(CHUNK)?, Ordering::Relaxed);
        Ok(())
    }
}

/// Events that the ledger says it has debited.
fn debited(database: &str) -> Result<u64> {
    let rows = try_sql(database, "SELECT coalesce(sum(debited), 0) FROM ledger.partition_cursors")?;
    Ok(rows.first().and_then(|row| row.first()).context("no sum")?.parse()?)
}

fn partition(org: &str) -> Result<i32> {
    Ok(partition_of(org.as_bytes(), i32::try_from(PARTITIONS)?))
}

/// A seed to be printed, from the environment (`FLUXORI_SEED`) or new.
///
/// # Errors
/// The environment's is no number.
pub fn seed(test: &str) -> Result<u64> {
    let seed = match std::env::var("FLUXORI_SEED") {
        Ok(text) => text.parse().with_context(|| format!("FLUXORI_SEED is {text} and no number"))?,
        Err(_) => rand::random(),
    };
    eprintln!("{test}: FLUXORI_SEED={seed}");
    Ok(seed)
}

/// Whether the long variants are to run (`cargo xtask test --soak`).
#[must_use]
pub fn is_soak() -> bool {
    std::env::var_os("FLUXORI_SOAK").is_some()
}
