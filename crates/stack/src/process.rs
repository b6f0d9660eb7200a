//! Child processes of the supervisor: started so that they die with it, stopped, and quoted when they fail.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::{Pid, User, getppid, initgroups, setgid, setuid};

/// Set once the run is to end; whoever waits for anything looks at it.
#[derive(Debug, Default)]
pub(crate) struct StopFlag(AtomicBool);

impl StopFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails once the run is to end.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.is_set(), "stopped before it was up");
        Ok(())
    }
}

/// The first argument that makes the supervisor's program a [`run_child`].
pub(crate) const CHILD_WORD: &str = "child";

/// How a child runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// What it gets when the supervisor dies without stopping it.
    pub(crate) death_signal: Signal,
    /// As whom it runs; as the supervisor's user unless given.
    pub(crate) user: Option<&'a str>,
}

/// The supervisor's program as it names itself. Not current_exe(): that path is gone when cargo has built the program
/// anew meanwhile.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";

/// A command that runs `program` by way of [`run_child`] in the supervisor's program.
pub(crate) fn command(supervisor: &Path, terms: Terms<'_>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(supervisor);
    command
        .arg(CHILD_WORD)
        .arg(std::process::id().to_string())
        .arg(terms.death_signal.as_str())
        .arg(terms.user.unwrap_or_default())
        .arg(program)
        .stdin(Stdio::null())
        .process_group(0);
    command
}

/// What the child does before it becomes its program: changes the user, and asks the kernel for a signal when the
/// supervisor dies. Arguments: the supervisor's id, the signal, the user or nothing, the program and its arguments.
///
/// (A hook between fork and exec would do the same, but is unsafe code.)
pub(crate) fn run_child(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<()> {
    let mut text = || {
        arguments.next().and_then(|argument| argument.into_string().ok()).context("an argument is missing")
    };
    let supervisor = Pid::from_raw(text()?.parse()?);
    let signal: Signal = text()?.parse()?;
    let user = text()?;
    let program = arguments.next().context("the program is missing")?;
    if !user.is_empty() {
        let user = User::from_name(&user)?.with_context(|| format!("no user {user}"))?;
        initgroups(&std::ffi::CString::new(user.name)?, user.gid)?;
        setgid(user.gid)?;
        setuid(user.uid)?;
    }
    set_pdeathsig(signal)?;
    // It may have died before the kernel was asked.
    ensure!(getppid() == supervisor, "the supervisor is gone");
    // The supervisor blocks signals to wait for them, and the mask is inherited.
    SigSet::all().thread_unblock()?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Runs a command to its end, its output in `log`. The error of a command that fails quotes the end of the log.
pub(crate) fn run(mut command: Command, log: &Path, stop: &StopFlag) -> Result<()> {
    let mut child = spawn(&mut command, log)?;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{}", failure(status, log));
            return Ok(());
        }
        if stop.is_set() {
            terminate(&mut child, Signal::SIGTERM, Duration::from_secs(1));
            bail!("stopped before it was up");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a command, its output appended to `log`.
pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(output.try_clone()?).stderr(output).spawn().context("cannot start a process")
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that outlives all others: the kernel's death signal comes when the thread ends that started a process, and
/// a test's thread ends before what it shares with others.
static STARTER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, inbox) = channel::<Job>();
    std::thread::spawn(move || inbox.into_iter().for_each(|job| job()));
    jobs
});

/// As [`spawn`], from a thread that lasts as long as this process.
pub(crate) fn spawn_lasting(mut command: Command, log: &Path) -> Result<(Command, Child)> {
    let log = log.to_path_buf();
    let (answer, started) = channel();
    let job: Job = Box::new(move || {
        let child = spawn(&mut command, &log);
        let _ = answer.send(child.map(|child| (command, child)));
    });
    STARTER.send(job).ok().context("the thread that starts processes is gone")?;
    started.recv().context("the thread that starts processes is gone")?
}

/// Asks a process to stop, and kills it and its group when it has not within `patience`.
pub(crate) fn terminate(child: &mut Child, signal: Signal, patience: Duration) {
    let Ok(pid) = i32::try_from(child.id()).map(Pid::from_raw) else {
        return;
    };
    let begin = Instant::now();
    let _ = kill(pid, signal);
    while begin.elapsed() < patience {
        if !matches!(child.try_wait(), Ok(None)) {
            // What the process has left behind in its group.
            let _ = killpg(pid, Signal::SIGKILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = child.wait();
}

/// How a process ended, with the last lines of its log.
pub(crate) fn failure(status: ExitStatus, log: &Path) -> String {
    format!("it ended with {status}; the end of its log:\n{}", tail(log))
}

/// The last lines of a log, indented.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    if last.is_empty() {
        return "    (it is empty)".to_owned();
    }
    last.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// When a process was started, in ticks since boot; `None` when there is no such process.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; the start is the 20th after it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}
