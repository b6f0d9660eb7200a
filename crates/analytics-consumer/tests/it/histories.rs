//! Random histories: the usage log says what the ledger says, in memory and in real tables.

use std::collections::BTreeMap;

use analytics_consumer::Admitter;
use fluxori_analytics::{Analytics, AnalyticsOptions, Counts, LogRange, RangeRows, UsageAt};
use fluxori_core::amount::Credits;
use fluxori_core::command::{Change, CommandBody, Correct};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, CorrectedBy, Counters, PartitionFold, Past};
use fluxori_core::id::{EventId, Model, OrgId};
use fluxori_core::posting::Cause;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Certainty, Quantities, Quantity, UsageEvent, UsageFields};

use crate::admitter::{Tables, run_cut, whole};
use crate::log::{BEGAN_MS, FIRST_RATES, LOG, Log, event, late, superseding, uncertain};

/// Pseudo-random numbers (SplitMix64), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(u64::try_from(of.len()).unwrap())).unwrap()]
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

const ORGS: [&str; 5] = ["acme", "acme", "globex", "globex", "never-opened"];

/// So few ids that they meet, of events that differ in all that prices depend on.
fn random_event(random: &mut Random, events: u64) -> UsageEvent {
    let (org, id) = (random.one_of(&ORGS), random.below(events));
    let tokens = random.one_of(&[0, 1_000, 2_000]);
    let is_late = random.is(6);
    let (is_uncertain, is_second) = (random.is(2), random.is(4));
    let jitter = i64::try_from(random.below(3)).unwrap();
    event(org, u128::from(id), tokens, |fields| {
        match id % 6 {
            1 => fields.request_model = Model::new("unknown").unwrap(),
            2 => fields.own_key = true,
            3 => fields.batch = true,
            4 => _ = fields.units.insert("pages".into(), Quantity("0.5".parse().unwrap())),
            5 => {
                // Its client stamps every attempt anew.
                fields.event_id = EventId::from_foreign(&fields.org_id, &fields.source, &id.to_string());
                fields.occurred_at = Timestamp::from_millis(BEGAN_MS - 1_000 - jitter * 86_400_000);
            }
            _ => {}
        }
        if is_uncertain {
            uncertain(fields);
        }
        if is_second {
            superseding(fields);
        }
        if is_late {
            late(fields);
        }
    })
}

fn superseded(mut fields: UsageFields, random: &mut Random) -> UsageFields {
    superseding(&mut fields);
    fields.input_tokens += random.one_of(&[0, 500]);
    fields.certainty = random.one_of(&[Certainty::Exact, Certainty::AtLeast]);
    if !fields.event_id.is_native() {
        fields.occurred_at = Timestamp::from_millis(BEGAN_MS - 5_000);
    }
    fields
}

