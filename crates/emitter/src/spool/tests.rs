use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fluxori_core::digest::Digest;
use fluxori_core::id::{EventId, Model, Module, OrgId, Provider};
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageFields;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use uuid::Uuid;

use super::power::Disk;
use super::*;

const POWER: Settings =
    Settings { max_bytes: MIN_SPOOL_BYTES, when_full: WhenFull::Reject, durability: Durability::Power };
const PROCESS: Settings = Settings { durability: Durability::Process, ..POWER };

pub(crate) fn event(n: u64) -> UsageEvent {
    let mut fields = UsageFields::new(
        EventId(Uuid::from_u64_pair(n + 1, n.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        "2026-11-22T12:00:00Z".parse().unwrap(),
        OrgId::new(&format!("org-{}", n % 7)).unwrap(),
        Module::new("rag-retrieval").unwrap(),
        Provider::new("openai").unwrap(),
        Model::new("gpt-5").unwrap(),
    );
    // Frames of all lengths, so that they end anywhere in a sector.
    fields.raw_usage = Some("x".repeat(usize::try_from(n * 37 % 900).unwrap()));
    UsageEvent::new(fields).unwrap()
}

fn slot(folder: &Path) -> PathBuf {
    folder.join("topic").join("0")
}

fn opened(folder: &Path, settings: Settings, disk: Option<&Arc<Disk>>) -> (Spool, Backlog) {
    let (mut own, left) = take_slots(folder, "topic", None).unwrap();
    assert!(left.is_empty());
    own.disk = disk.cloned();
    Spool::open(settings, own, None, named("host-1")).unwrap()
}

fn named(name: &str) -> ProducerId {
    ProducerId::new(name).unwrap()
}

/// Event id and producer's number of every record behind the frontier, and how many are missing between them.
fn pending(spool: &Spool) -> (Vec<(Uuid, i64)>, u64) {
    let mut next = spool.frontier();
    let mut reader = Reader::new(spool, next);
    let (mut records, mut missing) = (Vec::new(), 0);
    while reader.index() < spool.end() {
        let Some(frame) = reader.next(spool) else { continue };
        missing += frame.index - next;
        next = frame.index + 1;
        let record = fluxori_wire::decode(Some(frame.key), Some(frame.value), Timestamp::from_millis(0));
        let Body::Usage(event) = record.body else { panic!("{:?}", record.body) };
        records.push((event.event_id.0, event.producer_seq));
    }
    (records, missing + spool.end() - next)
}

/// A spool, what was given to it, and what it has promised.
struct Watched {
    folder: TempDir,
    disk: Arc<Disk>,
    settings: Settings,
    spool: Option<Spool>,
    progress: SyncProgress,
    /// By index: what lies in the spool, or the log has.
    appended: BTreeMap<u64, Uuid>,
    /// Accepted, and not known to be in the log.
    promised: BTreeSet<Uuid>,
    next: u64,
}

impl Watched {
    fn new(settings: Settings) -> Self {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<Disk>::default());
        let (spool, backlog) = opened(folder.path(), settings, Some(&disk));
        assert_eq!(backlog, Backlog::default());
        Self {
            folder,
            disk,
            settings,
            spool: Some(spool),
            progress: SyncProgress::default(),
            appended: BTreeMap::new(),
            promised: BTreeSet::new(),
            next: 0,
        }
    }

    fn spool(&self) -> &Spool {
        self.spool.as_ref().unwrap()
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let event = event(self.next);
            match self.spool().append(&event, |_| ()) {
                Ok(index) => {
                    self.next += 1;
                    assert!(self.appended.insert(index, event.event_id.0).is_none(), "index {index} twice");
                    if self.settings.durability == Durability::Process {
                        self.promised.insert(event.event_id.0);
                    }
                }
                Err(EmitError::QueueFull { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn sync(&mut self) {
        let mut progress = self.progress;
        self.spool().sync(&mut progress).unwrap();
        assert_eq!(progress.index, self.spool().end());
        self.progress = progress;
        let frontier = self.spool().frontier();
        self.promised.extend(self.appended.range(frontier..progress.index).map(|(_, id)| *id));
    }

    fn acknowledge(&mut self, random: &mut StdRng) {
        let (frontier, end) = (self.spool().frontier(), self.spool().end());
        let frontier = random.random_range(frontier..=end);
        for (_, id) in self.appended.range(..frontier) {
            self.promised.remove(id);
        }
        self.spool().acknowledged(frontier).unwrap();
    }

    fn end_process(&mut self) {
        // The lock ends with the process, and a spool that is dropped writes nothing.
        self.spool = None;
        self.begin_process();
    }

    fn lose_power(&mut self, random: &mut StdRng) {
        self.spool = None;
        let after = tempfile::tempdir().unwrap();
        fs::create_dir_all(slot(after.path())).unwrap();
        self.disk.lose_power(&slot(self.folder.path()), &slot(after.path()), random);
        self.folder = after;
        self.begin_process();
    }

    fn begin_process(&mut self) {
        let (spool, backlog) = opened(self.folder.path(), self.settings, Some(&self.disk));
        self.progress = SyncProgress::default();
        let (records, missing) = pending(&spool);
        // Sectors come to the disk in any order, so what was not accepted may have holes; the end of a process makes none.
        assert!(self.settings.durability == Durability::Power || (missing, backlog.torn) == (0, false));
        let found: BTreeSet<Uuid> = records.iter().map(|(id, _)| *id).collect();
        assert_eq!(found.len(), records.len(), "a record lies there twice");
        let lost: Vec<_> = self.promised.difference(&found).collect();
        assert!(lost.is_empty(), "accepted and gone: {lost:?}");
        let all: BTreeSet<Uuid> = self.appended.values().copied().collect();
        assert!(found.is_subset(&all), "never appended");
        self.appended.retain(|_, id| found.contains(id));
        self.spool = Some(spool);
    }
}

fn run(settings: Settings, seed: u64, power: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = Watched::new(settings);
    for _ in 0..80 {
        match random.next_u32() % 12 {
            0..=4 => model.append(random.random_range(1..400)),
            5..=6 => model.sync(),
            7..=8 => model.acknowledge(&mut random),
            9 => model.spool().prepare(),
            10 => model.spool().seal(),
            _ if power => model.lose_power(&mut random),
            _ => model.end_process(),
        }
    }
}

fn cases() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20)
}

#[test]
fn what_is_accepted_outlives_the_loss_of_power_at_any_moment() {
    (0..cases()).for_each(|seed| run(POWER, seed, true));
}

#[test]
fn what_is_accepted_outlives_the_end_of_the_process_at_any_moment() {
    (0..cases()).for_each(|seed| run(PROCESS, seed, false));
}

/// Some segments of records, none acknowledged, and their folder.
fn filled(records: u64) -> (TempDir, Vec<Uuid>) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = opened(folder.path(), PROCESS, None);
    let ids = (0..records)
        .map(|n| {
            let event = event(n);
            spool.append(&event, |_| ()).unwrap();
            event.event_id.0
        })
        .collect();
    (folder, ids)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(slot(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    paths.sort();
    paths
}

#[test]
fn a_torn_tail_is_cut_and_what_lies_before_it_is_read() {
    for cut in 1..300 {
        let (folder, ids) = filled(5);
        let path = &segments(folder.path())[0];
        let bytes = fs::read(path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let mut torn = bytes;
        let length = torn.len();
        torn.truncate(end - cut);
        torn.resize(length, 0);
        fs::write(path, torn).unwrap();
        let (spool, backlog) = opened(folder.path(), PROCESS, None);
        let (records, damaged) = pending(&spool);
        assert!(records.len() < 5 && damaged == 0 && backlog.damaged == 0);
        assert!(records.iter().zip(&ids).all(|((found, _), id)| found == id));
        // What comes next is read behind it.
        spool.append(&event(99), |_| ()).unwrap();
        let (after, missing) = pending(&spool);
        assert_eq!((after.len(), missing), (records.len() + 1, 0));
    }
}

#[test]
fn damage_is_counted_and_costs_only_the_records_that_it_hit() {
    for bytes_hit in [1, 512, 4_096, 20_000] {
        let (folder, ids) = filled(1_500);
        let path = &segments(folder.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[9_000..9_000 + bytes_hit].iter_mut().for_each(|byte| *byte ^= 0x5A);
        fs::write(path, bytes).unwrap();
        let (spool, backlog) = opened(folder.path(), PROCESS, None);
        let (records, missing) = pending(&spool);
        assert_eq!((backlog.records, backlog.damaged, backlog.torn), (1_500, missing, false));
        // Records have 200 to 1,200 bytes.
        let most = u64::try_from(bytes_hit / 200 + 2).unwrap();
        assert!(
            (1..=most).contains(&missing) && records.len() + usize::try_from(missing).unwrap() == 1_500,
            "{missing}"
        );
        assert!(records.iter().all(|(id, _)| ids.contains(id)));
    }
}

#[test]
fn records_are_found_in_order_although_the_next_segment_was_made_while_they_came() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let (spool, _) = opened(folder.path(), PROCESS, None);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let done = &done;
            let spool = &spool;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    spool.prepare();
                }
            });
            for n in 0..1_200 {
                spool.append(&event(n), |_| ()).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        drop(spool);
        let (spool, backlog) = opened(folder.path(), PROCESS, None);
        assert_eq!((backlog.records, backlog.damaged), (1_200, 0));
        let ids: Vec<_> = pending(&spool).0.into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, (0..1_200).map(|n| event(n).event_id.0).collect::<Vec<_>>());
    }
}

#[test]
fn a_producer_that_may_not_know_all_its_numbers_gets_another_name() {
    let name = |folder: &Path, wanted: Option<&str>| {
        let (own, _) = take_slots(folder, "topic", None).unwrap();
        let wanted = wanted.map(named);
        let (spool, _) = Spool::open(PROCESS, own, wanted.as_ref(), named("host-2")).unwrap();
        let number = pending(&spool).0.len();
        spool.append(&event(7), |_| ()).unwrap();
        (spool.producer_id().to_string(), pending(&spool).0[number].1)
    };
    let (folder, _) = filled(5);
    assert_eq!(name(folder.path(), None), ("host-1".into(), 6));
    assert_eq!(name(folder.path(), Some("host-1")), ("host-1".into(), 7));
    assert_eq!(name(folder.path(), Some("mine")), ("mine".into(), 1));
    assert_eq!(name(folder.path(), Some("mine")), ("mine".into(), 2));
    // The log has more than the spool knows of: the power was lost.
    let (mut own, _) = take_slots(folder.path(), "topic", None).unwrap();
    own.write_cursor(1_000).unwrap();
    drop(own);
    let (own, _) = take_slots(folder.path(), "topic", None).unwrap();
    let (spool, _) = Spool::open(PROCESS, own, None, named("host-2")).unwrap();
    assert_eq!((spool.producer_id(), spool.end()), (named("host-2"), 1_000));
}

#[test]
fn a_slot_holds_what_is_for_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let slot = |genesis: Option<&[u8]>| {
        let (own, _) = take_slots(folder.path(), "topic", genesis.map(Digest::of)).unwrap();
        own.path().file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(slot(Some(b"production")), "0");
    assert_eq!(slot(Some(b"staging")), "1");
    assert_eq!(slot(Some(b"production")), "0");
    assert_eq!(slot(None), "2", "whoever names no log gets none of theirs");
}

#[test]
fn whatever_is_in_the_folder_opening_never_panics_and_reads_only_what_was_written() {
    for seed in 0..cases() * 3 {
        let mut random = StdRng::seed_from_u64(seed);
        let (folder, ids) = filled(1_500);
        let files = segments(folder.path());
        for _ in 0..random.random_range(1..6) {
            let path = match random.next_u32() % 6 {
                0 => slot(folder.path()).join("cursor"),
                1 => slot(folder.path()).join(format!("{:020}.segment", random.random_range(0..9_u64))),
                _ => files[random.random_range(0..files.len())].clone(),
            };
            let mut bytes = fs::read(&path).unwrap_or_default();
            match random.next_u32() % 4 {
                0 => bytes.truncate(random.random_range(0..=bytes.len())),
                1 => bytes.clear(),
                _ if bytes.is_empty() => bytes = vec![random.random(); 4_000],
                _ => {
                    let begin = random.random_range(0..bytes.len());
                    let end = (begin + random.random_range(1..2_000)).min(bytes.len());
                    bytes[begin..end].iter_mut().for_each(|byte| *byte = random.random());
                }
            }
            fs::write(&path, bytes).unwrap();
        }
        let (spool, _) = opened(folder.path(), PROCESS, None);
        let (records, _) = pending(&spool);
        assert!(records.iter().all(|(id, _)| ids.contains(id)), "seed {seed}");
        match spool.append(&event(5_000), |_| ()) {
            Ok(_) => assert_eq!(pending(&spool).0.len(), records.len() + 1, "seed {seed}"),
            Err(EmitError::QueueFull { .. }) => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

#[test]
fn a_spool_has_one_process_and_the_next_one_takes_the_next_slot() {
    let folder = tempfile::tempdir().unwrap();
    let (first, left) = take_slots(folder.path(), "topic", None).unwrap();
    assert!(Folder::take(first.path(), None).unwrap().is_none());
    let (second, left_by_first) = take_slots(folder.path(), "topic", None).unwrap();
    assert_ne!(first.path(), second.path());
    assert!(left.is_empty() && left_by_first.is_empty());
    let spool = Spool::open(PROCESS, second, None, named("host-2")).unwrap().0;
    spool.append(&event(1), |_| ()).unwrap();
    drop((first, spool));
    // Both are free now: the one with records is drained beside the other.
    let (own, left) = take_slots(folder.path(), "topic", None).unwrap();
    assert_eq!((own.path(), left.len()), (slot(folder.path()).as_path(), 1));
}

#[test]
fn a_spool_keeps_its_producers_name_and_goes_on_with_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for process in 0..3_i64 {
        let (spool, _) = opened(folder.path(), PROCESS, None);
        assert_eq!(spool.producer_id().as_str(), "host-1");
        for n in 0..10 {
            spool.append(&event(n), |_| ()).unwrap();
        }
        let numbers: Vec<i64> = pending(&spool).0.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, (process * 10 + 1..=process * 10 + 10).collect::<Vec<_>>());
        spool.acknowledged(spool.end()).unwrap();
        assert_eq!(pending(&spool).0, []);
    }
}

#[test]
fn what_the_log_has_gives_its_space_back_and_starting_often_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..50 {
        let (spool, _) = opened(folder.path(), PROCESS, None);
        spool.append(&event(1), |_| ()).unwrap();
    }
    let (spool, backlog) = opened(folder.path(), PROCESS, None);
    assert_eq!(backlog.records, 50);
    assert!(spool.bytes() < MIN_SPOOL_BYTES / 4, "{}", spool.bytes());
    spool.append(&event(1), |_| ()).unwrap();
    spool.acknowledged(51).unwrap();
    assert_eq!(segments(folder.path()).len(), 1);
}

#[test]
fn after_a_failed_sync_nothing_counts_until_the_log_has_what_it_hit_and_then_what_is_synced() {
    let (folder, disk) = (TempDir::new().unwrap(), Arc::<Disk>::default());
    let (spool, _) = opened(folder.path(), POWER, Some(&disk));
    let append = |from: u64| {
        for n in from..from + 3 {
            spool.append(&event(n), |_| ()).unwrap();
        }
    };
    let mut progress = SyncProgress::default();
    append(0);
    disk.fail(true);
    assert!(spool.sync(&mut progress).is_err());
    disk.fail(false);
    append(3);
    // The kernel may hold the pages for written now.
    spool.sync(&mut progress).unwrap();
    assert_eq!(progress.index, 0);
    spool.acknowledged(3).unwrap();
    spool.sync(&mut progress).unwrap();
    assert_eq!(progress.index, 6);
}
