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
    /// Emitting, for its caller and through to the real Kafka; the floors are a bare queue, librdkafka's `send` and a copy.
    Emit(StackArguments),
    /// The gateway on the real Kafka, with 64 clients; the floor is a bare handler that parses.
    Gateway(StackArguments),
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
        Name::Emit(arguments) => run_with_servers("emit", &["credits"], arguments, &[]),
        Name::Gateway(arguments) => run_with_servers("gateway", &["credits", "producer"], arguments, &[]),
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
    let mut given = Vec::new();
    if arguments.quick {
        given.push("--quick");
    }
    if arguments.json {
        given.push("--json");
    }
    if let Some(only) = &arguments.only {
        given.extend(["--only", only]);
    }
    run_with_servers("ledger", &["ledger-consumer", "credits"], &arguments.stack, &given)
}

/// A benchmark that runs these services of ours, beside itself, on the real servers.
fn run_with_servers(name: &str, services: &[&str], stack: &StackArguments, arguments: &[&str]) -> Result<()> {
    fluxori_stack::check_tools(&stack.options())?;
    // One build for all of them, so that their common dependencies have one set of features.
    let mut build = release("build", &["--bins", "-p", "benches", "-p", "fluxori-stack"]);
    for service in services {
        build.args(["-p", service]);
    }
    run_command(&mut build)?;
    let options = fluxori_stack::Options { binaries: Some(binaries("release")), ..stack.options() };
    let stack = Stack::start(&options)?;
    let mut bench = std::process::Command::new(binaries("release").join(name));
    bench.envs(stack.endpoints().variables()).args(arguments);
    let result = run_command(&mut bench);
    stack.stop();
    result
}
