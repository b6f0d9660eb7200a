use std::io;

use memmap2::MmapMut;

/// Knows the process that made it from one that was forked from it: a page that the kernel hands empty to a child (Linux's
/// `MADV_WIPEONFORK`). Asking costs one load, where the process id costs a call into the system. Where the kernel does not know
/// the advice, a child is not told from its parent.
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
        wipe_on_fork(&mut page);
        Ok(Self(page))
    }

    /// False in a child of the process that made it.
    pub(crate) fn is_here(&self) -> bool {
        self.0.first() == Some(&MADE_HERE)
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the advice changes what a child sees of the page")]
fn wipe_on_fork(page: &mut MmapMut) {
    let (begin, length) = (page.as_mut_ptr().cast(), page.len());
    // SAFETY: the map is private, anonymous and whole pages, all of it ours; the advice changes nothing in this process.
    let advised = unsafe { rustix::mm::madvise(begin, length, rustix::mm::Advice::LinuxWipeOnFork) };
    if advised.is_err() {
        tracing::trace!("the system does not wipe pages of forked processes");
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use crate::spool::tests::event;
    use crate::{EmitError, Emitted, Emitter, EmitterOptions, SpoolOptions};

    #[test]
    #[expect(unsafe_code, reason = "a fork is what is tested")]
    fn a_forked_child_is_refused_and_its_parent_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = "127.0.0.1:1";
        let options =
            EmitterOptions { spool: SpoolOptions::in_folder(folder.path()), ..EmitterOptions::new(nobody) };
        let emitter = Emitter::new(options).unwrap();
        assert!(matches!(emitter.emit(event(0)), Emitted::Accepted(_)));
        let for_child = event(1);
        // SAFETY: the child uses what is tested, which takes no lock, and ends by a signal.
        let end = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let emitted = emitter.emit(for_child);
                let is_refused = matches!(emitted, Emitted::Rejected { reason: EmitError::Forked, .. });
                let is_closed = emitter.close(Duration::from_secs(60)) == Err(EmitError::Forked);
                let counts = emitter.counts();
                drop(emitter);
                let is_right = is_refused && is_closed && counts.emitted == 1 && counts.rejected == 1;
                _ = raise(if is_right { Signal::SIGKILL } else { Signal::SIGTERM });
                unreachable!("it has ended");
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        };
        assert!(matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{end:?}");
        assert!(matches!(emitter.emit(event(2)), Emitted::Accepted(_)));
        assert_eq!(emitter.counts().waiting, 2);
    }
}
