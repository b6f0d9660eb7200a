//! The project's one tool. `cargo xtask` without a word says what there is; each word has a module of its own.

mod arrows;
mod bench;
mod cargo;
mod check;
mod demo;
mod down;
mod generate;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Runs and checks the credit pipeline.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Without one, the help is shown.
    #[command(subcommand)]
    word: Option<Word>,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Show the whole pipeline at work: servers, services, grants, usage, ledger and rollups.
    Demo(demo::Arguments),
    /// Run unit, property and end-to-end tests on the real servers.
    Test(test::Arguments),
    /// Check format, lints, the arrows between crates, and that generated files are up to date.
    Check(check::Arguments),
    /// Measure, each figure with the raw floor of this machine beside it.
    Bench(bench::Arguments),
    /// Renew the files that are generated and committed.
    Generate(generate::Arguments),
    /// Start Postgres, Kafka and ClickHouse, and leave them running.
    Up(up::Arguments),
    /// Stop what `up` has left running, and remove its data.
    Down,
}

/// What every word takes that starts services.
#[derive(Debug, Args)]
struct StackArguments {
    /// Install what is missing on the machine with apt-get (Debian, as root); CI=true does the same.
    #[arg(long)]
    install: bool,
}

impl StackArguments {
    fn options(&self) -> fluxori_stack::Options {
        fluxori_stack::Options { install: self.install, ..fluxori_stack::Options::default() }
    }
}

/// For whom a word writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people and shells.
    Text,
    /// One JSON object.
    Json,
}

fn main() -> ExitCode {
    let result = match Cli::parse().word {
        None => Cli::command().print_help().map_err(anyhow::Error::from),
        Some(Word::Demo(arguments)) => demo::run(&arguments),
        Some(Word::Test(arguments)) => test::run_tests(&arguments),
        Some(Word::Check(arguments)) => check::run_checks(&arguments),
        Some(Word::Bench(arguments)) => bench::run(&arguments),
        Some(Word::Generate(arguments)) => generate::run(&arguments),
        Some(Word::Up(arguments)) => up::run(&arguments),
        Some(Word::Down) => down::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line per cause would repeat what the texts say already.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
