//! `cargo xtask up`: the services, until `cargo xtask down`.

use std::io::Write;

use anyhow::Result;
use fluxori_stack::detached::{self, Up};

use crate::{Output, StackArguments};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stack: StackArguments,
    /// `text`: lines that a shell can evaluate.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (endpoints, said) = match detached::up(&arguments.stack.options())? {
        Up::Started(endpoints) => (endpoints, "up; `cargo xtask down` stops it and removes its data"),
        Up::Already(endpoints) => (endpoints, "is up already"),
        Up::Named(endpoints) => (endpoints, "nothing was started"),
    };
    eprintln!("stack: {said}");
    let mut out = std::io::stdout().lock();
    match arguments.output {
        Output::Text => {
            for (name, value) in endpoints.variables() {
                writeln!(out, "export {name}={value}")?;
            }
        }
        Output::Json => {
            let object: serde_json::Map<_, _> = endpoints
                .variables()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            writeln!(out, "{}", serde_json::Value::from(object))?;
        }
    }
    Ok(())
}
