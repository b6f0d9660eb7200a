//! Writes the spool to the disk, all records that have come in one go, for those who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::spool::{Spool, SyncProgress};
use crate::wake::Wake;

/// How long the thread sleeps at most.
const SLEEP: Duration = Duration::from_millis(500);
/// How long a disk that failed is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// Syncs a spool.
pub(crate) struct Syncer {
    pub(crate) spool: Arc<Spool>,
    /// The index behind the last record that is on the disk.
    pub(crate) synced: watch::Sender<u64>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Syncer {
    pub(crate) fn run(self) {
        let mut progress = SyncProgress::default();
        let mut failing = false;
        while !self.stop.load(Ordering::Acquire) {
            let before = progress.index;
            match self.spool.sync(&mut progress) {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(
                            %error,
                            spool = %self.spool.path().display(),
                            "the spool's disk does not sync; events count as accepted when the broker has them"
                        );
                    }
                    // Later records get pages that may do better.
                    self.spool.seal();
                }
            }
            if progress.index > before {
                self.synced.send_replace(progress.index);
            } else if failing || progress.index < self.spool.end() {
                std::thread::sleep(PAUSE);
            } else {
                self.wake.sleep(SLEEP, || {
                    self.spool.end() <= progress.index && !self.stop.load(Ordering::Acquire)
                });
            }
        }
    }
}
