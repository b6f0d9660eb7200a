//! `cargo xtask test`: unit, property and end-to-end tests, the latter with the real binaries on the real servers.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fluxori_stack::Stack;

use crate::StackArguments;
use crate::cargo::{binaries, build, cargo, run};

/// Packages with properties, and the cases of each in a soak. The reference model of the fold has 2,000 otherwise; a decoder
/// has 256, and takes minutes for these.
const SOAK: [(&str, &str); 2] = [("fluxori-core", "30000"), ("fluxori-ingest", "200000")];
/// The randomised end-to-end tests.
const FAULTS: &str = "faults::";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stack: StackArguments,
    /// Only the randomised tests, for long: 30,000 cases of each of the core's properties, 200,000 of each of the decoders',
    /// and more faults of every kind, then further rounds of faults, each with a seed of its own, until the minutes are
    /// over.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// Only tests whose name holds this text.
    filter: Option<String>,
}

pub(crate) fn run_tests(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    fluxori_stack::check_tools(&arguments.stack.options())?;
    build()?;
    let options = fluxori_stack::Options { binaries: Some(binaries("debug")), ..arguments.stack.options() };
    // Logs and keys of the pipelines of an earlier run.
    let leftovers = binaries("e2e");
    if leftovers.exists() {
        std::fs::remove_dir_all(&leftovers)?;
    }
    let stack = Stack::start(&options)?;
    let result = match arguments.soak {
        None => {
            let mut command = cargo(&["test", "--workspace", "--locked"]);
            command.args(&arguments.filter);
            command.envs(stack.endpoints().variables());
            run(&mut command)
        }
        Some(minutes) => soak(&stack, arguments, begin + Duration::from_secs(minutes * 60)),
    };
    stack.stop();
    result
}

/// The long variants once, then rounds of faults until the time is over. A round under way is finished.
fn soak(stack: &Stack, arguments: &Arguments, until: Instant) -> Result<()> {
    for (package, cases) in SOAK {
        let mut properties = cargo(&["test", "--package", package, "--locked"]);
        properties.args(&arguments.filter).env("PROPTEST_CASES", cases);
        run(&mut properties)?;
    }
    for round in 1.. {
        // A number that nobody can foresee.
        let seed = RandomState::new().build_hasher().finish().to_string();
        eprintln!("round {round} of faults; to repeat it: FLUXORI_SEED={seed}");
        let mut faults = cargo(&["test", "--package", "e2e", "--test", "pipeline", "--locked"]);
        faults.arg(arguments.filter.as_deref().unwrap_or(FAULTS)).args(["--", "--nocapture"]);
        faults.envs(stack.endpoints().variables()).env("FLUXORI_SEED", &seed);
        if round == 1 {
            faults.env("FLUXORI_SOAK", "1");
        }
        run(&mut faults).with_context(|| format!("round {round} of faults, FLUXORI_SEED={seed}"))?;
        if Instant::now() >= until {
            break;
        }
    }
    Ok(())
}
