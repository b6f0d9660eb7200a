//! `credits ledger checkpoint`: the ledger at one moment, in files, from which a rebuild can begin.

use std::path::PathBuf;

use clap::Args;
use fluxori_ledger::Schema;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::progress;
use crate::session::Session;
use crate::verify::compare_with_log;

#[derive(Debug, Args)]
pub(crate) struct CheckpointArguments {
    /// A new folder for the files
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Also fold the log up to that moment and compare; a rebuild begins at verified checkpoints only
    #[arg(long)]
    verify: bool,
    /// For --verify, read from the archive in this folder what it holds, and only the rest from the log
    #[arg(long, value_name = "FOLDER", requires = "verify")]
    archive: Option<PathBuf>,
    /// The schema of the ledger
    #[arg(long, value_name = "NAME", default_value = "ledger")]
    schema: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    folder: String,
    verified: bool,
    bytes: u64,
    partitions: Vec<PartitionAnswer>,
    tables: Vec<TableAnswer>,
}

#[derive(Debug, Serialize)]
struct PartitionAnswer {
    partition: i32,
    next_offset: i64,
}

#[derive(Debug, Serialize)]
struct TableAnswer {
    table: String,
    rows: u64,
}

pub(crate) async fn run(session: &Session, arguments: &CheckpointArguments) -> Result<(), CliError> {
    let schema = Schema::new(&arguments.schema)?;
    let ledger = session.ledger_in(&schema).await?;
    ledger.check_tables().await?;
    let bar = progress::bytes("writing the checkpoint");
    let taken = ledger.checkpoint(&arguments.to, arguments.verify, |bytes| bar.inc(bytes)).await?;
    bar.finish_and_clear();
    let (mut checkpoint, heads) = taken;
    if let Some(heads) = heads {
        let (source, _) = session.source(arguments.archive.as_deref()).await?;
        let compared = compare_with_log(session, &ledger, &source, &heads, None).await?;
        if let Err(error) = compared.expect_agreement() {
            eprintln!("{}", crate::verify::text(&compared));
            return Err(error);
        }
        checkpoint.mark_verified()?;
    }
    let answer = Answer {
        folder: arguments.to.display().to_string(),
        verified: checkpoint.is_verified(),
        bytes: bar.position(),
        partitions: checkpoint
            .cursors()
            .iter()
            .map(|(partition, next_offset)| PartitionAnswer {
                partition: *partition,
                next_offset: *next_offset,
            })
            .collect(),
        tables: checkpoint
            .tables()
            .map(|(table, rows)| TableAnswer { table: table.to_owned(), rows })
            .collect(),
    };
    session.output.print(&answer, text)
}

fn text(answer: &Answer) -> String {
    let rows = answer.tables.iter().map(|table| [table.table.clone(), table.rows.to_string()]);
    let tables = table(["table", "rows"], &[1], rows);
    let verified = if answer.verified {
        "it is what the log says, and a rebuild may begin there (credits ledger rebuild --from-checkpoint)"
    } else {
        "it was not compared with the log: no rebuild begins there (take one with --verify)"
    };
    format!("{tables}\n\nThe checkpoint in {} has {} bytes; {verified}.", answer.folder, answer.bytes)
}
