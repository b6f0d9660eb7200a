//! Postgres from the machine's own package, in a cluster of its own.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, geteuid};

use super::{Prepared, Setup, free_ports};
use crate::prerequisites;
use crate::probe;
use crate::process::{self, Terms};

/// The superuser of the cluster, and the owner of what tests create.
const SUPERUSER: &str = "fluxori";

pub(crate) fn prepare(context: &Setup<'_>) -> Result<Prepared> {
    let binaries = prerequisites::postgres_binaries().context("Postgres' server is gone")?;
    let user = unprivileged_user(geteuid())?;
    let terms = Terms {
        // A fast shutdown; SIGTERM would wait for the clients.
        death_signal: Signal::SIGINT,
        user: user.as_ref().map(|user| user.name.as_str()),
    };
    let data = data_folder(context, user.as_ref())?;

    let mut initdb = context.command(terms, binaries.join("initdb"));
    initdb.current_dir(&data).arg("--pgdata").arg(&data).args([
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        // Of initdb's own files only: the server itself keeps fsync.
        "--no-sync",
        &format!("--username={SUPERUSER}"),
    ]);
    process::run(initdb, &context.log(), context.stop)?;

    let [port] = free_ports()?;
    let mut command = context.command(terms, binaries.join("postgres"));
    command
        .current_dir(&data)
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1"])
        // No socket file, so that no path is too long for one.
        .args(["-c", "unix_socket_directories="])
        .args(["-c", "max_connections=200"]);
    Ok(Prepared {
        command,
        endpoint: format!("postgres://{SUPERUSER}@127.0.0.1:{port}/postgres"),
        probe: probe::postgres,
        // No checkpoint; it ends its own child processes.
        abort_signal: Signal::SIGQUIT,
    })
}

/// Postgres refuses to run as root: then the package's own user, or else nobody.
fn unprivileged_user(caller: Uid) -> Result<Option<User>> {
    if !caller.is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    anyhow::bail!(
        "Postgres refuses to run as root, and there is neither a user postgres nor nobody to run it as"
    )
}

/// An empty folder that belongs to `user`, in a place that it can reach.
fn data_folder(context: &Setup<'_>, user: Option<&User>) -> Result<std::path::PathBuf> {
    let name = context.service.name();
    let Some(user) = user else {
        let inside = context.run.path().join(name);
        empty(&inside)?;
        return Ok(inside);
    };
    empty_if_there(&context.run.path().join(name))?;
    let folder = context.run.reachable_folder(name)?;
    std::os::unix::fs::chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .with_context(|| format!("cannot give {} to {}", folder.display(), user.name))?;
    Ok(folder)
}

fn empty(folder: &Path) -> Result<()> {
    empty_if_there(folder)?;
    Ok(std::fs::create_dir(folder)?)
}

fn empty_if_there(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}
