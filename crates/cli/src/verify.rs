//! `credits ledger verify`: folds the log in memory and compares the result with Postgres.
//!
//! Cursors, orgs and the content of all rows are read from Postgres in one snapshot; every partition is then folded from
//! its first record up to its cursor, so that the ledger may run on meanwhile. Of postings, which are many, only a
//! running digest per org is held on both sides; where these differ, a second pass finds the first posting that does.

mod compare;
mod fold;
mod posting;

use std::path::PathBuf;

use clap::Args;
use fluxori_archive::Source;
use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::fold::Counters;
use fluxori_core::id::OrgId;
use fluxori_core::record::partition_of;
use fluxori_ledger::{Heads, Ledger, Schema};
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
pub(crate) struct Answer {
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
    /// By the log, where only one organization was folded.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<OrganizationAnswer>,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct OrganizationAnswer {
    org_id: String,
    partition: i32,
    number: i64,
    head: Digest,
    balance: Credits,
    overdraft: Credits,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Read from the archive in this folder what it holds, and only the rest from the log
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
    /// Only this organization, which is much faster
    #[arg(long)]
    org: Option<OrgId>,
    /// The schema of the ledger: `ledger`, or one that is being rebuilt
    #[arg(long, value_name = "NAME", default_value = "ledger")]
    schema: String,
}

impl VerifyArguments {
    /// One org of the live ledger.
    pub(crate) fn of_org(org: OrgId, archive: Option<PathBuf>) -> Self {
        Self { archive, org: Some(org), schema: Schema::default().to_string() }
    }
}

pub(crate) async fn run(session: &Session, arguments: &VerifyArguments) -> Result<(), CliError> {
    let schema = Schema::new(&arguments.schema)?;
    let ledger = session.ledger_in(&schema).await?;
    let (source, log) = session.source(arguments.archive.as_deref()).await?;
    let heads = match &arguments.org {
        Some(org) => {
            let partition = partition_of(org.as_str().as_bytes(), log.genesis.partitions);
            ledger.heads_of(org, partition).await?
        }
        None => ledger.heads().await?,
    };
    let answer = compare_with_log(session, &ledger, &source, &heads, arguments.org.as_ref()).await?;
    session.output.print(&answer, text)?;
    answer.expect_agreement()
}

/// Folds the log, or one org's part of it, up to where a ledger was, and compares.
pub(crate) async fn compare_with_log(
    session: &Session,
    ledger: &Ledger,
    source: &Source,
    heads: &Heads,
    org: Option<&OrgId>,
) -> Result<Answer, CliError> {
    let behind = behind(source.log(), heads, org.is_none()).await?;
    let mut folds = fold(source, session.pinned(), &heads.cursors, org).await?;
    if let Some(org) = org {
        folds.contents.keep_org(org);
    }
    let mut differences = compare(heads, &folds, org.is_none());
    if let Some(difference) = differences.iter_mut().find(|difference| difference.what == POSTINGS)
        && let Some(first) = first_posting(session, ledger, source, heads, difference).await?
    {
        *difference = first;
    }
    let mut answer = answer(heads, &folds, behind, differences)?;
    if let Some(org) = org {
        answer.organization = organization(&folds, org)?;
    }
    Ok(answer)
}

/// An org as the log has it; none if it is not open.
fn organization(folds: &Folds, org: &OrgId) -> Result<Option<OrganizationAnswer>, CliError> {
    let found = folds.partitions.iter().find_map(|(partition, fold)| {
        fold.orgs().find(|state| state.org() == org).map(|state| (*partition, state))
    });
    let Some((partition, state)) = found else { return Ok(None) };
    Ok(Some(OrganizationAnswer {
        org_id: org.to_string(),
        partition,
        number: state.record.number,
        head: state.record.head,
        balance: state.balance()?,
        overdraft: state.overdraft()?,
    }))
}

impl Answer {
    /// # Errors
    /// Something differs; says what to do.
    pub(crate) fn expect_agreement(&self) -> Result<(), CliError> {
        if self.agree {
            return Ok(());
        }
        Err(CliError::Differs(format!(
            "the ledger is not what the log says: {} differences; rebuild it (credits ledger rebuild), and keep this \
             database to find out why",
            self.differences.len()
        )))
    }
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
        organization: None,
        differences,
    })
}

pub(crate) fn text(answer: &Answer) -> String {
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
    let counts = match &answer.organization {
        None => counts,
        Some(OrganizationAnswer { org_id, partition, number, head, balance, overdraft }) => format!(
            "{counts}\n\nOrganization {org_id} in partition {partition}, by the log: {number} postings, head {head}, balance \
             {balance}, overdraft {overdraft}."
        ),
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
async fn behind(reader: &LogReader, heads: &Heads, whole: bool) -> Result<i64, CliError> {
    let mut behind = 0;
    for partition in 0..reader.partitions().await? {
        let cursor = heads.cursors.iter().find(|cursor| cursor.partition == partition);
        if !whole && cursor.is_none() {
            continue;
        }
        let next_offset = cursor.map_or(0, |cursor| cursor.cursor.next_offset);
        behind += (reader.watermarks(partition).await?.high - next_offset).max(0);
    }
    Ok(behind)
}
