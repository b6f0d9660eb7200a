//! Sealed ranges, with a real group and real tables: what a crash leaves behind is finished by the successor.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use analytics_consumer::{Admitter, AnalyticsProcessor, Cursor};
use fluxori_analytics::{Analytics, AnalyticsOptions, Loaded, LogRange, OrgSums, RangeRows};
use fluxori_core::time::Timestamp;
use fluxori_runtime::Health;
use fluxori_stream::{
    Batches, ConsumerGroup, ConsumerOptions, GroupHandle, GroupStatus, LogReader, Processor, Publisher,
    PublisherOptions, TakeOver, TopicSpec, WorkerEnd,
};
use tokio_util::sync::CancellationToken;

use crate::log::{LOG, Log, corrected, eventful};
use crate::proxy::Proxy;

/// A topic, a group and a database of their own.
struct Pipeline {
    brokers: String,
    name: String,
    analytics: Analytics,
    log: Log,
}

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `cargo xtask test`, or name a running server in it")
    })
}

fn database(url: String, name: &str) -> Analytics {
    Analytics::new(&AnalyticsOptions { url, database: name.to_owned(), user: None, password: None }).unwrap()
}

async fn with_pipeline<F: Future<Output = ()>>(log: Log, test: impl FnOnce(Arc<Pipeline>) -> F) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_consumer_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let brokers = server("KAFKA_BROKERS");
    let analytics = database(server("CLICKHOUSE_URL"), &name);
    analytics.drop_database().await.unwrap();
    analytics.migrate().await.unwrap();
    let spec = TopicSpec { name: name.clone(), partitions: 1, replication: 1, min_insync_replicas: 1 };
    spec.create(&brokers).await.unwrap();
    let pipeline = Arc::new(Pipeline { brokers, name, analytics: analytics.clone(), log });
    pipeline.publish(&pipeline.log, 0).await;
    test(pipeline).await;
    analytics.drop_database().await.unwrap();
}

