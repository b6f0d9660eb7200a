//! Kafka: a broker that is restarted, or killed and started again.

use anyhow::Result;
use e2e::load::{Load, is_soak, seed};
use e2e::{endpoints, eventually, ledger_at, readiness, server_options};
use fluxori_stack::Endpoints;
use fluxori_stack::server::Server;
use nix::sys::signal::Signal;

#[test]
fn a_broker_that_is_restarted_or_killed_in_mid_stream_loses_and_doubles_nothing() -> Result<()> {
    let seed = seed("a_broker_that_is_restarted_or_killed_in_mid_stream_loses_and_doubles_nothing")?;
    // Of its own, because the others' tests need theirs.
    let mut server = Server::kafka(&server_options()?)?;
    let pipeline = ledger_at(Endpoints { kafka_brokers: server.endpoint().to_owned(), ..endpoints()? })?;
    let load = Load::begin(&pipeline, 4_000, seed)?;
    for _ in 0..if is_soak() { 10 } else { 1 } {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            load.wait_for_more(500)?;
            server.end(signal)?;
            eventually("/readyz says that no broker answers", || {
                let (ready, text) = readiness(&pipeline)?;
                Ok((!ready && text.contains(server.endpoint())).then_some(()))
            })?;
            server.start()?;
        }
    }
    load.wait_for_more(500)?;
    pipeline.wait_ready("ledger-consumer")?;
    load.end_and_compare(&pipeline).map(drop)
}
