//! A model of a disk that loses power: what was synced is there, and of everything else any part may be.
//!
//! It watches the syncs of a folder and remembers what they made durable. After the power is gone, a file has each of its sectors
//! as it was synced last or as it was written since, and a name that was made or removed since the names were synced is
//! there or not. See Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), for what real ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// What is durable of a folder.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    durable: Mutex<Durable>,
    failing: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct Durable {
    names: BTreeSet<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Disk {
    /// From now on segments do not sync, or do again.
    pub(super) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    pub(super) fn sync_names(&self, folder: &Path) {
        self.durable.lock().unwrap().names = names(folder);
    }

    pub(super) fn sync_file(&self, folder: &Path, name: &str) {
        let content = fs::read(folder.join(name)).unwrap();
        self.durable.lock().unwrap().files.insert(name.to_owned(), content);
    }

    /// Writes what is left of `folder` when the power is gone into `to`, and goes on with that.
    pub(super) fn lose_power(&self, folder: &Path, to: &Path, random: &mut StdRng) {
        let mut durable = self.durable.lock().unwrap();
        let live = names(folder);
        let mut after = Durable::default();
        for name in durable.names.union(&live) {
            let is_certain = durable.names.contains(name) && live.contains(name);
            if !is_certain && random.random() {
                continue;
            }
            let synced = durable.files.get(name).cloned().unwrap_or_default();
            let written = fs::read(folder.join(name)).unwrap_or_default();
            let content = mixed(&synced, &written, random);
            fs::write(to.join(name), &content).unwrap();
            after.names.insert(name.clone());
            after.files.insert(name.clone(), content);
        }
        *durable = after;
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Each sector as it was synced, or as it was written since.
fn mixed(synced: &[u8], written: &[u8], random: &mut StdRng) -> Vec<u8> {
    // Mostly old, mostly new, or half and half: each finds other faults.
    let share = [0, 10, 50, 90, 100][usize::try_from(random.next_u32() % 5).unwrap()];
    let length = if random.random() { synced.len() } else { synced.len().max(written.len()) };
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        let (begin, end) = (content.len(), (content.len() + SECTOR).min(length));
        let from = if random.next_u32() % 100 < share { written } else { synced };
        let sector = from.get(begin..end.min(from.len())).unwrap_or_default();
        content.extend_from_slice(sector);
        content.resize(end, 0);
    }
    content
}
