//! Where things are: the workspace, the stack's folder, and our two binaries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::Options;

/// The programs of this crate that a run needs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) supervisor: PathBuf,
    pub(crate) clickhouse_engine: PathBuf,
}

/// The root of the workspace that this crate was built in.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("the folder of crates/stack has no grandparent")
}

/// `target/stack`, or what the options say instead; created if it is not there.
pub(crate) fn stack_folder(options: &Options) -> Result<PathBuf> {
    let folder = match &options.folder {
        Some(folder) => folder.clone(),
        None => match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => workspace_root()?.join(target).join("stack"),
            None => workspace_root()?.join("target").join("stack"),
        },
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))
}

/// Finds our binaries, building them first unless the options say where they are.
pub(crate) fn binaries(options: &Options) -> Result<Binaries> {
    let folder = match &options.binaries {
        Some(folder) => folder.clone(),
        None => build()?,
    };
    let binaries = Binaries {
        supervisor: folder.join("stack-supervisor"),
        clickhouse_engine: folder.join("clickhouse-engine"),
    };
    for path in [&binaries.supervisor, &binaries.clickhouse_engine] {
        ensure!(
            path.is_file(),
            "{} is not there: build it with `cargo build -p fluxori-stack --bins`",
            path.display()
        );
    }
    Ok(binaries)
}

/// Builds both binaries with the profile of the caller and returns their folder. Fast when nothing has changed.
fn build() -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace_root()?)
        .args(["build", "--quiet", "--package", "fluxori-stack", "--bins"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().context("cannot run cargo, which builds the stack's own programs")?;
    ensure!(output.status.success(), "building the stack's own programs failed");
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else {
            continue;
        };
        let executable = message.get("executable").and_then(serde_json::Value::as_str);
        if let Some(folder) = executable.and_then(|path| Path::new(path).parent()) {
            return Ok(folder.to_path_buf());
        }
    }
    bail!("cargo built the stack's own programs and did not say where")
}
