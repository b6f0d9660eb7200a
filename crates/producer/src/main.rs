//! The producer: usage events into the log, over HTTP, from a trace, or from a generator.

mod cli;
mod error;
mod gateway;
mod generator;
mod progress;
mod sender;
mod tools;
mod trace;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { config, command } = Cli::parse();
    let outcome = match command {
        None | Some(Command::Serve) => {
            return fluxori_runtime::run_with("producer", config, gateway::serve);
        }
        Some(Command::Replay(args)) => tools::replay(config, &args),
        Some(Command::Generate(args)) => tools::generate(config, &args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("producer: {error}");
            ExitCode::FAILURE
        }
    }
}
