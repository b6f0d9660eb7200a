//! Writes the log's usage to ClickHouse, each event once.

use std::process::ExitCode;

use analytics_consumer::AnalyticsProcessor;
use fluxori_analytics::{Analytics, AnalyticsOptions};
use fluxori_core::digest::Digest;
use fluxori_runtime::health::Check;
use fluxori_runtime::retry::Failure;
use fluxori_runtime::{Context, retry};
use fluxori_stream::{ConsumerGroup, ConsumerOptions, GroupStatus, LogReader};
use tokio::sync::watch;

fn main() -> ExitCode {
    fluxori_runtime::run("analytics-consumer", |context| async move { serve(context).await })
}

async fn serve(context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = &context.config;
    let (kafka, clickhouse) = (config.require_kafka()?, config.require_clickhouse()?);
    let genesis = Digest(config.require_genesis()?);
    let analytics = Analytics::new(&AnalyticsOptions {
        url: clickhouse.url.clone(),
        database: clickhouse.database.clone(),
        user: clickhouse.user.clone(),
        password: clickhouse.password.as_ref().map(|password| password.expose().to_owned()),
    })?;
    let (database, group_check) = (context.health.check("clickhouse"), context.health.check("group"));
    context.serve("analytics.listen", config.analytics.listen, axum::Router::new()).await?;
    let stop = context.lifecycle.soft();
    let what = format!("set up database {} of ClickHouse at {}", analytics.database(), analytics.url());
    let set_up = retry(&what, &stop, || async {
        analytics.migrate().await.map_err(|error| {
            database.not_ready(error.to_string());
            if error.is_transient() { Failure::Transient(error) } else { Failure::Permanent(error) }
        })
    })
    .await;
    match set_up {
        Ok(()) => database.ready(),
        Err(_) if stop.is_cancelled() => return Ok(()),
        Err(error) => return Err(error.to_string().into()),
    }
    let mut options = ConsumerOptions::new(&kafka.brokers, &kafka.topic, &config.analytics.group);
    options.session_timeout = kafka.session_timeout();
    options.batch_max_records = config.analytics.batch_max_records;
    options.batch_linger = config.analytics.batch_linger();
    let reader = LogReader::new(&kafka.brokers, &kafka.topic)?;
    let group = ConsumerGroup::new(options);
    tokio::spawn(report(group.status(), group_check));
    Ok(group.run(AnalyticsProcessor::new(analytics, reader, genesis, database), stop).await?)
}

/// Shows in `/readyz` whether the member works on its partitions.
async fn report(mut status: watch::Receiver<GroupStatus>, check: Check) {
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
