//! `credits ledger rebuild`: folds the log into a fresh schema beside the live ledger, up to where that is.
//!
//! The records go through the code that the ledger consumer runs, `fluxori_applier`, partition by partition, two at a
//! time. Each batch moves the cursor in its own transaction, so a run that died is gone on with by the next.

mod rebuilder;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fluxori_core::id::OrgId;
use fluxori_ledger::{Checkpoint, Ledger, RebuildLock, Schema};
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;
use crate::verify::{self, VerifyArguments};
use crate::{progress, session};

pub(crate) use rebuilder::Rebuilder;

/// Where ledgers are rebuilt unless told otherwise.
pub(crate) const SCHEMA: &str = "ledger_rebuild";

#[derive(Debug, Args)]
pub(crate) struct RebuildArguments {
    /// Fold one organization in memory and compare it with what is stored; writes nothing
    #[arg(long, conflicts_with_all = ["schema", "from_checkpoint"])]
    org: Option<OrgId>,
    /// The schema to rebuild into; made if it is missing
    #[arg(long, value_name = "NAME", default_value = SCHEMA)]
    schema: String,
    /// Read from the archive in this folder what it holds, and only the rest from the log
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
    /// Begin at this verified checkpoint rather than at the genesis
    #[arg(long, value_name = "FOLDER")]
    from_checkpoint: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer {
    schema: String,
    /// Records that this run applied.
    records: i64,
    seconds: f64,
    records_per_s: f64,
    partitions: Vec<PartitionAnswer>,
}

#[derive(Debug, Serialize)]
struct PartitionAnswer {
    partition: i32,
    /// Where this run began.
    began_at: i64,
    next_offset: i64,
    /// Records that the log holds beyond.
    behind: i64,
}

pub(crate) async fn run(session: &Session, arguments: &RebuildArguments) -> Result<(), CliError> {
    if let Some(org) = &arguments.org {
        let of_org = VerifyArguments::of_org(org.clone(), arguments.archive.clone());
        return verify::run(session, &of_org).await;
    }
    let (source, log) = session.source(arguments.archive.as_deref()).await?;
    let (url, schema) = (session.owner_url()?, schema(&arguments.schema)?);
    let _lock = RebuildLock::take(url, &schema).await?;
    Ledger::migrate(url, &schema).await?;
    if let Some(folder) = &arguments.from_checkpoint {
        restore(url, &schema, &Checkpoint::open(folder)?).await?;
    }
    let mut rebuilder = Rebuilder::take_over(session, source, log.digest, &schema).await?;
    let began_at = rebuilder.offsets();
    let (started, targets) = (Instant::now(), rebuilder.targets(session).await?);
    rebuilder.apply_up_to(&targets).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut partitions = Vec::new();
    for (partition, next_offset) in rebuilder.offsets() {
        let high = session::watermarks(rebuilder.log(), partition).await?.high;
        let began_at = began_at.get(&partition).copied().unwrap_or_default();
        let behind = (high - next_offset).max(0);
        partitions.push(PartitionAnswer { partition, began_at, next_offset, behind });
    }
    let records: i64 = partitions.iter().map(|partition| partition.next_offset - partition.began_at).sum();
    let records_per_s = rate(records, seconds);
    let answer = Answer { schema: schema.to_string(), records, seconds, records_per_s, partitions };
    session.output.print(&answer, text)
}

/// The schema to rebuild into, which is never the live one.
pub(crate) fn schema(name: &str) -> Result<Schema, CliError> {
    let schema = Schema::new(name)?;
    if schema == Schema::default() {
        return Err(CliError::Refused(format!("{schema} is the live ledger; rebuild into another schema")));
    }
    Ok(schema)
}

/// Fills the schema from a checkpoint, unless a run before has begun already.
async fn restore(url: &str, schema: &Schema, checkpoint: &Checkpoint) -> Result<(), CliError> {
    if !checkpoint.is_verified() {
        return Err(CliError::Refused(
            "the checkpoint was never compared with the log: take one with `credits ledger checkpoint --verify`"
                .to_owned(),
        ));
    }
    let ledger = Ledger::connect_to(url, schema, 1).await?;
    if !ledger.cursors().await?.is_empty() {
        return Ok(());
    }
    let bar = progress::bytes("restoring the checkpoint");
    ledger.restore(checkpoint, |bytes| bar.inc(bytes)).await?;
    bar.finish_and_clear();
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(records: i64, seconds: f64) -> f64 {
    if seconds > 0.0 { (records as f64 / seconds).round() } else { 0.0 }
}

fn text(answer: &Answer) -> String {
    let rows = answer.partitions.iter().map(|partition| {
        [
            partition.partition.to_string(),
            partition.began_at.to_string(),
            partition.next_offset.to_string(),
            partition.behind.to_string(),
        ]
    });
    let partitions = table(["partition", "began at", "is at", "more in the log"], &[0, 1, 2, 3], rows);
    let Answer { schema, records, seconds, records_per_s, .. } = answer;
    format!(
        "{partitions}\n\n{records} records were applied to schema {schema} in {seconds:.1} s ({records_per_s} per second); \
         it is where the live ledger was.\n\nCompare it with the log:    credits ledger verify --schema {schema}\nPut it \
         in the live one's place: credits ledger promote --schema {schema}"
    )
}