impl Pipeline {
    /// Appends the records of a log from `from` on.
    async fn publish(&self, log: &Log, from: i64) {
        let publisher = Publisher::new(&PublisherOptions::new(&self.brokers, &self.name)).unwrap();
        let (_, rest) = log.records.clone().split_at(from);
        let mut deliveries = Vec::new();
        for record in rest.iter() {
            deliveries.push(publisher.enqueue(0, record.key.unwrap(), record.value.unwrap()).unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }

    fn group(&self) -> ConsumerGroup {
        let mut options = ConsumerOptions::new(&self.brokers, &self.name, &self.name);
        options.session_timeout = Duration::from_secs(6);
        // Many batches, whatever the log.
        options.batch_max_records = 7 + self.log.records.len() / 20;
        ConsumerGroup::new(options)
    }

    fn processor(&self, analytics: &Analytics, health: &Health) -> AnalyticsProcessor {
        let reader = LogReader::new(&self.brokers, &self.name).unwrap();
        AnalyticsProcessor::new(analytics.clone(), reader, self.log.genesis, health.check("clickhouse"))
    }

    /// Runs the consumer until `enough`, then asks it to end.
    async fn consume(&self, enough: impl AsyncFnMut(&GroupStatus) -> bool) {
        self.run(self.processor(&self.analytics, &Health::new("test")), enough).await;
    }

    async fn run(&self, processor: AnalyticsProcessor, mut enough: impl AsyncFnMut(&GroupStatus) -> bool) {
        let group = self.group();
        let status = group.status();
        let stop = CancellationToken::new();
        let running = tokio::spawn(group.run(processor, stop.clone()));
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let now = status.borrow().clone();
            if enough(&now).await {
                break;
            }
            assert!(Instant::now() < until, "the consumer did not get there in time: {now:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    async fn consume_all(&self, events: i64) {
        self.consume(async |_| self.events().await >= events).await;
    }

    async fn events(&self) -> i64 {
        self.sums().await.iter().map(|org| org.events).sum()
    }

    async fn sums(&self) -> Vec<OrgSums> {
        self.analytics.sums_by_org().await.unwrap()
    }

    async fn check(&self) {
        let sums = self.sums().await;
        let credits: Vec<(&str, i64, String)> =
            sums.iter().map(|org| (org.org.as_str(), org.events, org.credits_raw.to_string())).collect();
        let expected = [("acme", 2, "15"), ("early", 4, "20"), ("tricky", 2, "8.75")];
        assert_eq!(credits, expected.map(|(org, events, credits)| (org, events, credits.to_owned())));
        assert!(sums.iter().all(OrgSums::agree), "{sums:?}");
    }
}

/// Events and credits by org, where all three ways agree.
fn agreed(sums: &[OrgSums]) -> Vec<(&str, i64, String)> {
    let agreed = sums.iter().filter(|org| org.agree());
    agreed.map(|org| (org.org.as_str(), org.events, org.credits_raw.to_string())).collect()
}

/// What the crash comes after.
#[derive(Clone, Copy, Debug)]
enum Until {
    Sealed,
    PartlyInserted,
    Inserted,
}

/// Does the consumer's work up to `end` in one range and crashes: the end is never committed.
struct Crashing {
    pipeline: Arc<Pipeline>,
    end: i64,
    until: Until,
    crashed: Arc<Mutex<Option<(LogRange, RangeRows)>>>,
}

impl Processor for Crashing {
    type Worker = GroupHandle;

    async fn take_over(
        &self,
        partition: i32,
        group: GroupHandle,
        _: CancellationToken,
    ) -> Result<TakeOver<GroupHandle>, WorkerEnd> {
        assert_eq!((partition, group.committed(partition).await.unwrap()), (0, None));
        Ok(TakeOver { start: 0, worker: group })
    }

    async fn run(&self, group: GroupHandle, mut batches: Batches, stop: CancellationToken) -> WorkerEnd {
        let mut batch = batches.next().await.unwrap();
        while batch.end() < self.end {
            batch.append(&batches.next().await.unwrap()).unwrap();
        }
        let (batch, _) = batch.split_at(self.end);
        let seal = Cursor { now: Timestamp::MIN, sealed_end: Some(self.end) };
        group.commit(0, 0, &seal.to_text()).await.unwrap();
        let mut admitter =
            Admitter::restore(0, self.pipeline.log.genesis, 0, Timestamp::MIN, &[], &Default::default())
                .unwrap();
        let (rows, _) = admitter.admit(&batch, &Admitter::decode(&batch), Loaded::default()).unwrap();
        let range = LogRange { log_id: LOG, partition: 0, start: 0, end: self.end };
        let only_kept = RangeRows { kept: rows.kept.clone(), ..RangeRows::default() };
        let written = match self.until {
            Until::Sealed => RangeRows::default(),
            Until::PartlyInserted => only_kept,
            Until::Inserted => rows.clone(),
        };
        self.pipeline.analytics.insert_range(&range, &written).await.unwrap();
        *self.crashed.lock().unwrap() = Some((range, rows));
        stop.cancelled().await;
        WorkerEnd::Stopped
    }
}

async fn crash(pipeline: &Arc<Pipeline>, end: i64, until: Until) -> (LogRange, RangeRows) {
    let crashed = Arc::new(Mutex::new(None));
    let processor = Crashing { pipeline: pipeline.clone(), end, until, crashed: crashed.clone() };
    let stop = CancellationToken::new();
    let running = tokio::spawn(pipeline.group().run(processor, stop.clone()));
    let left = loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!running.is_finished(), "the crashing consumer failed");
        if let Some(left) = crashed.lock().unwrap().take() {
            break left;
        }
    };
    stop.cancel();
    running.await.unwrap().unwrap();
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_becomes_rows_and_a_restart_goes_on_where_the_group_is() {
    with_pipeline(eventful(1), async |pipeline| {
        pipeline.consume_all(8).await;
        pipeline.check().await;
        // The same records again are known, and what is new comes after them.
        let mut again = eventful(1);
        again.usage("new", 8, 1_000);
        again.grant("new", 104, 1);
        pipeline.publish(&again, 4).await;
        pipeline.consume_all(9).await;
        let sums = pipeline.sums().await;
        assert_eq!(sums.iter().map(|org| org.events).collect::<Vec<_>>(), [2, 4, 1, 2]);
        assert!(sums.iter().all(OrgSums::agree), "{sums:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_finishes_a_sealed_range_and_a_zombie_changes_nothing() {
    for (end, until) in
        [(14, Until::Sealed), (18, Until::PartlyInserted), (24, Until::Inserted), (27, Until::Inserted)]
    {
        with_pipeline(eventful(1), async |pipeline| {
            let (range, rows) = crash(&pipeline, end, until).await;
            pipeline.consume_all(8).await;
            pipeline.check().await;
            // The one that did not know that it was replaced.
            pipeline.analytics.insert_range(&range, &rows).await.unwrap();
            pipeline.check().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_in_a_sealed_range_count_once_whoever_finishes_it() {
    let expected = [("acme", 6, "39.5"), ("other", 2, "3.75")]
        .map(|(org, events, credits)| (org, events, credits.to_owned()));
    // Amid corrections, before and after superseding, before a release.
    for (end, until) in
        [(9, Until::Sealed), (23, Until::PartlyInserted), (24, Until::Inserted), (38, Until::Inserted)]
    {
        with_pipeline(corrected(1), async |pipeline| {
            let (range, rows) = crash(&pipeline, end, until).await;
            pipeline.consume(async |_| agreed(&pipeline.sums().await) == expected).await;
            pipeline.analytics.insert_range(&range, &rows).await.unwrap();
            assert_eq!(agreed(&pipeline.sums().await), expected);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_lost_its_offset_halts_rather_than_counting_again() {
    with_pipeline(eventful(1), async |pipeline| {
        let mut admitter =
            Admitter::restore(0, pipeline.log.genesis, 0, Timestamp::MIN, &[], &Default::default()).unwrap();
        let batch = &pipeline.log.records;
        let (rows, _) = admitter.admit(batch, &Admitter::decode(batch), Loaded::default()).unwrap();
        let range = LogRange { log_id: LOG, partition: 0, start: 0, end: batch.end() };
        pipeline.analytics.insert_range(&range, &rows).await.unwrap();
        pipeline
            .consume(async |status| status.not_ready().is_some_and(|reason| reason.contains("counted again")))
            .await;
        pipeline.check().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_halts_with_what_is_wrong() {
    let mut log = eventful(1);
    log.genesis = fluxori_core::digest::Digest::default();
    with_pipeline(log, async |pipeline| {
        pipeline
            .consume(async |status| status.not_ready().is_some_and(|reason| reason.contains("another log")))
            .await;
        assert_eq!(pipeline.events().await, 0);
    })
    .await;
}

/// The binary, with the pipeline's settings.
fn spawn_binary(pipeline: &Pipeline) -> std::process::Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_analytics-consumer"))
        .env("KAFKA_BROKERS", &pipeline.brokers)
        .env("CLICKHOUSE_URL", server("CLICKHOUSE_URL"))
        .env("FLUXORI__KAFKA__TOPIC", &pipeline.name)
        .env("FLUXORI__KAFKA__SESSION_TIMEOUT_MS", "6000")
        .env("FLUXORI__CLICKHOUSE__DATABASE", &pipeline.name)
        .env("FLUXORI__LOG__GENESIS", pipeline.log.genesis.to_string())
        .env("FLUXORI__ANALYTICS__GROUP", &pipeline.name)
        .env("FLUXORI__ANALYTICS__LISTEN", "127.0.0.1:0")
        .env("FLUXORI__ANALYTICS__BATCH_MAX_RECORDS", "1000")
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_batches_it_counts_every_event_once() {
    // So many that it is far from the end when it is seen to have got on, however slow whoever looks is.
    const EVENTS: i64 = 90_000;
    let mut log = Log::new(1);
    log.grant("acme", 100, 1_000);
    for id in 0..EVENTS {
        log.usage("acme", u128::try_from(id).unwrap(), 1_000);
    }
    with_pipeline(log, async |pipeline| {
        for share in [12, 6] {
            let mut child = spawn_binary(&pipeline);
            let until = Instant::now() + Duration::from_secs(60);
            while pipeline.events().await < EVENTS / share {
                assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it does not get on");
            }
            // SIGKILL: whatever insert or commit is under way stays as it is.
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(pipeline.events().await < EVENTS, "it was killed after the end");
        pipeline.consume_all(EVENTS).await;
        let sums = pipeline.sums().await;
        assert_eq!((sums[0].events, sums[0].credits_raw.to_string()), (EVENTS, "112500".to_owned()));
        assert!(sums[0].agree(), "{sums:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_that_is_away_is_waited_for_and_nothing_is_lost() {
    let mut log = eventful(1);
    for id in 0..2_000 {
        log.usage("acme", 1_000 + id, 1_000);
    }
    with_pipeline(log, async |pipeline| {
        let target = pipeline.analytics.url().trim_start_matches("http://").to_owned();
        let mut proxy = Proxy::open(&target).await;
        let health = Health::new("test");
        let processor = pipeline.processor(&database(proxy.url(), &pipeline.name), &health);
        let mut outages = 0;
        pipeline
            .run(processor, async |status| {
                let events = pipeline.events().await;
                if events < 300 * (outages + 1) || outages == 3 {
                    return events == 2_008;
                }
                outages += 1;
                proxy.close();
                let until = Instant::now() + Duration::from_secs(10);
                while health.is_ready() {
                    assert!(Instant::now() < until, "nobody noticed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert!(status.not_ready().is_none(), "the partition stays: {status:?}");
                proxy.reopen().await;
                false
            })
            .await;
        assert!(outages == 3 && health.is_ready());
        let sums = pipeline.sums().await;
        assert_eq!(sums.iter().map(|org| org.events).collect::<Vec<_>>(), [2_002, 4, 2]);
        assert!(sums.iter().all(OrgSums::agree), "{sums:?}");
    })
    .await;
}
