//! The ledger: the real consumer on the real Kafka and Postgres, each figure with its floor.
//!
//! `docs/performance.md` says what each figure means and how it is measured. Needs `KAFKA_BROKERS`, `DATABASE_URL` and
//! `CLICKHOUSE_URL` and the binaries beside this one: `cargo xtask bench ledger` sees to both.

mod consumer;
mod figures;
mod floor;
mod grown;
mod lag;
mod log;
mod rebuild;
mod workload;

use anyhow::Result;
use clap::Parser;

use crate::figures::{Figures, Plan};
use crate::log::Bench;

#[derive(Debug, Parser)]
struct Arguments {
    /// 300,000 events and fewer runs.
    #[arg(long)]
    quick: bool,
    /// The JSON object alone, without the table.
    #[arg(long)]
    json: bool,
    /// Only these figures, separated by commas: live, rebuild, hot, lag, memory, grown.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bench = Bench { runtime, endpoints: benches::endpoints()? };
    let plan = Plan::new(arguments.quick, arguments.only);
    let figures = Figures::measure(&bench, &plan)?;
    if !arguments.json {
        figures.print();
    }
    println!("{}", figures.json());
    Ok(())
}
