//! `credits ledger verify`: folds the log in memory and compares the result with Postgres.
//!
//! Cursors and orgs are read from Postgres in one snapshot; every partition is then folded from its first record up to
//! its cursor, so that the ledger may run on meanwhile.

mod compare;
mod fold;

use fluxori_core::amount::Credits;
use fluxori_core::fold::Counters;
use fluxori_core::id::OrgId;
use fluxori_ledger::{Heads, Ledger};
use fluxori_stream::LogReader;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;
use compare::{Difference, compare};
use fold::{Folds, fold};

/// Digests of postings that are fetched at once.
const PAGE: u32 = 10_000;
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
    let folds = fold(&reader, session.pinned(), &heads.cursors, None).await?;
    let mut differences = compare(&heads, &folds.partitions);
    if let Some(first) = differences.iter_mut().find(|difference| difference.org_id.is_some()) {
        first.first_posting = first_posting(session, &ledger, &reader, &heads, first).await?;
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
    for partition in folds.partitions.values() {
        let of_partition = partition.fold.counters();
        counters.records += of_partition.records;
        counters.debited += of_partition.debited;
        counters.commands += of_partition.commands;
        counters.rejected += of_partition.rejected;
        counters.duplicates += of_partition.duplicates;
        counters.quarantined += of_partition.quarantined;
        counters.released += of_partition.released;
        for org in partition.fold.orgs() {
            organizations += 1;
            postings += org.number;
            credits_charged = credits_charged.plus(org.totals.charged)?;
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
            "{counts}\n\nLog and ledger agree: {} partitions, {} organizations, every head and sum.{behind}",
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

/// The first posting of an org that differs: folds its partition once more, and remembers every digest of the org.
async fn first_posting(
    session: &Session,
    ledger: &Ledger,
    reader: &LogReader,
    heads: &Heads,
    difference: &Difference,
) -> Result<Option<i64>, CliError> {
    let Some(org) = difference.org_id.as_deref().and_then(|org| OrgId::new(org).ok()) else {
        return Ok(None);
    };
    let Some(partition) = difference.partition else { return Ok(None) };
    let cursors: Vec<_> =
        heads.cursors.iter().filter(|cursor| cursor.partition == partition).cloned().collect();
    let expected = fold(reader, session.pinned(), &cursors, Some(&org)).await?.digests;
    let mut number = 0;
    let mut expected = expected.iter();
    loop {
        let page = ledger.posting_digests(&org, number, PAGE).await?;
        for (found_number, found) in &page {
            let next = number + 1;
            match expected.next() {
                Some(digest) if *found_number == next && digest == found => number = next,
                // Postings beyond the cursor of the snapshot are none of this comparison.
                None => return Ok(None),
                Some(_) => return Ok(Some(next)),
            }
        }
        if page.is_empty() {
            return Ok(expected.next().map(|_| number + 1));
        }
    }
}