fn history(seed: u64, steps: usize, events: u64) -> Log {
    let mut random = Random(seed);
    let mut log = Log::new(1);
    let mut past: Vec<UsageEvent> = Vec::new();
    let mut rates = FIRST_RATES.to_owned();
    for step in 0..steps {
        // Mostly new ids, sometimes one that was used before.
        let id = if random.is(6) {
            1_000 + u128::from(random.below(4))
        } else {
            2_000 + u128::try_from(step).unwrap()
        };
        let known = |random: &mut Random, past: &[UsageEvent]| match past.is_empty() || random.is(4) {
            true => random_event(random, events),
            false => past[usize::try_from(random.below(past.len().try_into().unwrap())).unwrap()].clone(),
        };
        match random.below(20) {
            0 => log.grant(random.one_of(&ORGS[..4]), id, random.one_of(&[0, 5, 1_000])),
            1 => log.tick(),
            2 => {
                let (revision, price) = (format!("r{step}"), random.one_of(&["1", "2.5", "7"]));
                rates.clone_from(&revision);
                log.rates(10_000 + 2 * u128::try_from(step).unwrap(), &revision, price);
            }
            3..=5 => {
                // What supersedes an event that came.
                let second = known(&mut random, &past).into_fields();
                log.event(&UsageEvent::new(superseded(second, &mut random)).unwrap());
            }
            6..=11 => {
                let event = match random.is(5) {
                    true => known(&mut random, &past),
                    false => random_event(&mut random, events),
                };
                log.event(&event);
                past.push(event);
            }
            12..=13 => log.release(id, &known(&mut random, &past)),
            14..=15 if !past.is_empty() => {
                let of = known(&mut random, &past).org_id.clone();
                let count = usize::try_from(1 + random.below(3)).unwrap();
                let charged = past.iter().rev().filter(|event| event.org_id == of && !random.is(4));
                let mut events: Vec<(EventId, i32)> = Vec::new();
                for event in charged {
                    if events.len() < count && events.iter().all(|(id, _)| *id != event.event_id) {
                        events.push((event.event_id, 1));
                    }
                }
                for (_, revision) in &mut events {
                    *revision = random.one_of(&[1, 1, 1, 2, 3]);
                }
                log.reprice(of.as_str(), id, &rates, events);
            }
            _ => {
                let event = known(&mut random, &past);
                let change = match random.is(3) {
                    true => Change::Void,
                    false => {
                        let mut quantities = Quantities::default();
                        quantities.tokens.output = random.one_of(&[0, 300, 700, 1_000_000_000]);
                        if random.is(3) {
                            quantities.units.insert("pages".into(), Quantity("2".parse().unwrap()));
                        }
                        Change::Replace(Box::new(quantities))
                    }
                };
                let revision = random.one_of(&[1, 1, 1, 2, 2, 3, 4]);
                log.change(event.org_id.as_str(), id, Correct { event_id: event.event_id, revision, change });
            }
        }
    }
    log
}

/// Events that count, and their credits, by org.
type Sums = BTreeMap<OrgId, (i64, Credits)>;

/// As the ledger folds the log.
fn of_ledger(log: &Log) -> Sums {
    let mut fold =
        PartitionFold::new(Context::new(0, Some(log.genesis)), Counters::default(), Digest::default());
    let (mut past, mut counts) = (Past::default(), BTreeMap::new());
    let records = Admitter::decode(&log.records);
    for (org, event) in records.iter().flat_map(Past::to_watch) {
        fold.watch(&mut past, org, event);
    }
    for record in &records {
        for posting in fold.apply(&mut past, record).unwrap().postings {
            let (event, counted) = match &posting.cause {
                Cause::Usage(usage) => (usage.event.event_id, true),
                Cause::Correction(correction, _) => (correction.event_id, !voids(&correction.by)),
                Cause::Command(..) | Cause::Boundary => continue,
            };
            counts.insert((posting.org, event), counted);
        }
    }
    let mut sums: Sums = BTreeMap::new();
    for ((org, _), counted) in counts {
        sums.entry(org).or_default().0 += i64::from(counted);
    }
    for state in fold.orgs() {
        if let Some(sums) = sums.get_mut(state.org()) {
            sums.1 = state.record.totals.charged;
        }
    }
    sums
}

fn voids(by: &CorrectedBy) -> bool {
    let CorrectedBy::Command(command, _) = by else { return false };
    matches!(&command.body, CommandBody::Correct(_, correct) if correct.change == Change::Void)
}

fn of_rows(rows: &[UsageAt]) -> Sums {
    let mut sums: Sums = BTreeMap::new();
    for at in rows {
        let credits = at.usage.charge.credits;
        let (events, credits) = match at.counts {
            Counts::Added => (1, credits),
            Counts::TakenBack => (-1, credits.negated()),
            Counts::Nothing => (0, Credits::ZERO),
        };
        let sum = sums.entry(at.usage.event.org_id.clone()).or_default();
        *sum = (sum.0 + events, sum.1.plus(credits).unwrap());
    }
    sums
}

