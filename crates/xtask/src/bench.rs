//! `cargo xtask bench NAME`: release builds, each figure with its floor in the same run.

use anyhow::Result;

use crate::cargo::{cargo, run as run_command};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which benchmark.
    #[arg(value_enum)]
    name: Name,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// The pure path of an event, from the bytes of its record to its posting; the floor is decoding alone.
    Fold,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binary = match arguments.name {
        Name::Fold => "fold",
    };
    run_command(&mut cargo(&[
        "run",
        "--release",
        "--quiet",
        "--locked",
        "--package",
        "benches",
        "--bin",
        binary,
    ]))
}
