//! Publishes ticks, so that what is due in idle orgs is booked in time.
//!
//! A tick is an unsigned, empty record under the reserved key: its append time is all it says. The ledger books what is
//! due by then. The scheduler writes no balance and keeps no state, so two of them, or one restarted, do nothing twice.

mod ticks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fluxori_runtime::Context;
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{clock, retry};
use tokio::time::MissedTickBehavior;

use crate::ticks::{TickError, Ticker};

/// Publishes ticks into every partition of the log, so that allocations of idle orgs open and close in time.
#[derive(Debug, Parser)]
#[command(name = "expiry-scheduler", version)]
struct Arguments {
    /// Configuration file (TOML); environment variables FLUXORI__SECTION__KEY outrank it
    #[arg(long, env = "FLUXORI_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Publish one round of ticks and exit
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let Arguments { config, once } = Arguments::parse();
    fluxori_runtime::run_with("expiry-scheduler", config, move |context| serve(context, once))
}

async fn serve(context: Context, once: bool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = &context.config;
    let (kafka, genesis) = (config.require_kafka()?, config.require_genesis()?);
    if !once {
        context.serve("scheduler.listen", config.scheduler.listen, axum::Router::new()).await?;
    }
    let stop = context.lifecycle.soft();
    let check = context.health.check("kafka");
    let what = format!("find the log at {}", kafka.brokers);
    let found = retry(&what, &stop, || async {
        Ticker::of_log(&kafka.brokers, &kafka.topic, genesis).await.map_err(|error| {
            check.not_ready(error.to_string());
            match error {
                TickError::Log(_) => Failure::Permanent(error),
                TickError::Stream(_) | TickError::NotBegun(_) => Failure::Transient(error),
            }
        })
    });
    let ticker = match found.await {
        Ok(ticker) => ticker,
        Err(RetryError::Stopped) => return Ok(()),
        Err(RetryError::Permanent(error)) => return Err(error.into()),
    };
    check.ready();
    let mut interval = tokio::time::interval(config.scheduler.tick_interval());
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            _ = interval.tick() => {}
        }
        let what = format!("publish ticks to {}", kafka.brokers);
        let published = retry(&what, &stop, || async {
            ticker.tick().await.map_err(|error| {
                check.not_ready(error.to_string());
                Failure::Transient(error)
            })
        });
        match published.await {
            Ok(()) => check.ready(),
            Err(RetryError::Stopped) => return Ok(()),
            Err(RetryError::Permanent(error)) => return Err(error.into()),
        }
        tracing::debug!(at = %clock::now(), "ticked");
        if once {
            return Ok(());
        }
    }
}
