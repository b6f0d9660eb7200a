//! `credits reprice`: what charges would be at the rates in force, and the commands that make them so.
//!
//! Reads the ledger's charges page by page, prices each with the ledger's own function and the rates of its partition, and
//! keeps what changes. Times, ids and bytes of the commands follow from what they say and from the log, so that the same
//! command twice is one; and a run begins when the ledger has come to all that earlier runs have published, so that it
//! finds only what is still to be done.

mod changes;
mod giver;
mod rates;

use clap::Args;
use fluxori_core::id::{Model, OrgId, Provider, RevisionId};
use fluxori_core::pricing::reprice;
use fluxori_core::time::Timestamp;
use fluxori_ledger::ChargeFilter;
use serde::Serialize;

use crate::command::WaitingArguments;
use crate::error::CliError;
use crate::output::table;
use crate::progress;
use crate::session::Session;
use changes::{Changes, OrgChanges, Sums};
use giver::Giver;
use rates::{Asked, PartitionRates};

/// Charges that are read at once.
const PAGE: u32 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct RepriceArguments {
    /// Only usage of this model, by any name that the rates have for it
    #[arg(long, required_unless_present = "unpriced_only")]
    model: Option<Model>,
    /// Only usage of this provider
    #[arg(long)]
    provider: Option<Provider>,
    /// Only usage from this time on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Timestamp,
    /// Only usage from before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only of this organization; may be given several times
    #[arg(long = "org", value_name = "ORG")]
    orgs: Vec<OrgId>,
    /// Only what is unpriced, provisional or partial as it is now
    #[arg(long)]
    unpriced_only: bool,
    /// The revision of the rates that you have looked at: it must be the one in force
    #[arg(long)]
    revision: RevisionId,
    /// Publish the commands; without this, the run only shows what they would change
    #[arg(long)]
    publish: bool,
    #[command(flatten)]
    saying: SayingArguments,
    #[command(flatten)]
    waiting: WaitingArguments,
}

/// What the commands say of themselves.
#[derive(Debug, Args)]
struct SayingArguments {
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "repriced")]
    reason: String,
    /// What it refers to elsewhere: a ticket
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Who asks for it
    #[arg(long, env = "USER", default_value = "operator", hide_env = true, value_name = "NAME")]
    actor: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    status: Status,
    revision: RevisionId,
    /// Charges that were looked at.
    examined: u64,
    /// Charges that stay as they are because they would be out of range.
    out_of_range: u64,
    /// Commands that were published.
    commands: u64,
    /// Those with charges that change.
    orgs: Vec<OrgChanges>,
    total: Sums,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Preview,
    Published,
    Applied,
}

pub(crate) async fn run(session: &Session, arguments: &RepriceArguments) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let mut giver = None;
    if arguments.publish {
        giver::catch_up(&ledger, &reader, log.genesis.partitions, arguments.waiting.timeout).await?;
        giver = Some(Giver::new(session, &log, arguments).await?);
    }
    let mut rates = PartitionRates::new(session, &ledger, &log, &arguments.revision);
    let asked = Asked::of(arguments, rates.of_partition(0).await?.rates());
    let filter = ChargeFilter {
        orgs: arguments.orgs.clone(),
        models: asked.names(),
        since: arguments.since,
        until: arguments.until,
        incomplete: arguments.unpriced_only,
    };
    let mut changes = Changes::default();
    let mut after = None;
    let progress = progress::counter("looking at charges");
    loop {
        let (page, place) = ledger.charges(&filter, after.as_ref(), PAGE).await?;
        progress.inc(progress::count(page.len()));
        for charge in page {
            let in_force = rates.of_org(&charge.org).await?;
            let before = charge.resolve(in_force.rates())?;
            if !asked.is_asked(&before, in_force.rates()) {
                continue;
            }
            let now = reprice(&before.charge, before.subject(&charge.org), in_force.rates());
            if changes.add(&charge.org, &before.charge, now)?
                && let Some(giver) = &mut giver
            {
                giver.add(&charge.org, (charge.event, before.revision), in_force.sealed_at).await?;
            }
        }
        if place.is_none() {
            break;
        }
        after = place;
    }
    let commands = match giver {
        Some(giver) => giver.finish().await?,
        None => 0,
    };
    progress.finish_and_clear();
    let status = match (arguments.publish, arguments.waiting.no_wait) {
        (false, _) => Status::Preview,
        (true, true) => Status::Published,
        (true, false) => Status::Applied,
    };
    let Changes { examined, out_of_range, orgs, total } = changes;
    let revision = arguments.revision.clone();
    session.output.print(&Answer { status, revision, examined, out_of_range, commands, orgs, total }, text)
}

fn text(answer: &Answer) -> String {
    let Answer { revision, examined, total, commands, .. } = answer;
    let said = match answer.status {
        _ if total.events == 0 => {
            format!(
                "Of {examined} charges none is another at revision {revision}: nothing is to be done.{}",
                beyond(answer)
            )
        }
        Status::Preview => format!(
            "Nothing was published: of {examined} charges, {} would change. Give it again with --publish to make them so.",
            total.events
        ),
        Status::Published => format!("The log has {commands} commands; the ledger will come to them."),
        Status::Applied => {
            format!("The ledger has carried out {commands} commands: {} charges are right now.", total.events)
        }
    };
    if total.events == 0 {
        return said;
    }
    let line = |name: String, sums: &Sums| {
        let change = |before: u64, after: u64| format!("{before} → {after}");
        [
            name,
            sums.events.to_string(),
            change(sums.unpriced_before, sums.unpriced_after),
            change(sums.partial_before, sums.partial_after),
            sums.credits_before.to_string(),
            sums.credits_after.to_string(),
            sums.difference.to_string(),
        ]
    };
    let lines = answer.orgs.iter().map(|org| line(org.org_id.to_string(), &org.sums));
    let header = ["org", "charges", "without a price", "partial", "credits before", "after", "difference"];
    let all = table(header, &[1, 4, 5, 6], lines.chain([line("all".to_owned(), total)]));
    format!("{said}{}\n{all}", beyond(answer))
}

fn beyond(answer: &Answer) -> String {
    match answer.out_of_range {
        0 => String::new(),
        count => format!(" {count} would be out of range and stay as they are."),
    }
}
