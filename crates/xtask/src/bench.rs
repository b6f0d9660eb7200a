//! `cargo xtask bench NAME`: release builds, each figure with its floor in the same run.

use anyhow::Result;
use fluxori_stack::Stack;

use crate::StackArguments;
use crate::cargo::{binaries, cargo, run as run_command};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, clap::Subcommand)]
enum Name {
    /// The pure path of an event, from the bytes of its record to its posting; the floor is decoding alone.
    Fold,
    /// Pricing with the shipped rate card; the floor is one look-up and three products.
    Rates,
    /// Counting tokens, beside tiktoken-rs, and what it costs on text that is slow to tokenize elsewhere.
    Tokens,
    /// The ledger consumer on the real Kafka and Postgres; the floor is plain SQL with the same rows.
    Ledger(LedgerArguments),
}

#[derive(Debug, clap::Args)]
struct LedgerArguments {
    #[command(flatten)]
    stack: StackArguments,
    /// 300,000 events and fewer runs.
    #[arg(long)]
    quick: bool,
    /// Print the JSON object alone.
    #[arg(long)]
    json: bool,
    /// Only these figures, separated by commas: live, hot, lag, memory, grown.
    #[arg(long)]
    only: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.name {
        Name::Fold => run_binary("fold"),
        Name::Rates => run_binary("rates"),
        Name::Tokens => run_binary("tokens"),
        Name::Ledger(arguments) => run_ledger(arguments),
    }
}

/// A benchmark that needs no servers.
fn run_binary(name: &str) -> Result<()> {
    run_command(&mut release("run", &["--quiet", "--package", "benches", "--bin", name]))
}

fn release(word: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = cargo(&[word, "--release", "--locked"]);
    command.args(arguments);
    command
}

fn run_ledger(arguments: &LedgerArguments) -> Result<()> {
    fluxori_stack::check_tools(&arguments.stack.options())?;
    // One build for all of them, so that their common dependencies have one set of features.
    run_command(&mut release(
        "build",
        &["--bins", "-p", "benches", "-p", "ledger-consumer", "-p", "credits", "-p", "fluxori-stack"],
    ))?;
    let options = fluxori_stack::Options { binaries: Some(binaries("release")), ..arguments.stack.options() };
    let stack = Stack::start(&options)?;
    let mut bench = std::process::Command::new(binaries("release").join("ledger"));
    bench.envs(stack.endpoints().variables());
    if arguments.quick {
        bench.arg("--quick");
    }
    if arguments.json {
        bench.arg("--json");
    }
    if let Some(only) = &arguments.only {
        bench.args(["--only", only]);
    }
    let result = run_command(&mut bench);
    stack.stop();
    result
}
