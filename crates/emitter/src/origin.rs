use std::io;

use memmap2::MmapMut;

/// Knows the process that made it from one that was forked from it: a page that the kernel hands empty to a child (Linux's
/// `MADV_WIPEONFORK`). Asking costs one load, where the process id costs a call into the system.
pub(crate) struct Origin(MmapMut);

const MADE_HERE: u8 = 1;

impl Origin {
    /// The calling process'.
    ///
    /// # Errors
    /// The system has no page left.
    pub(crate) fn here() -> io::Result<Self> {
        let mut page = MmapMut::map_anon(1)?;
        page.fill(MADE_HERE);
        #[cfg(target_os = "linux")]
        wipe_on_fork(&mut page)?;
        Ok(Self(page))
    }

    /// False in a child of the process that made it. Always true where the system does not wipe pages.
    pub(crate) fn is_here(&self) -> bool {
        self.0.first() == Some(&MADE_HERE)
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the advice changes what a child sees of the page")]
fn wipe_on_fork(page: &mut MmapMut) -> io::Result<()> {
    // SAFETY: the map is private, anonymous and whole pages, all of it ours; the advice changes nothing in this process.
    unsafe {
        rustix::mm::madvise(page.as_mut_ptr().cast(), page.len(), rustix::mm::Advice::LinuxWipeOnFork)?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::sys::signal::{Signal, raise};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "a fork is what is tested")]
    fn a_forked_child_is_told_from_its_parent() {
        let origin = Origin::here().unwrap();
        assert!(origin.is_here());
        // SAFETY: the child only reads a byte and ends by a signal, without anything that needs a lock.
        let end = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                _ = raise(if origin.is_here() { Signal::SIGTERM } else { Signal::SIGKILL });
                unreachable!("it has ended");
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        };
        assert!(matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{end:?}");
        assert!(origin.is_here());
    }
}
