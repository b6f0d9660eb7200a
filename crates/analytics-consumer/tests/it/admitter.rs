//! The pure part: records in, rows out.

use analytics_consumer::{Admitter, Tally};
use fluxori_analytics::{KeptKind, KeptRecord, KnownEvent, RangeRows, UsageAt};
use fluxori_core::digest::Digest;
use fluxori_core::id::EventId;
use fluxori_core::record::Record;
use fluxori_core::time::Timestamp;
use fluxori_stream::Batch;

use crate::log::{BEGAN_MS, LOG, Log, eventful};

/// What the tables hold, in memory.
#[derive(Default, Clone)]
struct Tables(RangeRows);

impl Tables {
    fn insert(&mut self, rows: RangeRows) {
        self.0.usage.extend(rows.usage);
        self.0.kept.extend(rows.kept);
    }

    fn known(&self, before: i64, ids: impl Iterator<Item = EventId>) -> Vec<KnownEvent> {
        let ids: Vec<EventId> = ids.collect();
        let is_known = |at: &&UsageAt| at.offset < before && ids.contains(&at.usage.event.event_id);
        let known = |at: &UsageAt| KnownEvent {
            org: at.usage.event.org_id.clone(),
            event: at.usage.event.event_id,
            billing_digest: at.usage.billing_digest,
            revision: at.usage.event.revision,
        };
        self.0.usage.iter().filter(is_known).map(known).collect()
    }

    fn kept(&self, before: i64) -> Vec<KeptRecord> {
        let kept: Vec<_> = self.0.kept.iter().filter(|kept| kept.offset < before).cloned().collect();
        let opened = |key: &[u8]| kept.iter().any(|kept| kept.kind == KeptKind::Opening && kept.key == key);
        let needed = |kept: &&KeptRecord| match kept.kind {
            KeptKind::Global | KeptKind::Opening => true,
            KeptKind::Waiting | KeptKind::Rejected => !opened(&kept.key),
        };
        kept.iter().filter(needed).cloned().collect()
    }
}

fn run(admitter: &mut Admitter, tables: &mut Tables, batch: &Batch) -> Tally {
    let records: Vec<Record> = Admitter::decode(batch);
    let known = tables.known(batch.start(), Admitter::ids(&records));
    let (rows, tally) = admitter.admit(batch, &records, known).unwrap();
    tables.insert(rows);
    tally
}

fn beginning(log: &Log) -> Admitter {
    Admitter::restore(0, log.genesis, 0, Timestamp::MIN, &[]).unwrap()
}

fn whole(log: &Log) -> (Tables, Tally) {
    let mut tables = Tables::default();
    let tally = run(&mut beginning(log), &mut tables, &log.records);
    (tables, tally)
}

/// Offset, last digits of the event's id, credits.
fn summary(tables: &Tables) -> Vec<(i64, u128, String)> {
    let id = |at: &UsageAt| at.usage.event.event_id.0.as_u128() & 0xffff;
    tables.0.usage.iter().map(|at| (at.offset, id(at), at.usage.charge.credits.to_string())).collect()
}

#[test]
fn usage_becomes_rows_once_and_waits_for_its_org_to_be_opened() {
    let log = eventful(1);
    let (tables, tally) = whole(&log);
    let row = |offset: i64, id: u128, credits: &str| (offset, id, credits.to_owned());
    let expected = [
        row(13, 5, "6.25"),
        // Released by the grant that opened their org.
        row(17, 1, "1.25"),
        row(17, 2, "2.5"),
        row(19, 6, "7.5"),
        row(22, 7, "8.75"),
        row(23, 3, "3.75"),
        row(23, 4, "5"),
        row(26, 7, "8.75"),
    ];
    assert_eq!(summary(&tables), expected);
    let expected =
        Tally { usage: 4, released: 4, commands: 4, global: 5, duplicates: 6, waiting: 4, quarantined: 4 };
    assert_eq!(tally, expected);
}

#[test]
fn rows_carry_the_time_of_the_record_that_made_them() {
    let (tables, _) = whole(&eventful(1));
    for at in &tables.0.usage {
        assert_eq!(at.append_time, Timestamp::from_millis(BEGAN_MS + at.offset * 10));
    }
}

#[test]
fn rows_do_not_depend_on_how_the_log_is_cut_nor_on_restarts_between() {
    let log = eventful(1);
    let (expected, _) = whole(&log);
    for first in 0..=log.records.end() {
        for second in first..=log.records.end() {
            let (head, rest) = log.records.clone().split_at(first);
            let (middle, tail) = rest.split_at(second);
            let mut tables = Tables::default();
            let mut now = Timestamp::MIN;
            for batch in [head, middle, tail].iter().filter(|batch| !batch.is_empty()) {
                let kept = tables.kept(batch.start());
                let mut admitter = Admitter::restore(0, log.genesis, batch.start(), now, &kept).unwrap();
                assert_eq!(admitter.now(), now);
                run(&mut admitter, &mut tables, batch);
                now = admitter.now();
            }
            assert_eq!(tables.0, expected.0, "cut at {first} and {second}");
        }
    }
}

#[test]
fn rows_of_later_records_that_are_there_already_change_nothing() {
    let log = eventful(1);
    let (all, _) = whole(&log);
    for start in 1..log.records.end() {
        let (_, tail) = log.records.clone().split_at(start);
        let now = Timestamp::from_millis(BEGAN_MS + (start - 1) * 10);
        // A zombie, or an insert that was cut short, wrote what comes after the start.
        let mut admitter = Admitter::restore(0, log.genesis, start, now, &all.kept(start)).unwrap();
        let records = Admitter::decode(&tail);
        let known = all.known(start, Admitter::ids(&records));
        let (rows, _) = admitter.admit(&tail, &records, known).unwrap();
        let expected: Vec<_> = all.0.usage.iter().filter(|at| at.offset >= start).cloned().collect();
        assert_eq!(rows.usage, expected, "from {start} on");
    }
}

#[test]
fn another_log_and_a_dropped_database_are_refused_with_what_is_wrong() {
    let log = eventful(1);
    let mut admitter = Admitter::restore(0, Digest::default(), 0, Timestamp::MIN, &[]).unwrap();
    let halt = admitter.admit(&log.records, &Admitter::decode(&log.records), Vec::new()).unwrap_err();
    assert!(halt.to_string().contains("another log"), "{halt}");
    let error = Admitter::restore(0, log.genesis, 5, Timestamp::MIN, &[]).unwrap_err().to_string();
    assert!(error.contains("was the database dropped"), "{error}");
    let (tables, _) = whole(&log);
    let mut kept = tables.kept(5);
    kept[1].value.reverse();
    let error = Admitter::restore(0, log.genesis, 5, Timestamp::MIN, &kept).unwrap_err().to_string();
    assert!(error.contains("offset 1"), "{error}");
}

#[test]
fn the_log_is_known_after_its_first_record() {
    let log = Log::new(1);
    let mut admitter = beginning(&log);
    assert_eq!(admitter.log_id(), None);
    run(&mut admitter, &mut Tables::default(), &log.records);
    assert_eq!(admitter.log_id(), Some(LOG));
}
