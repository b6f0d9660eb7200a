//! A pool of connections over one path. Each has a thread of its own, and takes the next task when it is free.

use std::borrow::Cow;
use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use axum::body::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::chdb::{Answer, Chdb, Connection, EngineError};
use crate::frames::Frames;
use crate::statement::changes_session;

/// A statement to run.
#[derive(Debug)]
pub(crate) struct Task {
    /// The current database while it runs; `default` unless given.
    pub(crate) database: Option<String>,
    /// Settings that hold for this statement only.
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) work: Work,
}

#[derive(Debug)]
pub(crate) enum Work {
    /// Any statement without data.
    Query {
        sql: String,
        format: String,
        parameters: Vec<(String, String)>,
        /// Refuse what is not a mere read.
        only_reads: bool,
    },
    /// An INSERT without its clause, its data, and whether the body is compressed (what stood in the text never is).
    Insert { sql: String, format: String, inline: String, body: Bytes, compressed: bool },
}

type Job = (Task, oneshot::Sender<Result<Answer, EngineError>>);

/// The engine, running.
pub(crate) struct Engine {
    jobs: mpsc::Sender<Job>,
    chdb: &'static Chdb,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts the engine over `path` with so many connections.
    pub(crate) fn start(library: &Path, path: &Path, connections: usize) -> Result<Self> {
        let chdb = Chdb::load(library).with_context(|| format!("cannot load {}", library.display()))?;
        let path = path.to_str().context("the path is not UTF-8")?;
        // What a statement may use: errors, and not the kernel, end one that wants more.
        let arguments: Arc<[CString]> = [
            "clickhouse-engine".to_owned(),
            format!("--path={path}"),
            "--max_memory_usage=3000000000".to_owned(),
            "--max_result_bytes=1000000000".to_owned(),
        ]
        .into_iter()
        .map(CString::new)
        .collect::<Result<_, _>>()?;
        let (jobs, inbox) = mpsc::channel(1);
        let inbox = Arc::new(Mutex::new(inbox));
        let mut threads = Vec::with_capacity(connections);
        for _ in 0..connections {
            let (inbox, arguments) = (inbox.clone(), arguments.clone());
            let (opened, is_open) = std::sync::mpsc::channel();
            threads.push(std::thread::spawn(move || match Connection::open(chdb, &arguments) {
                Ok(connection) => {
                    let _ = opened.send(Ok(()));
                    Worker::new(chdb, arguments, connection).work(&inbox);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }));
            // One after the other: the first one starts the engine.
            is_open
                .recv()
                .context("a worker has ended")?
                .map_err(|error| anyhow::Error::msg(error.0))
                .with_context(|| format!("cannot open the engine over {path}"))?;
        }
        Ok(Self { jobs, chdb, threads })
    }

    /// A handle that runs statements.
    pub(crate) fn runner(&self) -> Runner {
        Runner { jobs: self.jobs.clone() }
    }

    /// Waits for the statements under way, closes the connections and stops the engine. All runners have to be gone.
    pub(crate) fn stop(self) {
        drop(self.jobs);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.chdb.shut_down();
    }
}

/// Runs statements on whichever connection is free.
#[derive(Clone)]
pub(crate) struct Runner {
    jobs: mpsc::Sender<Job>,
}

impl Runner {
    /// Runs a statement, waiting for a free connection first.
    pub(crate) async fn run(&self, task: Task) -> Result<Answer, EngineError> {
        let ended =
            || EngineError("Code: 210. DB::Exception: the engine is stopping. (NETWORK_ERROR)".to_owned());
        let (reply, answer) = oneshot::channel();
        self.jobs.send((task, reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// The database of a new connection.
const DEFAULT_DATABASE: &str = "default";

/// A connection and what its session is set to.
struct Worker {
    chdb: &'static Chdb,
    arguments: Arc<[CString]>,
    connection: Connection,
    database: String,
}

impl Worker {
    fn new(chdb: &'static Chdb, arguments: Arc<[CString]>, connection: Connection) -> Self {
        Self { chdb, arguments, connection, database: DEFAULT_DATABASE.to_owned() }
    }

    fn work(mut self, inbox: &Mutex<mpsc::Receiver<Job>>) {
        loop {
            let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some((task, reply)) = job else { return };
            // Nobody waits any more: a client that went away before its turn.
            if reply.is_closed() {
                continue;
            }
            let (answer, session) = self.run(&task);
            if session == Session::Changed {
                self.renew();
            }
            let _ = reply.send(answer);
        }
    }

    fn run(&mut self, task: &Task) -> (Result<Answer, EngineError>, Session) {
        if let Err(error) = self.enter(task.database.as_deref().unwrap_or(DEFAULT_DATABASE)) {
            return (Err(error), Session::Kept);
        }
        if let Err(error) = self.set(&task.settings, quoted) {
            return (Err(error), Session::Changed);
        }
        let answer = match &task.work {
            Work::Query { sql, format, parameters, only_reads } => {
                self.check(sql, *only_reads).and_then(|()| self.connection.query(sql, format, parameters))
            }
            Work::Insert { sql, format, inline, body, compressed } => {
                self.connection.insert(sql, format, chunks(inline, body, *compressed))
            }
        };
        let changed = matches!(&task.work, Work::Query { sql, .. } if changes_session(sql))
            || self.set(&task.settings, |_| "DEFAULT".to_owned()).is_err();
        (answer, if changed { Session::Changed } else { Session::Kept })
    }

    /// Refuses what ClickHouse's HTTP interface refuses.
    fn check(&self, sql: &str, only_reads: bool) -> Result<(), EngineError> {
        let Some(analysis) = self.connection.classify(sql) else {
            return Ok(());
        };
        let refusal = if analysis.statements > 1 {
            "Code: 62. DB::Exception: Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)"
        } else if only_reads && analysis.statements == 1 && !analysis.only_reads {
            "Code: 164. DB::Exception: Cannot execute query in readonly mode. For queries over HTTP, method GET implies \
             readonly. You should use method POST for modifying queries. (READONLY)"
        } else {
            return Ok(());
        };
        Err(EngineError(refusal.to_owned()))
    }

    fn enter(&mut self, database: &str) -> Result<(), EngineError> {
        if database != self.database {
            let name = database.replace('\\', "\\\\").replace('`', "\\`");
            self.connection.query(&format!("USE `{name}`"), "TabSeparated", &[])?;
            database.clone_into(&mut self.database);
        }
        Ok(())
    }

    fn set(
        &self,
        settings: &[(String, String)],
        value_of: impl Fn(&str) -> String,
    ) -> Result<(), EngineError> {
        if settings.is_empty() {
            return Ok(());
        }
        let list: Vec<String> =
            settings.iter().map(|(name, value)| format!("{name} = {}", value_of(value))).collect();
        let sql = format!("SET {}", list.join(", "));
        self.connection.query(&sql, "TabSeparated", &[]).map(|_| ())
    }

    /// Replaces the connection by a new one. The new one is opened first, so that the last one is never closed, which
    /// would stop the engine.
    fn renew(&mut self) {
        if let Ok(connection) = Connection::open(self.chdb, &self.arguments) {
            self.connection = connection;
            DEFAULT_DATABASE.clone_into(&mut self.database);
        }
    }
}

/// Whether a connection may be used as it is for the next statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Kept,
    Changed,
}

/// The data of an INSERT, chunk by chunk.
fn chunks<'a>(
    inline: &'a str,
    body: &'a [u8],
    compressed: bool,
) -> impl Iterator<Item = Result<Cow<'a, [u8]>, EngineError>> {
    let (plain, frames) = if compressed { (&[][..], body) } else { (body, &[][..]) };
    let frames = Frames::new(frames).map(|block| {
        block.map(Cow::Owned).map_err(|reason| {
            EngineError(format!("Code: 271. DB::Exception: Cannot decompress: {reason}. (CANNOT_DECOMPRESS)"))
        })
    });
    [inline.as_bytes(), plain]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| Ok(Cow::Borrowed(part)))
        .chain(frames)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}
