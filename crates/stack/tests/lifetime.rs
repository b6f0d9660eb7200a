//! Whoever starts the stack, and however that ends: nothing is left running.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fluxori_stack::{Endpoints, Options, Stack};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Tells the test binary that it is the one that starts a stack.
const STARTER: &str = "FLUXORI_STACK_TEST_STARTER";

fn options() -> Options {
    let binaries = Path::new(env!("CARGO_BIN_EXE_stack-supervisor")).parent().unwrap();
    Options { binaries: Some(binaries.to_path_buf()), ..Options::default() }
}

/// Not a test: what the tests below run in a process of its own, and end.
#[test]
fn starter() {
    let Ok(end) = std::env::var(STARTER) else { return };
    let stack = Stack::start(&options()).unwrap();
    let folder = stack.run_folder().unwrap();
    println!("\nup {}\t{}", folder.display(), serde_json::to_string(stack.endpoints()).unwrap());
    assert!(end != "panic", "on purpose");
    std::thread::sleep(Duration::from_secs(60));
}

/// A stack that another process has started.
struct Started {
    starter: Child,
    run_folder: PathBuf,
    endpoints: Endpoints,
    /// Kept open: a test binary that cannot write ends with an error of its own.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Started {
    fn new(end: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let mut starter = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "starter", "--nocapture"])
            .env(STARTER, end)
            .env_remove("KAFKA_BROKERS")
            .env_remove("DATABASE_URL")
            .env_remove("CLICKHOUSE_URL")
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| Some(line.unwrap().strip_prefix("up ")?.to_owned())).unwrap();
        let (run_folder, endpoints) = line.split_once('\t').unwrap();
        let endpoints = serde_json::from_str(endpoints).unwrap();
        Self { starter, run_folder: run_folder.into(), endpoints, _output: lines }
    }

    fn open_ports(&self) -> Vec<String> {
        [&self.endpoints.kafka_brokers, &self.endpoints.database_url, &self.endpoints.clickhouse_url]
            .into_iter()
            .map(|endpoint| endpoint.rsplit_once("127.0.0.1:").unwrap().1.split('/').next().unwrap())
            .filter(|port| TcpStream::connect(format!("127.0.0.1:{port}")).is_ok())
            .map(str::to_owned)
            .collect()
    }

    /// Processes that mention the run's folder on their command line.
    fn processes(&self) -> Vec<String> {
        let folder = self.run_folder.to_str().unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
            .filter(|line| line.contains(&format!("{folder}/")))
            .collect()
    }

    /// Ends the starter's process group, as a terminal does with Ctrl-C.
    fn signal(&mut self, signal: Signal) {
        killpg(Pid::from_raw(self.starter.id().try_into().unwrap()), signal).unwrap();
    }

    fn assert_that_nothing_is_left(mut self) {
        assert!(!self.starter.wait().unwrap().success());
        let begin = Instant::now();
        while self.run_folder.exists() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!self.run_folder.exists(), "{} is left", self.run_folder.display());
        assert_eq!(self.open_ports(), Vec::<String>::new());
        assert_eq!(self.processes(), Vec::<String>::new());
    }
}

#[test]
fn nothing_is_left_after_the_starter_was_killed() {
    let mut started = Started::new("sleep");
    assert_eq!(started.open_ports().len(), 3);
    assert!(!started.processes().is_empty());
    started.signal(Signal::SIGKILL);
    started.assert_that_nothing_is_left();
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    let mut started = Started::new("sleep");
    started.signal(Signal::SIGINT);
    started.assert_that_nothing_is_left();
}

#[test]
fn nothing_is_left_after_a_panic() {
    Started::new("panic").assert_that_nothing_is_left();
}

#[test]
fn servers_of_a_killed_supervisor_end_and_the_next_run_removes_its_folder() {
    let mut started = Started::new("sleep");
    let supervisor = started.run_folder.file_name().unwrap().to_str().unwrap().strip_prefix("run-").unwrap();
    nix::sys::signal::kill(Pid::from_raw(supervisor.parse().unwrap()), Signal::SIGKILL).unwrap();
    let begin = Instant::now();
    while !started.processes().is_empty() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(started.open_ports(), Vec::<String>::new());
    assert!(started.run_folder.exists());
    started.signal(Signal::SIGKILL);
    let mut next = Started::new("sleep");
    next.signal(Signal::SIGKILL);
    next.assert_that_nothing_is_left();
    started.assert_that_nothing_is_left();
}