#[test]
fn the_usage_log_sums_up_to_the_ledgers_charges_however_the_log_is_cut() {
    let mut made = BTreeMap::new();
    for seed in 0..250 {
        let log = history(seed, 80, 12);
        let (all, tally) = whole(&log);
        for (outcome, count) in tally.counts() {
            *made.entry(outcome).or_insert(0) += count;
        }
        assert_eq!(of_rows(&all.0.usage), of_ledger(&log), "seed {seed}");
        let mut random = Random(seed);
        let size = 1 + random.below(20);
        let cuts: Vec<i64> = (0..log.records.end()).filter(|_| random.is(size)).collect();
        let mut tables = Tables::default();
        run_cut(&log, &mut tables, &cuts);
        assert_eq!(tables.0, all.0, "seed {seed}, cut at {cuts:?}");
    }
    // The histories do what they are for.
    for outcome in ["superseded", "corrected", "repriced", "released", "duplicate", "waiting", "quarantined"]
    {
        assert!(made[outcome] > 100, "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_tables_hold_the_same_rows_and_their_rollups_the_same_sums() {
    for seed in 1_000..1_003 {
        let log = history(seed, 400, 30);
        let (all, _) = whole(&log);
        let name = format!("test_histories_{}_{seed}", std::process::id());
        let url = std::env::var("CLICKHOUSE_URL").expect("CLICKHOUSE_URL is not set: run `cargo xtask test`");
        let options = AnalyticsOptions { url, database: name, user: None, password: None };
        let analytics = Analytics::new(&options).unwrap();
        analytics.migrate().await.unwrap();
        let rows = fill(&analytics, &log, &all, &mut Random(seed)).await;
        assert_eq!(rows, all.0.usage, "seed {seed}");
        let sums = analytics.sums_by_org().await.unwrap();
        assert!(sums.iter().all(fluxori_analytics::OrgSums::agree), "{sums:?}");
        let found: Sums = sums.into_iter().map(|org| (org.org, (org.events, org.credits_raw))).collect();
        assert_eq!(found, of_ledger(&log), "seed {seed}");
        analytics.drop_database().await.unwrap();
    }
}

/// Admits a log from real tables, range by range with restarts. Returns the rows that this made.
async fn fill(analytics: &Analytics, log: &Log, all: &Tables, random: &mut Random) -> Vec<UsageAt> {
    let (mut made, mut ranges) = (Tables::default(), Vec::new());
    let (mut now, mut rest) = (Timestamp::MIN, log.records.clone());
    let mut admitter = Admitter::restore(0, log.genesis, 0, now, &[], &Default::default()).unwrap();
    while !rest.is_empty() {
        let end = rest.end().min(rest.start() + 1 + i64::try_from(random.below(60)).unwrap());
        let (batch, after) = rest.split_at(end);
        rest = after;
        let range = LogRange { log_id: LOG, partition: 0, start: batch.start(), end };
        if random.is(2) {
            let kept = analytics.kept_records(0, range.start).await.unwrap();
            assert_eq!(kept, all.kept(range.start));
            admitter =
                Admitter::restore(0, log.genesis, range.start, now, &kept, &Default::default()).unwrap();
        }
        let records = Admitter::decode(&batch);
        let loaded = analytics.load(0, range.start, &Admitter::needed(&records)).await.unwrap();
        let (rows, _) = admitter.admit(&batch, &records, loaded).unwrap();
        now = admitter.now();
        analytics.insert_range(&range, &rows).await.unwrap();
        made.insert(rows.clone());
        ranges.push((range, rows));
        // Somebody who did not know that the range was written.
        let (range, rows): &(LogRange, RangeRows) =
            &ranges[usize::try_from(random.below(ranges.len().try_into().unwrap())).unwrap()];
        analytics.insert_range(range, rows).await.unwrap();
    }
    made.0.usage
}
