//! `cargo xtask check`: format, lints, the arrows between crates, and whether what is generated is up to date.

use anyhow::{Result, bail};

use crate::cargo::{cargo, run};
use crate::{StackArguments, arrows, generate};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stack: StackArguments,
}

pub(crate) fn run_checks(arguments: &Arguments) -> Result<()> {
    let checks: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("format", &|| run(&mut cargo(&["fmt", "--all", "--check"]))),
        ("arrows between crates", &arrows::check),
        ("lints", &|| {
            run(&mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "--deny",
                "warnings",
            ]))
        }),
        ("generated files", &|| generate::check(&arguments.stack)),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        match check() {
            Ok(()) => eprintln!("ok: {name}"),
            Err(error) => {
                eprintln!("failed: {name}: {error:#}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not clean: {}", failed.join(", ")) }
}
