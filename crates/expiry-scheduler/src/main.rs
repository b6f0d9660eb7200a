//! Publishes ticks, so that what is due in idle orgs is booked in time, and the grants of plans' coming periods.
//!
//! A tick is an unsigned, empty record under the reserved key: its append time is all it says. The ledger books what is
//! due by then. The grant of a period has an id and a content that follow from the plan, and the ledger carries it out
//! once. The scheduler writes no balance and keeps no state, so two of them, or one restarted, do nothing twice.

mod periods;
mod plans;
mod ticks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fluxori_runtime::Context;
use fluxori_runtime::health::Check;
use fluxori_runtime::retry::{Failure, RetryError};
use fluxori_runtime::{clock, retry};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::plans::Planner;
use crate::ticks::{TickError, Ticker};

/// Publishes ticks into every partition of the log, so that allocations of idle orgs open and close in time, and the
/// grants of the coming periods of plans.
#[derive(Debug, Parser)]
#[command(name = "expiry-scheduler", version)]
struct Arguments {
    /// Configuration file (TOML); environment variables FLUXORI__SECTION__KEY outrank it
    #[arg(long, env = "FLUXORI_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Publish one round of ticks and the periods that are due, and exit
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let Arguments { config, once } = Arguments::parse();
    fluxori_runtime::run_with("expiry-scheduler", config, move |context| serve(context, once))
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn serve(context: Context, once: bool) -> Result<(), Failed> {
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
    let planner = Planner::of_config(config, &ticker)?;
    if planner.is_none() {
        tracing::warn!(
            "no periods of plans are published, only ticks: set postgres.url (DATABASE_URL) and \
             scheduler.issuer_key_file (FLUXORI__SCHEDULER__ISSUER_KEY_FILE)"
        );
    }
    if once {
        tick(&ticker, &kafka.brokers, &check, &stop).await?;
        if let Some(mut planner) = planner {
            planner.publish_due().await?;
        }
        return Ok(());
    }
    let plans = async {
        if let Some(planner) = planner {
            let check = context.health.check("plans");
            publish_plans(planner, every(config.scheduler.plan_interval()), &check, &stop).await;
        }
        Ok(())
    };
    let ticks = async {
        let mut interval = every(config.scheduler.tick_interval());
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            tick(&ticker, &kafka.brokers, &check, &stop).await?;
        }
        Ok(())
    };
    tokio::try_join!(ticks, plans).map(drop)
}

/// Publishes a round of ticks, again until the broker has it.
async fn tick(ticker: &Ticker, brokers: &str, check: &Check, stop: &CancellationToken) -> Result<(), Failed> {
    let what = format!("publish ticks to {brokers}");
    let published = retry(&what, stop, || async {
        ticker.tick().await.map_err(|error| {
            check.not_ready(error.to_string());
            Failure::Transient(error)
        })
    });
    match published.await {
        Ok(()) => {
            check.ready();
            tracing::debug!(at = %clock::now(), "ticked");
            Ok(())
        }
        Err(RetryError::Stopped) => Ok(()),
        Err(RetryError::Permanent(error)) => Err(error.into()),
    }
}

/// Publishes the periods that are due, round by round. What a round could not do, the next one does: periods are
/// published days ahead.
async fn publish_plans(
    mut planner: Planner,
    mut interval: Interval,
    check: &Check,
    stop: &CancellationToken,
) {
    let mut well = true;
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        match stop.run_until_cancelled(planner.publish_due()).await {
            None => return,
            Some(Ok(())) => {
                if !well {
                    tracing::info!("periods of plans are published again");
                }
                well = true;
                check.ready();
            }
            Some(Err(error)) => {
                if well {
                    tracing::warn!("periods of plans are not published; trying again: {error}");
                }
                well = false;
                check.not_ready(error.to_string());
            }
        }
    }
}

fn every(time: Duration) -> Interval {
    let mut interval = tokio::time::interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
