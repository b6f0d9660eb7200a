//! `cargo xtask test`: unit, property and end-to-end tests, the latter with the real binaries on the real servers.

use anyhow::Result;
use fluxori_stack::Stack;

use crate::StackArguments;
use crate::cargo::{binaries, build, cargo, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stack: StackArguments,
    /// Only tests whose name holds this text.
    filter: Option<String>,
}

pub(crate) fn run_tests(arguments: &Arguments) -> Result<()> {
    fluxori_stack::check_tools(&arguments.stack.options())?;
    build()?;
    let options = fluxori_stack::Options { binaries: Some(binaries("debug")), ..arguments.stack.options() };
    // Logs and keys of the pipelines of an earlier run.
    let leftovers = binaries("e2e");
    if leftovers.exists() {
        std::fs::remove_dir_all(&leftovers)?;
    }
    let stack = Stack::start(&options)?;
    let mut command = cargo(&["test", "--workspace", "--locked"]);
    command.args(&arguments.filter);
    command.envs(stack.endpoints().variables());
    let result = run(&mut command);
    stack.stop();
    result
}
