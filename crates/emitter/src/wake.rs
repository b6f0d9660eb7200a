use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// Wakes a thread that has nothing to do, at the price of a fence and a load when it is busy.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    thread: OnceLock<Thread>,
    sleeping: AtomicBool,
}

impl Wake {
    /// Sleeps on the calling thread, which is always the same, unless there is something to do, until woken or for so long.
    pub(crate) fn sleep(&self, at_most: Duration, is_idle: impl FnOnce() -> bool) {
        self.thread.get_or_init(std::thread::current);
        self.sleeping.store(true, Ordering::Relaxed);
        // Either we see what was appended, or who appended sees that we sleep.
        fence(Ordering::SeqCst);
        if is_idle() {
            std::thread::park_timeout(at_most);
        }
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Wakes those of the threads that sleep.
    pub(crate) fn wake_all(wakes: &[Arc<Self>]) {
        fence(Ordering::SeqCst);
        wakes.iter().for_each(|wake| wake.wake());
    }

    fn wake(&self) {
        if self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.swap(false, Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
