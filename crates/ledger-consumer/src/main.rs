//! Applies the log to the ledger in Postgres, exactly once.

mod processor;

use std::process::ExitCode;

use fluxori_applier::{Applier, Bounds, Limits};
use fluxori_core::digest::Digest;
use fluxori_ledger::{Ledger, LedgerError};
use fluxori_runtime::config::PostgresConfig;
use fluxori_runtime::retry::Failure;
use fluxori_runtime::{Context, retry};
use fluxori_stream::{ConsumerGroup, ConsumerOptions, GroupStatus};
use tokio::sync::watch;

use crate::processor::LedgerProcessor;

/// What one thread folds another commits and frees, millions of small values a second: the C library's allocator spent
/// a third of the service's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fluxori_runtime::run("ledger-consumer", |context| async move { serve(context).await })
}

async fn serve(context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = &context.config;
    let (kafka, postgres, genesis) =
        (config.require_kafka()?, config.require_postgres()?, config.require_genesis()?);
    context.serve("ledger.listen", config.ledger.listen, axum::Router::new()).await?;
    let stop = context.lifecycle.soft();
    let database = context.health.check("postgres");
    let connected = retry("use the ledger in Postgres", &stop, || async {
        connect(postgres).await.map_err(|error| {
            database.not_ready(error.to_string());
            match error {
                LedgerError::SchemaAhead { .. } | LedgerError::SchemaAltered { .. } => {
                    Failure::Permanent(error)
                }
                other => Failure::Transient(other),
            }
        })
    })
    .await;
    let ledger = match connected {
        Ok(ledger) => ledger,
        Err(_) if stop.is_cancelled() => return Ok(()),
        Err(error) => return Err(error.to_string().into()),
    };
    database.ready();
    let mut options = ConsumerOptions::new(&kafka.brokers, &kafka.topic, &config.ledger.group);
    options.session_timeout = kafka.session_timeout();
    options.batch_max_records = config.ledger.batch_max_records;
    options.batch_linger = config.ledger.batch_linger();
    let group = ConsumerGroup::new(options);
    tokio::spawn(report(group.status(), context.health.check("group")));
    let owner = format!("{}-{}", context.name, std::process::id());
    let limits = Limits {
        in_memory: Bounds {
            orgs: config.ledger.max_orgs_in_memory,
            events: config.ledger.max_events_in_memory,
        },
        // The others are for loading.
        commits: usize::try_from(postgres.max_connections / 2).unwrap_or(1),
        folds: std::thread::available_parallelism().map_or(2, usize::from),
    };
    let applier = Applier::new(ledger, owner, Digest(genesis), limits, &context.health);
    Ok(group.run(LedgerProcessor::new(applier, context.health.clone()), stop).await?)
}

/// Connects to a ledger that is as this build needs it. The schema is its owner's to make and to migrate.
async fn connect(postgres: &PostgresConfig) -> Result<Ledger, LedgerError> {
    let ledger = Ledger::connect(postgres.url.expose(), postgres.max_connections).await?;
    ledger.check_schema().await?;
    Ok(ledger)
}

/// Shows in `/readyz` whether the member works on its partitions.
async fn report(mut status: watch::Receiver<GroupStatus>, check: fluxori_runtime::health::Check) {
    loop {
        match status.borrow_and_update().not_ready() {
            None => check.ready(),
            Some(reason) => check.not_ready(reason),
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
