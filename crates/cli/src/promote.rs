//! `credits ledger promote`: puts a rebuilt ledger in the live one's place, while usage flows.
//!
//! The rebuilt ledger is first brought close to the live one, which runs on. Then the live ledger's commits are held up,
//! the last records applied, both compared, and the schemas renamed, all within seconds; where that takes longer, the live
//! ledger is let go and all of it tried again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use fluxori_ledger::{Promoted, Promotion, RebuildLock};
use serde::Serialize;

use crate::error::CliError;
use crate::rebuild::{self, Rebuilder};
use crate::session::Session;

/// For so long the live ledger is held up at most, so that it ends before whoever wants to take a partition over loses
/// patience (5 s).
const HELD: Duration = Duration::from_secs(3);
/// A pass that took less has brought the rebuilt ledger close enough.
const CLOSE: Duration = Duration::from_secs(1);
/// So often it is tried again.
const TRIES: u32 = 20;
/// Passes before each try; each is shorter than the one before, if a rebuild can keep up at all.
const PASSES: u32 = 30;

#[derive(Debug, Args)]
pub(crate) struct PromoteArguments {
    /// The schema of the rebuilt ledger
    #[arg(long, value_name = "NAME", default_value = rebuild::SCHEMA)]
    schema: String,
    /// Read from the archive in this folder what it holds, and only the rest from the log
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
    /// Also where the rebuilt ledger says otherwise than the live one, or has applied more of the log
    #[arg(long)]
    accept_differences: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    /// The schema that is the ledger now had this name.
    promoted: String,
    /// The former ledger has this name now.
    former: String,
    /// Partitions whose writers take over again.
    fenced: u64,
    /// For how long commits were held up.
    held_up_ms: u128,
}

pub(crate) async fn run(session: &Session, arguments: &PromoteArguments) -> Result<(), CliError> {
    let (source, log) = session.source(arguments.archive.as_deref()).await?;
    let (url, schema) = (session.owner_url()?, rebuild::schema(&arguments.schema)?);
    let _lock = RebuildLock::take(url, &schema).await?;
    let mut rebuilder = Rebuilder::take_over(session, source, log.digest, &schema).await?;
    for _ in 0..TRIES {
        approach(session, &mut rebuilder).await?;
        let started = Instant::now();
        let promotion = Promotion::begin(url, &schema).await?;
        let targets: BTreeMap<i32, i64> =
            promotion.cursors().iter().map(|cursor| (cursor.partition, cursor.cursor.next_offset)).collect();
        if !arguments.accept_differences && is_ahead(&rebuilder, &targets) {
            drop(promotion);
            tokio::time::sleep(CLOSE).await;
            continue;
        }
        let applying = rebuilder.apply_up_to(&targets);
        tokio::pin!(applying);
        // What is under way is never broken off: it would have to be taken over again.
        if let Ok(applied) = tokio::time::timeout(HELD, &mut applying).await {
            applied?;
        } else {
            drop(promotion);
            applying.await?;
            continue;
        }
        let Promoted { former, fenced } = promotion.finish(arguments.accept_differences).await?;
        let answer = Answer {
            promoted: schema.to_string(),
            former: former.to_string(),
            fenced,
            held_up_ms: started.elapsed().as_millis(),
        };
        return session.output.print(&answer, text);
    }
    Err(CliError::NotYet(format!(
        "{schema} was not promoted: in {TRIES} tries it did not come to stand where the live ledger does, within {} s each; \
         is the ledger consumer running, and the load such that a rebuild can keep up? Nothing has changed",
        HELD.as_secs()
    )))
}

/// Applies what the live ledger has applied meanwhile, until little is left.
async fn approach(session: &Session, rebuilder: &mut Rebuilder) -> Result<(), CliError> {
    for _ in 0..PASSES {
        let (started, targets) = (Instant::now(), rebuilder.targets(session).await?);
        rebuilder.apply_up_to(&targets).await?;
        if started.elapsed() < CLOSE {
            break;
        }
    }
    Ok(())
}

/// Whether the rebuilt ledger has applied more than the live one, which must come there first.
fn is_ahead(rebuilder: &Rebuilder, live: &BTreeMap<i32, i64>) -> bool {
    rebuilder
        .offsets()
        .into_iter()
        .any(|(partition, next_offset)| next_offset > live.get(&partition).copied().unwrap_or_default())
}

fn text(answer: &Answer) -> String {
    let Answer { promoted, former, fenced, held_up_ms } = answer;
    format!(
        "Schema {promoted} is the ledger now. Commits were held up for {held_up_ms} ms; the writers of {fenced} partitions \
         go on in it.\n\nThe former ledger is schema {former}, which nobody writes any more. The way back: credits ledger \
         promote --schema {former}"
    )
}
