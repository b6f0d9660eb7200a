//! `credits ledger verify`: folds the log in memory and compares the result with Postgres.
//!
//! Cursors, orgs and the content of all rows are read from Postgres in one snapshot; every partition is then folded from
//! its first record up to its cursor, so that the ledger may run on meanwhile. Of postings, which are many, only a
//! running digest per org is held on both sides; where these differ, a second pass finds the first posting that does.

mod compare;
mod fold;
mod posting;

use fluxori_core::amount::Credits;
use fluxori_core::fold::Counters;
use fluxori_ledger::Heads;
use fluxori_stream::LogReader;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;
use compare::{Difference, POSTINGS, compare};
use fold::{Folds, fold};
use posting::first_posting;

/// Differences that are shown to people.
const SHOWN: usize = 10;

#[derive(Debug, Serialize)]
struct Answer {
    agree: bool,
    records: i64,
    debited: i64,
    commands: i64,
    rejected: i64,
    duplicates: i64,
    quarantined: i64,
    released: i64,
    organizations: usize,
    postings: i64,
    credits_charged: Credits,
    /// Records that the log holds and the ledger has not come to.
    behind: i64,
    partitions: usize,
    differences: Vec<Difference>,
}

pub(crate) async fn run(session: &Session) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let reader = session.reader()?;
    session.log(&reader).await?;
    let heads = ledger.heads().await?;
    let behind = behind(&reader, &heads).await?;
    let folds = fold(&reader, session.pinned(), &heads.cursors).await?;
    let mut differences = compare(&heads, &folds);
    if let Some(difference) = differences.iter_mut().find(|difference| difference.what == POSTINGS)
        && let Some(first) = first_posting(session, &ledger, &reader, &heads, difference).await?
    {
        *difference = first;
    }
    let answer = answer(&heads, &folds, behind, differences)?;
    session.output.print(&answer, text)?;
    if answer.agree {
        return Ok(());
    }
    Err(CliError::Differs(format!(
        "the ledger is not what the log says: {} differences; rebuild it, and keep this database to find out why",
        answer.differences.len()
    )))
}

fn answer(
    heads: &Heads,
    folds: &Folds,
    behind: i64,
    differences: Vec<Difference>,
) -> Result<Answer, CliError> {
    let mut counters = Counters::default();
    let (mut organizations, mut postings, mut credits_charged) = (0, 0, Credits::ZERO);
    for fold in folds.partitions.values() {
        let of_partition = fold.counters();
        counters.records += of_partition.records;
        counters.debited += of_partition.debited;
        counters.commands += of_partition.commands;
        counters.rejected += of_partition.rejected;
        counters.duplicates += of_partition.duplicates;
        counters.quarantined += of_partition.quarantined;
        counters.released += of_partition.released;
        counters.superseded += of_partition.superseded;
        for org in fold.orgs() {
            organizations += 1;
            postings += org.record.number;
            credits_charged = credits_charged.plus(org.record.totals.charged)?;
        }
    }
    Ok(Answer {
        agree: differences.is_empty(),
        records: counters.records,
        debited: counters.debited,
        commands: counters.commands,
        rejected: counters.rejected,
        duplicates: counters.duplicates,
        quarantined: counters.quarantined,
        released: counters.released,
        organizations,
        postings,
        credits_charged,
        behind,
        partitions: heads.cursors.len(),
        differences,
    })
}

fn text(answer: &Answer) -> String {
    let counts = table(
        ["in the log, up to the ledger's cursor", "count"],
        &[1],
        [
            ["records".to_owned(), answer.records.to_string()],
            ["usage debited".to_owned(), answer.debited.to_string()],
            ["commands carried out".to_owned(), answer.commands.to_string()],
            ["commands rejected".to_owned(), answer.rejected.to_string()],
            ["duplicates".to_owned(), answer.duplicates.to_string()],
            ["quarantined, later released".to_owned(), answer.released.to_string()],
            ["quarantined, all".to_owned(), answer.quarantined.to_string()],
            ["organizations".to_owned(), answer.organizations.to_string()],
            ["postings".to_owned(), answer.postings.to_string()],
            ["credits charged".to_owned(), answer.credits_charged.to_string()],
        ],
    );
    let behind = match answer.behind {
        0 => String::new(),
        behind => format!("\nThe log holds {behind} records more, which the ledger has not come to yet."),
    };
    if answer.agree {
        return format!(
            "{counts}\n\nLog and ledger agree: {} partitions, {} organizations, every row, head and sum.{behind}",
            answer.partitions, answer.organizations
        );
    }
    let shown: Vec<String> = answer.differences.iter().take(SHOWN).map(|d| format!("- {d}")).collect();
    let more = answer.differences.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!("{counts}\n\nLog and ledger differ:\n{}{more}{behind}", shown.join("\n"))
}

/// How many records the log holds beyond the cursors.
async fn behind(reader: &LogReader, heads: &Heads) -> Result<i64, CliError> {
    let mut behind = 0;
    for partition in 0..reader.partitions().await? {
        let cursor = heads.cursors.iter().find(|cursor| cursor.partition == partition);
        let next_offset = cursor.map_or(0, |cursor| cursor.cursor.next_offset);
        behind += (reader.watermarks(partition).await?.high - next_offset).max(0);
    }
    Ok(behind)
}
