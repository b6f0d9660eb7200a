//! The pure part: records in, rows out.

use std::collections::BTreeMap;

use analytics_consumer::{Admitter, Tally};
use fluxori_analytics::{
    Counts, KeptKind, KeptRecord, KnownCommand, KnownEvent, Loaded, MadeBy, Needed, RangeRows, StoredUsage,
    UsageAt,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::OrgId;
use fluxori_core::posting::PricedUsage;
use fluxori_core::record::Record;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_stream::Batch;

use crate::log::{BEGAN_MS, LOG, Log, corrected, event, eventful, late};

/// What the tables hold, in memory.
#[derive(Default, Clone)]
pub(crate) struct Tables(pub(crate) RangeRows);

impl Tables {
    pub(crate) fn insert(&mut self, mut rows: RangeRows) {
        // Rows do not hold the lines of a charge.
        rows.usage.iter_mut().for_each(|at| at.usage.charge.lines.clear());
        self.0.usage.extend(rows.usage);
        self.0.kept.extend(rows.kept);
        self.0.arrivals.extend(rows.arrivals);
    }

    pub(crate) fn load(&self, before: i64, needed: &Needed) -> Loaded {
        let rows = || self.0.usage.iter().filter(|at| at.offset < before);
        let kept = || self.0.kept.iter().filter(|kept| kept.offset < before);
        let known = |at: &UsageAt| KnownEvent {
            org: at.usage.event.org_id.clone(),
            event: at.usage.event.event_id,
            billing_digest: at.usage.billing_digest,
            revision: at.usage.event.revision,
        };
        let command = |kept: &KeptRecord| {
            kept.command.map(|(command, payload_digest)| {
                let org = OrgId::new(str::from_utf8(&kept.key).unwrap()).unwrap();
                KnownCommand { org, command, payload_digest }
            })
        };
        let mut usage: BTreeMap<_, &UsageAt> = BTreeMap::new();
        for at in rows().filter(|at| at.counts != Counts::TakenBack) {
            let latest = usage.entry((&at.usage.event.org_id, at.usage.event.event_id)).or_insert(at);
            if at.charge_revision > latest.charge_revision {
                *latest = at;
            }
        }
        let is_quarantined = |kept: &&KeptRecord| {
            kept.kind == KeptKind::Quarantined && kept.event.is_some_and(|id| needed.released.contains(&id))
        };
        Loaded {
            events: rows()
                .filter(|at| at.counts == Counts::Added && at.made_by != MadeBy::Correction)
                .filter(|at| needed.events.contains(&at.usage.event.event_id))
                .map(known)
                .collect(),
            commands: kept()
                .filter_map(command)
                .filter(|command| needed.commands.contains(&command.command))
                .collect(),
            usage: usage
                .into_iter()
                .filter(|((_, event), _)| needed.watched.contains(event))
                .map(|(_, at)| stored(at))
                .collect(),
            quarantined: kept().filter(is_quarantined).cloned().collect(),
        }
    }

    pub(crate) fn kept(&self, before: i64) -> Vec<KeptRecord> {
        let kept: Vec<_> = self.0.kept.iter().filter(|kept| kept.offset < before).cloned().collect();
        let opened = |key: &[u8]| kept.iter().any(|kept| kept.kind == KeptKind::Opening && kept.key == key);
        let came = |kept: &KeptRecord| {
            self.0.usage.iter().filter(|at| at.offset < before).any(|at| {
                Some(at.usage.event.event_id) == kept.event
                    && at.usage.event.org_id.as_str().as_bytes() == kept.key
            })
        };
        let needed = |kept: &&KeptRecord| match kept.kind {
            KeptKind::Global | KeptKind::Opening => true,
            KeptKind::Waiting => !opened(&kept.key),
            KeptKind::WaitingCorrection => !came(kept),
            KeptKind::Command | KeptKind::Quarantined => false,
        };
        kept.iter().filter(needed).cloned().collect()
    }
}

fn stored(at: &UsageAt) -> StoredUsage {
    let PricedUsage { event, billing_digest, charge } = at.usage.clone();
    StoredUsage {
        event: fluxori_core::usage::UsageEvent::clone(&event),
        billing_digest,
        charge_revision: at.charge_revision,
        voided: at.counts == Counts::Nothing,
        status: charge.status,
        tier: charge.tier.map(|tier| (tier.name.to_string(), tier.revision.clone())),
        terms: charge.terms.clone(),
        cost: charge.cost,
        credits: charge.credits,
    }
}

fn run(admitter: &mut Admitter, tables: &mut Tables, batch: &Batch) -> Tally {
    let records: Vec<Record> = Admitter::decode(batch);
    let loaded = tables.load(batch.start(), &Admitter::needed(&records));
    let (rows, tally) = admitter.admit(batch, &records, loaded).unwrap();
    tables.insert(rows);
    tally
}

fn beginning(log: &Log) -> Admitter {
    Admitter::restore(0, log.genesis, 0, Timestamp::MIN, &[], &Default::default()).unwrap()
}

pub(crate) fn whole(log: &Log) -> (Tables, Tally) {
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
    let expected = Tally {
        usage: 4,
        released: 4,
        commands: 4,
        global: 5,
        duplicates: 6,
        waiting: 4,
        quarantined: 4,
        ..Tally::default()
    };
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
fn usage_has_arrived_whatever_became_of_it() {
    let numbered = |org: &str, id: u128, number: i64| {
        let of_producer = |fields: &mut UsageFields| {
            fields.producer_id = "p".parse().unwrap();
            fields.producer_seq = number;
        };
        event(org, id, 1_000, of_producer)
    };
    let mut log = Log::new(1);
    log.grant("acme", 100, 1_000);
    let first = log.records.end();
    log.event(&numbered("acme", 1, 1));
    // The same again, a conflict, of an org that is not open, under another org's key, too late, unnumbered.
    log.event(&numbered("acme", 1, 1));
    log.event(
        &UsageEvent::new(UsageFields { input_tokens: 7, ..numbered("acme", 1, 2).into_fields() }).unwrap(),
    );
    log.event(&numbered("unopened", 2, 3));
    let value = fluxori_wire::encode_usage(&numbered("acme", 3, 4)).unwrap();
    log.push("other", &value);
    let mut fields = numbered("acme", 4, 5).into_fields();
    late(&mut fields);
    log.event(&UsageEvent::new(fields).unwrap());
    log.usage("acme", 5, 1_000);
    // Cut in the middle; no usage at all; a tick.
    let value = fluxori_wire::encode_usage(&numbered("acme", 6, 6)).unwrap();
    log.push("acme", &value[..value.len() / 2]);
    log.push("acme", b"no Avro");
    log.tick();
    let (tables, tally) = whole(&log);
    assert_eq!((tally.usage, tally.duplicates, tally.waiting, tally.quarantined), (2, 1, 1, 5));
    let found: Vec<(i64, &str, i64)> = tables
        .0
        .arrivals
        .iter()
        .map(|at| {
            ((at.append_time.micros() / 1_000 - BEGAN_MS) / 10 - first, at.producer.as_str(), at.number)
        })
        .collect();
    let of_p = [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)].map(|(offset, number)| (offset, "p", number));
    let expected = [&of_p[..], &[(6, "unknown", 0), (7, "p", 6)]].concat();
    assert_eq!(found, expected);
}

/// Offset, event, what it counts, revision of the charge, credits.
fn corrections(tables: &Tables, org: &str) -> Vec<String> {
    let of_org = tables.0.usage.iter().filter(|at| at.usage.event.org_id.as_str() == org);
    of_org
        .map(|at| {
            let sign = match at.counts {
                Counts::Added => '+',
                Counts::TakenBack => '-',
                Counts::Nothing => '0',
            };
            let event = at.usage.event.event_id.0.as_u128() & 0xffff;
            let credits = at.usage.charge.credits;
            format!("{} {event} {sign}r{} {credits} {:?}", at.offset, at.charge_revision, at.made_by)
        })
        .collect()
}

#[test]
fn a_correction_takes_a_row_back_and_puts_the_right_one_in_its_place() {
    let (tables, tally) = whole(&corrected(1));
    let expected = [
        "5 1 +r1 1.25 Usage",
        "6 1 -r1 1.25 Correction",
        "6 1 +r2 0.5 Correction",
        "9 1 -r2 0.5 Correction",
        "9 1 0r3 0 Correction",
        "10 1 0r4 0 Correction",
        "13 1 +r5 2.5 Correction",
        // Corrected before they came.
        "18 2 +r1 6.25 Usage",
        "18 2 -r1 6.25 Correction",
        "18 2 +r2 1 Correction",
        "20 3 +r1 6.25 Usage",
        "20 3 -r1 6.25 Correction",
        "20 3 0r2 0 Correction",
        "21 2 -r2 1 Correction",
        "21 2 +r3 2 Correction",
        // Superseded.
        "22 4 +r1 1.25 Usage",
        "23 4 -r1 1.25 Superseding",
        "23 4 +r2 3.75 Superseding",
        "26 4 -r2 3.75 Correction",
        "26 4 +r3 5 Correction",
        "27 5 +r1 1.25 Usage",
        "28 5 -r1 1.25 Correction",
        "28 5 +r2 7.5 Correction",
        "32 6 +r2 8.75 Usage",
        "34 6 -r2 8.75 Correction",
        "34 6 +r3 10 Correction",
        // Released.
        "38 7 +r1 11.25 Usage",
        "38 7 -r1 11.25 Correction",
        "38 7 +r2 12.5 Correction",
    ];
    assert_eq!(corrections(&tables, "acme"), expected);
    let expected = [
        "43 1 +r1 1.25 Usage",
        "46 8 +r1 1.25 Usage",
        "47 8 -r1 1.25 Superseding",
        "47 8 +r2 2.5 Superseding",
    ];
    assert_eq!(corrections(&tables, "other"), expected);
    assert_eq!((tally.superseded, tally.corrected, tally.released), (1, 11, 3));
}

#[test]
fn a_row_that_is_taken_back_is_the_one_that_was_right() {
    let (tables, _) = whole(&corrected(1));
    for (index, at) in tables.0.usage.iter().enumerate() {
        if at.counts == Counts::TakenBack {
            let was = tables.0.usage[..index]
                .iter()
                .rev()
                .find(|was| was.usage.event.event_id == at.usage.event.event_id);
            let was = was.unwrap();
            assert_eq!(
                (was.counts, was.charge_revision, &was.usage),
                (Counts::Added, at.charge_revision, &at.usage)
            );
        }
    }
}

#[test]
fn superseding_usage_keeps_what_it_says_beside_its_quantities() {
    let (tables, _) = whole(&corrected(1));
    let rows: Vec<_> = tables.0.usage.iter().filter(|at| at.offset == 23).collect();
    assert_eq!(rows.iter().map(|at| at.usage.event.latency_ms).collect::<Vec<_>>(), [None, Some(70)]);
    for at in &tables.0.usage {
        let event = &at.usage.event;
        if at.counts == Counts::Nothing {
            assert!(event.input_tokens == 0 && at.usage.charge.lines.is_empty());
        }
        // The identity of an event is not that of its corrected quantities.
        if at.made_by == MadeBy::Usage {
            assert_eq!(at.usage.billing_digest, event.billing_digest());
        }
    }
}

#[test]
fn rows_do_not_depend_on_how_the_log_is_cut_nor_on_restarts_between() {
    for log in [eventful(1), corrected(1)] {
        let (expected, _) = whole(&log);
        for first in 0..=log.records.end() {
            for second in first..=log.records.end() {
                let mut tables = Tables::default();
                run_cut(&log, &mut tables, &[first, second]);
                assert_eq!(tables.0, expected.0, "cut at {first} and {second}");
            }
        }
    }
}

/// Admits a log in batches that end at these offsets, with a restart before each.
pub(crate) fn run_cut(log: &Log, tables: &mut Tables, cuts: &[i64]) {
    let mut now = Timestamp::MIN;
    let mut rest = log.records.clone();
    for cut in cuts.iter().copied().chain([log.records.end()]) {
        let (batch, after) = rest.split_at(cut);
        rest = after;
        if batch.is_empty() {
            continue;
        }
        let kept = tables.kept(batch.start());
        let mut admitter =
            Admitter::restore(0, log.genesis, batch.start(), now, &kept, &Default::default()).unwrap();
        assert_eq!(admitter.now(), now);
        run(&mut admitter, tables, &batch);
        now = admitter.now();
    }
}

#[test]
fn an_admitter_that_goes_on_says_the_same_as_one_that_was_restarted() {
    for log in [eventful(1), corrected(1)] {
        let (expected, _) = whole(&log);
        for size in 1..7 {
            let mut tables = Tables::default();
            let mut admitter = beginning(&log);
            let mut rest = log.records.clone();
            while !rest.is_empty() {
                let end = rest.end().min(rest.start() + size);
                let (batch, after) = rest.split_at(end);
                run(&mut admitter, &mut tables, &batch);
                rest = after;
            }
            assert_eq!(tables.0, expected.0, "in batches of {size}");
        }
    }
}

#[test]
fn rows_of_later_records_that_are_there_already_change_nothing() {
    for log in [eventful(1), corrected(1)] {
        let (all, _) = whole(&log);
        for start in 1..log.records.end() {
            let (_, tail) = log.records.clone().split_at(start);
            let now = Timestamp::from_millis(BEGAN_MS + (start - 1) * 10);
            // A zombie, or an insert that was cut short, wrote what comes after the start.
            let mut admitter =
                Admitter::restore(0, log.genesis, start, now, &all.kept(start), &Default::default()).unwrap();
            let records = Admitter::decode(&tail);
            let loaded = all.load(start, &Admitter::needed(&records));
            let (rows, _) = admitter.admit(&tail, &records, loaded).unwrap();
            let mut tables = Tables::default();
            tables.insert(rows);
            let expected: Vec<_> = all.0.usage.iter().filter(|at| at.offset >= start).cloned().collect();
            assert_eq!(tables.0.usage, expected, "from {start} on");
        }
    }
}

#[test]
fn another_log_and_a_dropped_database_are_refused_with_what_is_wrong() {
    let log = eventful(1);
    let mut admitter =
        Admitter::restore(0, Digest::default(), 0, Timestamp::MIN, &[], &Default::default()).unwrap();
    let halt = admitter.admit(&log.records, &Admitter::decode(&log.records), Loaded::default()).unwrap_err();
    assert!(halt.to_string().contains("another log"), "{halt}");
    let error = Admitter::restore(0, log.genesis, 5, Timestamp::MIN, &[], &Default::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("was the database dropped"), "{error}");
    let (tables, _) = whole(&log);
    let mut kept = tables.kept(5);
    kept[1].value.reverse();
    let error = Admitter::restore(0, log.genesis, 5, Timestamp::MIN, &kept, &Default::default())
        .unwrap_err()
        .to_string();
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
