//! What a spool on disk needs beside its callers: the next segment made ahead, and, for durability `power`, all records that have come
//! written to the disk in one go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::spool::{Spool, SyncProgress};
use crate::wake::Wake;

/// How often segments are looked after while records come.
const LOOK: Duration = Duration::from_millis(2);
/// After so long without records the thread sleeps until it is woken.
const BUSY: Duration = Duration::from_millis(200);
/// How long it sleeps then at most.
const SLEEP: Duration = Duration::from_millis(500);
/// How long a disk that failed is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks after a spool's files.
pub(crate) struct Syncer {
    pub(crate) spool: Arc<Spool>,
    /// The index behind the last record that is on the disk; none = nothing is synced.
    pub(crate) synced: Option<watch::Sender<u64>>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Syncer {
    pub(crate) fn run(self) {
        let mut progress = SyncProgress::default();
        let (mut seen, mut worked) = (0, Instant::now());
        let mut failing = false;
        while !self.stop.load(Ordering::Acquire) {
            self.spool.prepare();
            let end = self.spool.end();
            if end != seen {
                (seen, worked) = (end, Instant::now());
            }
            if let Some(synced) = &self.synced {
                let before = progress.index;
                let result = self.spool.sync(&mut progress);
                if progress.index > before {
                    failing = false;
                    synced.send_replace(progress.index);
                    continue;
                }
                if let Err(error) = result
                    && !std::mem::replace(&mut failing, true)
                {
                    tracing::error!(
                        %error,
                        spool = %self.spool.path().display(),
                        "the spool's disk does not sync; events count as accepted when the broker has them"
                    );
                }
                if progress.index < self.spool.end() {
                    std::thread::sleep(PAUSE);
                    continue;
                }
            }
            if self.synced.is_none() && worked.elapsed() < BUSY {
                std::thread::sleep(LOOK);
            } else {
                self.wake.sleep(SLEEP, || self.spool.end() <= seen && !self.stop.load(Ordering::Acquire));
            }
        }
        self.spool.tidy();
    }
}
