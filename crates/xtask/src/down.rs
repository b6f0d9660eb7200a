//! `cargo xtask down`: stops what `cargo xtask up` has left running.

use anyhow::Result;
use fluxori_stack::{Options, detached};

pub(crate) fn run() -> Result<()> {
    let stopped = detached::down(&Options::default())?;
    eprintln!("stack: {}", if stopped { "stopped" } else { "was not up" });
    Ok(())
}
