//! Every example under `examples/` runs, and what it emits twice is debited once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use e2e::{balance_at, emit, grant, shared, text, unique, usage};
use fluxori_stack::pipeline::Pipeline;

/// 400 tokens in, 600 from the cache and 200 out of gpt-5 cost 2.575 credits.
const BALANCE: &str = "97.425";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// Whether a program is there to run an example with. In CI a missing one is a failure.
fn has(program: &str) -> Result<bool> {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(true);
    }
    ensure!(std::env::var("CI").as_deref() != Ok("true"), "{program} is missing; install it");
    eprintln!("skipped: {program} is missing");
    Ok(false)
}

/// Runs an example for an org of its own, and looks at what it says and at what became of it.
fn ends_in_one_debit(run: impl FnOnce(&Pipeline) -> Result<Command>) -> Result<()> {
    let pipeline = shared()?;
    let org = unique("example");
    grant(&pipeline, &org, "100")?;
    let mut command = run(&pipeline)?;
    command.env("ORG", &org).env("KEY", pipeline.admin_key());
    command.env("PRODUCER", pipeline.url("producer")?).env("EDGE", pipeline.url("edge")?);
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let (said, complained) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}{complained}");
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(last, format!("{org} has {BALANCE} credits"), "{said}{complained}");
    // What comes after it in the log is one more debit, and there is no other.
    let after = emit(&pipeline, &usage(&org))?;
    let balance = balance_at(&pipeline, &org, text(&after, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "94.175");
    Ok(())
}

fn rust(binary: &'static str) -> Result<()> {
    ends_in_one_debit(|pipeline| {
        let mut command = pipeline.command(binary);
        command.env("FLUXORI__EMITTER__SPOOL", pipeline.keys_folder().join(unique("spool")));
        Ok(command)
    })
}

#[test]
fn the_example_in_rust_without_a_runtime_ends_in_one_debit() -> Result<()> {
    rust("emit-sync")
}

#[test]
fn the_example_in_asynchronous_rust_ends_in_one_debit() -> Result<()> {
    rust("emit-async")
}

#[test]
fn the_example_with_curl_ends_in_one_debit() -> Result<()> {
    if !has("curl")? || !has("bash")? {
        return Ok(());
    }
    ends_in_one_debit(|_| Ok(Command::new(example("emit.sh"))))
}

#[test]
fn the_example_in_python_ends_in_one_debit() -> Result<()> {
    if !has("python3")? {
        return Ok(());
    }
    ends_in_one_debit(|_| {
        let mut command = Command::new("python3");
        command.arg(example("emit.py"));
        Ok(command)
    })
}

#[test]
fn the_example_in_typescript_ends_in_one_debit() -> Result<()> {
    if !has("node")? {
        return Ok(());
    }
    let version = node_version()?;
    if version < (20, 0) {
        eprintln!("skipped: Node {}.{} is too old, it has no `crypto`", version.0, version.1);
        return Ok(());
    }
    ends_in_one_debit(|pipeline| {
        let mut command = Command::new("node");
        // It can read types since 22.6.
        match version >= (22, 6) {
            true => command.args(["--experimental-strip-types", "--no-warnings"]).arg(example("emit.ts")),
            false => command.arg(without_types(&example("emit.ts"), &pipeline.keys_folder())?),
        };
        Ok(command)
    })
}

fn node_version() -> Result<(u32, u32)> {
    let output = Command::new("node").arg("--version").output()?;
    let said = String::from_utf8(output.stdout)?;
    let mut numbers = said.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("node --version says {said:?}"),
    }
}

/// The example in the JavaScript that Node 20 reads: the few forms of types that it has are cut out.
fn without_types(example: &Path, folder: &Path) -> Result<PathBuf> {
    const STRIP: &str = r#"
        const [from, to] = process.argv.slice(1);
        const types = [
            /^declare .*$/gm, /^type \w+ = \{$[^]*?^\};$/gm, // declarations
            /(?<=\basync function \w+)<\w+>/g, /(?<=\bask)<\w+>/g, // parameters of types
            /(?<=\w): (string|number|Error|RequestInit|UsageEvent)(?=[,)])/g, /(?<=\)): [\w<>]+(?= \{)/g, // of parameters and results
        ];
        const fs = require("node:fs");
        fs.writeFileSync(to, types.reduce((text, type) => text.replace(type, ""), fs.readFileSync(from, "utf8")));
    "#;
    let plain = folder.join(unique("emit")).with_extension("cjs");
    let status = Command::new("node").args(["-e", STRIP]).arg(example).arg(&plain).status()?;
    ensure!(status.success(), "the types are not cut out");
    Ok(plain)
}

/// The lines for a shell in the README's part on emitting, as one types them; a request that fails ends them.
#[test]
fn the_readmes_lines_work_as_they_are_typed() -> Result<()> {
    if !has("curl")? || !has("bash")? {
        return Ok(());
    }
    let readme = std::fs::read_to_string(example("../README.md"))?;
    let (_, part) = readme.split_once("\n## Emit usage\n").context("no part on emitting")?;
    let (part, _) = part.split_once("\n## ").context("no end of the part on emitting")?;
    let lines: String = part
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| Some(format!("{}echo\n", block.split_once("```")?.0)))
        .collect();
    ensure!(lines.matches("curl").count() >= 5, "the README's lines are not found: {lines}");
    let pipeline = shared()?;
    grant(&pipeline, "org-000", "100")?;
    emit(&pipeline, &usage("org-000"))?;
    let strict = "set -euo pipefail; curl() { command curl --silent --show-error --fail-with-body \"$@\"; }";
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{strict}\n{lines}")]).env("KEY", pipeline.admin_key());
    command.env("PRODUCER", pipeline.url("producer")?).env("EDGE", pipeline.url("edge")?);
    let output = command.output()?;
    let (said, complained) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}\n{complained}");
    for word in ["\"balance\":\"94.175\"", "\"allowed\":true", "claude-sonnet-4-6", "\"lines\""] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    Ok(())
}
