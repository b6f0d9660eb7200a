//! Calls of cargo and other programs, each shown before it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder of binaries that were built for development.
pub(crate) fn binaries(profile: &str) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join(profile)
}

/// `cargo` in the workspace, with the variables that the tool itself was started with left out.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It could not be started or failed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// It could not be started or failed; then with what it said.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    ensure!(output.status.success(), "`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

fn show(command: &Command) -> String {
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
}

/// Builds every binary for development.
pub(crate) fn build() -> Result<()> {
    run(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))
}

/// The machine's time.
#[expect(clippy::disallowed_methods, reason = "a tool at the edge of the house, where time is asked for")]
pub(crate) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
