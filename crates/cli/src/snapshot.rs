//! The fold of one partition as the ledger has it at one moment: to fold on from there in memory, or to look at it.

use fluxori_core::digest::Digest;
use fluxori_core::fold::{PartitionFold, Past};
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{Ledger, Loaded, Needed, WaitingRecord};
use serde::Serialize;

use crate::error::CliError;
use crate::session::Session;

/// A fold, what it knows of the past, and where in the log it is.
pub(crate) struct Snapshot {
    pub(crate) fold: PartitionFold,
    pub(crate) past: Past,
    pub(crate) as_of: AsOf,
}

/// Where in the log the ledger was.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AsOf {
    pub(crate) partition: i32,
    /// Offset of the next record to be applied.
    pub(crate) next_offset: i64,
    /// The log's time up to there.
    pub(crate) log_time: Timestamp,
}

impl Snapshot {
    /// Reads context, cursor and what is needed in one transaction.
    pub(crate) async fn read(
        session: &Session,
        ledger: &Ledger,
        partition: i32,
        needed: &Needed,
    ) -> Result<Self, CliError> {
        let snapshot = ledger.fold_snapshot(partition, needed).await?;
        let Some(cursor) = snapshot.cursor.map(|found| found.cursor) else {
            return Err(CliError::Refused(format!(
                "the ledger has applied nothing of partition {partition} yet; start ledger-consumer"
            )));
        };
        let mut context = session.context(partition, &snapshot.globals)?;
        context.resume_at(cursor.log_time);
        let mut fold = PartitionFold::new(context, cursor.counters, cursor.outcomes);
        let past = remember(&mut fold, needed, snapshot.loaded)?;
        let as_of = AsOf { partition, next_offset: cursor.next_offset, log_time: cursor.log_time };
        Ok(Self { fold, past, as_of })
    }
}

/// Puts in place what was loaded; what is known of the past comes out.
fn remember(fold: &mut PartitionFold, needed: &Needed, loaded: Loaded) -> Result<Past, CliError> {
    let mut past = Past::default();
    for mut state in loaded.orgs {
        let org = state.org().clone();
        let own = loaded.closed.iter().filter(|(of, _)| *of == org);
        state.remember_closed(own.map(|(_, allocation)| allocation.clone()));
        past.add_open_org(org);
        fold.load(state);
    }
    for (org, event) in &needed.watched {
        fold.watch(&mut past, org, *event);
    }
    for waiting in &loaded.waiting {
        if let Body::Usage(event) = body(waiting)
            && !past.is_open(&event.org_id)
        {
            past.add_waiting(event);
        }
    }
    for waiting in &loaded.waiting_corrections {
        if let Body::Command(signed) = body(waiting) {
            past.add_waiting_correction(signed.command, Digest::of(&signed.payload));
        }
    }
    for quarantined in &loaded.quarantined {
        if let Body::Usage(event) = body(quarantined) {
            past.add_quarantined(event);
        }
    }
    for (org, event, known) in loaded.events {
        past.add_event(org, event, known);
    }
    for (org, command, digest) in loaded.commands {
        past.add_command(org, command, digest);
    }
    for charge in loaded.charges {
        let usage = charge.resolve(fold.context().rates())?;
        past.add_charged(charge.org.clone(), charge.event, usage);
        fold.load_split(charge.org, charge.event, charge.split);
    }
    Ok(past)
}

fn body(record: &WaitingRecord) -> Body {
    fluxori_wire::decode(record.key.as_deref(), record.value.as_deref(), record.append_time).body
}
