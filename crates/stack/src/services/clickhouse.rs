//! ClickHouse: our HTTP server over its engine, libchdb, from the npm registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::cache::{Downloads, Entry};
use super::{Prepared, Setup, free_ports};
use crate::probe;
use crate::process::{self, Terms};

const TERMS: Terms<'static> = Terms { death_signal: Signal::SIGTERM, user: None };

const ENGINE: Entry<'static> = Entry {
    name: "clickhouse",
    files: &[
        ("package.json", include_str!("../../clickhouse/package.json")),
        ("package-lock.json", include_str!("../../clickhouse/package-lock.json")),
    ],
    what: "ClickHouse's engine (180 MB)",
};

/// Whether the engine is there, so that npm is not needed.
pub(crate) fn is_cached(cache: &Path) -> bool {
    ENGINE.folder(cache).is_dir()
}

/// The engine's library, downloaded with `npm` if it is not there.
pub(crate) fn library(downloads: &Downloads<'_>, mut npm: Command) -> Result<PathBuf> {
    const LIBRARY: &str = "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so";
    let entry = ENGINE.get(downloads, |folder| {
        // `ci` installs what the lock file says and checks its digest.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        process::run(npm, &downloads.log, downloads.stop)?;
        ensure!(folder.join(LIBRARY).is_file(), "the package holds no libchdb.so");
        Ok(())
    })?;
    Ok(entry.join(LIBRARY))
}

pub(crate) fn prepare(context: &Setup<'_>) -> Result<Prepared> {
    let library = library(&context.downloads(), context.command(TERMS, "npm"))?;
    let [port] = free_ports()?;
    let mut command = context.command(TERMS, context.clickhouse_engine);
    command
        .arg("--library")
        .arg(library)
        .arg("--path")
        .arg(context.run.path().join("clickhouse"))
        .args(["--port", &port.to_string()]);
    Ok(Prepared {
        command,
        endpoint: format!("http://default:@127.0.0.1:{port}"),
        probe: probe::clickhouse,
        abort_signal: Signal::SIGKILL,
    })
}
