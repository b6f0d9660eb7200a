//! A database of its own for every test, on a real server.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};

use fluxori_analytics::{Analytics, AnalyticsOptions, Counts, LogRange, MadeBy, Needed, UsageAt};
use fluxori_core::amount::{Credits, Usd};
use fluxori_core::id::{EventId, Feature, LogId, Model, Module, OrgId, Provider, UserId};
use fluxori_core::posting::PricedUsage;
use fluxori_core::pricing::{CallKind, Charge, ChargeStatus};
use fluxori_core::rates::AppliedTerms;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use uuid::Uuid;

/// Runs a test in a new database, which is dropped at its end.
pub(crate) async fn with_database<F: Future<Output = ()>>(test: impl FnOnce(Analytics) -> F) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("CLICKHOUSE_URL").unwrap_or_else(|_| {
        panic!("CLICKHOUSE_URL is not set: run `cargo xtask test`, or name a ClickHouse such as http://127.0.0.1:8123")
    });
    let database = format!("test_analytics_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let options = AnalyticsOptions { url, database, user: None, password: None };
    let analytics = Analytics::new(&options).unwrap();
    analytics.drop_database().await.unwrap();
    analytics.migrate().await.expect("the database is set up");
    test(analytics.clone()).await;
    analytics.drop_database().await.unwrap();
}

fn client(analytics: &Analytics) -> clickhouse::Client {
    clickhouse::Client::default().with_url(analytics.url())
}

/// Runs a statement; names in it need their database.
pub(crate) async fn query(analytics: &Analytics, sql: &str) {
    client(analytics).query_raw(sql).execute().await.unwrap();
}

/// One number; names need no database.
pub(crate) async fn number(analytics: &Analytics, sql: &str) -> i64 {
    let client = client(analytics).with_database(analytics.database());
    client.query_raw(sql).fetch_one().await.unwrap()
}

/// One text; names need no database.
pub(crate) async fn text(analytics: &Analytics, sql: &str) -> String {
    let client = client(analytics).with_database(analytics.database());
    client.query_raw(sql).fetch_one().await.unwrap()
}

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(7));

pub(crate) fn range(partition: i32, start: i64, end: i64) -> LogRange {
    LogRange { log_id: LOG, partition, start, end }
}

/// Pseudo-random numbers (SplitMix64), the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Usage of an org with a random rest.
pub(crate) fn usage(random: &mut Random, offset: i64, org: &str, occurred_at: &str) -> UsageAt {
    let id = EventId(Uuid::from_u64_pair(
        0x0190_0000_0000_7000 | random.below(1 << 40) << 16,
        1 << 63 | random.below(1 << 62),
    ));
    let mut fields = UsageFields::new(
        id,
        occurred_at.parse().unwrap(),
        OrgId::new(org).unwrap(),
        Module::new(["rag-retrieval", "pim"][usize::try_from(random.below(2)).unwrap()]).unwrap(),
        Provider::new("openai").unwrap(),
        Model::new(["gpt-5", "gpt-5-mini", "o3"][usize::try_from(random.below(3)).unwrap()]).unwrap(),
    );
    fields.occurred_at =
        fields.occurred_at.after(std::time::Duration::from_micros(random.below(7_200_000_000)));
    fields.user_id = (random.below(2) == 0).then(|| UserId::new(&format!("u{}", random.below(3))).unwrap());
    fields.feature = (random.below(2) == 0).then(|| Feature::new("search").unwrap());
    fields.input_tokens = i64::try_from(1_000 + random.below(9_000)).unwrap();
    fields.cache_read_input_tokens = i64::try_from(random.below(1_000)).unwrap();
    fields.output_tokens = i64::try_from(random.below(900)).unwrap();
    fields.latency_ms = (random.below(4) > 0).then(|| i64::try_from(random.below(3_000)).unwrap());
    fields.units.insert("pages".into(), fluxori_core::usage::Quantity("1.5".parse().unwrap()));
    fields.tags.insert("environment".into(), "production".into());
    let event = UsageEvent::new(fields).unwrap();
    let charge = Charge {
        status: if random.below(9) == 0 { ChargeStatus::Partial } else { ChargeStatus::Complete },
        tier: None,
        call: CallKind::default(),
        lines: Vec::new(),
        terms: AppliedTerms::standard(),
        cost: Usd::from_scaled(i128::from(random.below(1 << 40))).unwrap(),
        credits: Credits::from_scaled(i128::from(random.below(1 << 50))).unwrap(),
    };
    let append_time: Timestamp = event.occurred_at.after(std::time::Duration::from_secs(1));
    UsageAt {
        offset,
        append_time,
        made_by: MadeBy::Usage,
        counts: Counts::Added,
        charge_revision: 1,
        usage: PricedUsage { billing_digest: event.billing_digest(), event: event.into(), charge },
    }
}

/// Credits of some usage, by adding them up here.
pub(crate) fn credits(usage: &[UsageAt]) -> Credits {
    usage.iter().fold(Credits::ZERO, |sum, at| sum.plus(at.usage.charge.credits).unwrap())
}

/// What a batch needs that refers to these events in every way.
pub(crate) fn needed(ids: impl IntoIterator<Item = EventId>) -> Needed {
    let events: std::collections::BTreeSet<EventId> = ids.into_iter().collect();
    Needed { watched: events.clone(), released: events.clone(), events, ..Needed::default() }
}
