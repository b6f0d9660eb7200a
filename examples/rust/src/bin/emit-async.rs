//! Meters one call from async code: `cargo run --bin emit-async`.
//!
//! `cargo xtask demo --keep` prints the variables that it reads.

use std::time::Duration;

use fluxori_emitter::{Emitted, Emitter};
use fluxori_examples::{Error, balance, org, usage_of_a_call};
use fluxori_wire::Position;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let emitter = Emitter::from_env()?; // once per process; clones share it
    let org = org();
    let event = usage_of_a_call(&org)?;

    // What a call site does: no await, because it never blocks, and the event is in the spool on disk when it returns.
    match emitter.emit(event.clone()) {
        Emitted::Accepted(_) | Emitted::Queued => println!("emitted {}", event.event_id),
        Emitted::Rejected { reason, .. } => return Err(reason.into()),
    }
    // The same event again, as one emits it who cannot know whether it was taken. It counts once. Who must know where it
    // lies in the log awaits it.
    let mut receipt = emitter.emit_tracked(event)?;
    let delivered = timeout(PATIENCE, receipt.acknowledged()).await??;

    // The rest blocks: which log it is, the balance in it, and waiting at shutdown until the broker has everything.
    spawn_blocking(move || {
        let log = emitter.log_identity(None, PATIENCE)?.genesis.log_id;
        let position = Position::of(log, delivered.partition, delivered.offset).to_string();
        println!("emitted {} again at {position}", receipt.event_id());
        println!("{org} has {} credits", balance(&org, &position)?);
        Ok(emitter.close(PATIENCE)?)
    })
    .await?
}
