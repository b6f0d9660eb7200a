//! A server that speaks ClickHouse's HTTP interface over ClickHouse's own engine (libchdb) in this process.
//!
//! For the demo, tests and benches on machines without a ClickHouse server: the engine is the same, so table engines,
//! materialized views and deduplication are. What it has not: users and grants, sessions, clusters.
//!
//! `clickhouse-engine --library libchdb.so --path DATA [--port PORT]` listens on 127.0.0.1 and writes its address to
//! standard output. SIGTERM and SIGINT stop it; the data stays.

mod chdb;
mod engine;
mod frames;
mod http;
mod statement;

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Engine;

/// Statements that may run at one time.
const CONNECTIONS: usize = 8;

/// How long requests under way may take once the server is to stop.
const STOP_LIMIT: Duration = Duration::from_secs(6);

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    std::fs::create_dir_all(&arguments.path)
        .with_context(|| format!("cannot create {}", arguments.path.display()))?;
    let engine = Engine::start(&arguments.library, &arguments.path, CONNECTIONS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(&engine, arguments.port));
    // Ends requests that were still waiting, and with them the last runners.
    runtime.shutdown_timeout(Duration::from_secs(1));
    engine.stop();
    served
}

async fn serve(engine: &Engine, port: u16) -> Result<()> {
    // After the engine has started, so that these handlers and not its own get the signals.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, mut stopping) = tokio::sync::watch::channel(false);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    let address = listener.local_addr()?;
    writeln!(std::io::stdout(), "listening on http://{address}")?;

    let server = axum::serve(listener, http::router(engine.runner())).with_graceful_shutdown(async move {
        let _ = stopping.changed().await;
    });
    let server = tokio::spawn(server.into_future());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = stop.send(true);
    match tokio::time::timeout(STOP_LIMIT, server).await {
        Ok(ended) => Ok(ended??),
        Err(_) => Ok(()),
    }
}

/// The command line.
struct Arguments {
    library: PathBuf,
    path: PathBuf,
    port: u16,
}

impl Arguments {
    fn read() -> Result<Self> {
        const USAGE: &str = "usage: clickhouse-engine --library LIBCHDB.SO --path FOLDER [--port PORT]";
        let mut values = HashMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let known = ["--library", "--path", "--port"].contains(&name.as_str());
            let (true, Some(value)) = (known, arguments.next()) else {
                bail!("{USAGE}");
            };
            values.insert(name, value);
        }
        let path = |name| values.get(name).map(|value| Path::new(value).to_path_buf());
        Ok(Self {
            library: path("--library").context(USAGE)?,
            path: path("--path").context(USAGE)?,
            port: match values.get("--port") {
                Some(port) => port.parse().context("--port is not a port")?,
                None => 0,
            },
        })
    }
}
