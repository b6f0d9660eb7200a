//! `credits rates diff`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fluxori_core::amount::{Factor, Rate};
use fluxori_core::time::Timestamp;
use fluxori_ledger::TierUsage;
use fluxori_rate_card::{Change, Changes, RateCard, RateMove, changes};
use fluxori_runtime::clock;
use serde::Serialize;

use super::check::AgeArguments;
use super::in_force::Age;
use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

/// Lines of one kind that are shown to people; `--output json` has all.
const SHOWN: usize = 30;
/// How far back usage is looked for that had the prices that change.
const LOOKS_BACK: Duration = Duration::from_hours(30 * 24);
/// Most orgs and prices that are answered.
const MOST_AFFECTED: u32 = 1000;

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// The rate card: a file, or a folder such as rates/2026-11
    card: PathBuf,
    #[command(flatten)]
    limit: FactorArguments,
    #[command(flatten)]
    age: AgeArguments,
}

/// By how much a rate may move unasked.
#[derive(Debug, Args)]
pub(crate) struct FactorArguments {
    /// A rate that moves by more than this factor, up or down, or from or to nothing, needs to be confirmed
    #[arg(long, value_name = "FACTOR", default_value = "3")]
    pub(super) factor: Factor,
}

#[derive(Debug, Serialize)]
struct Answer {
    revision: String,
    /// Whether `apply` needs `--confirm`.
    needs_confirmation: bool,
    /// The rates that move by more than the factor.
    beyond: usize,
    age: Age,
    #[serde(flatten)]
    changes: Changes,
    /// Whose usage of the last 30 days had the prices that change; none if that was not found in time.
    affected: Option<Vec<TierUsage>>,
    #[serde(skip)]
    factor: Factor,
}

pub(crate) async fn run(session: &Session, arguments: &DiffArguments) -> Result<(), CliError> {
    let card = RateCard::read(&arguments.card)?;
    let changes = against_in_force(session, &card).await?;
    let factor = arguments.limit.factor;
    let beyond = changes.beyond(factor).count();
    let affected = affected(session, &changes).await?;
    let answer = Answer {
        affected,
        revision: card.revision.to_string(),
        needs_confirmation: beyond > 0,
        beyond,
        age: Age::of(card.issued_at, arguments.age.max_age),
        changes,
        factor,
    };
    session.output.print(&answer, text)
}

/// Whose usage had the prices that change.
async fn affected(session: &Session, changes: &Changes) -> Result<Option<Vec<TierUsage>>, CliError> {
    let mut tiers: Vec<String> = changes.changed.iter().map(|change| change.before.clone()).collect();
    tiers.sort();
    tiers.dedup();
    if tiers.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let since = Timestamp::from(clock::now()).before(LOOKS_BACK);
    Ok(session.ledger().await?.usage_of_tiers(&tiers, since, MOST_AFFECTED).await?)
}

/// What a card would change in what is in force.
pub(super) async fn against_in_force(session: &Session, card: &RateCard) -> Result<Changes, CliError> {
    let before = session.rates().await?;
    changes(&before, card).map_err(|error| {
        CliError::Refused(format!(
            "the card cannot hold beside the prices that are in force: {error}. A model that was in force keeps its name: \
             where that is the clash, take the name out of the other's aliases in the card"
        ))
    })
}

fn text(answer: &Answer) -> String {
    let changes = &answer.changes;
    let mut text = format!("Revision {}: {}", answer.revision, summary(changes, answer.factor));
    if !changes.changed.is_empty() {
        _ = write!(text, "\n\n{}", moves_table(changes.changed.iter().flat_map(moves)));
    }
    match &answer.affected {
        None => text.push_str("\n\nWhose usage had these prices was not found in ten seconds."),
        Some(usage) if usage.is_empty() && !changes.changed.is_empty() => {
            text.push_str("\n\nNobody's usage of the last 30 days had these prices.");
        }
        Some(usage) if usage.is_empty() => (),
        Some(usage) => {
            let rows = usage.iter().take(SHOWN).map(|usage| {
                [
                    usage.org_id.clone(),
                    usage.tier.clone(),
                    usage.events.to_string(),
                    usage.credits.to_string(),
                ]
            });
            let header = ["organization", "had the price", "events", "credits"];
            _ = write!(text, "\n\nUsage of the last 30 days\n{}", table(header, &[2, 3], rows));
        }
    }
    if !changes.moved_names.is_empty() {
        let names = changes.moved_names.iter().take(SHOWN);
        let rows = names.map(|moved| {
            [moved.provider.to_string(), moved.name.to_string(), moved.from.clone(), moved.to.clone()]
        });
        _ = write!(text, "\n\n{}", table(["provider", "name", "means now", "would mean"], &[], rows));
    }
    for (title, names) in [
        ("New models", &changes.new_models),
        ("New prices of known models", &changes.new_tiers),
        ("Prices that would go", &changes.dropped),
    ] {
        if !names.is_empty() {
            _ = write!(text, "\n\n{title}: {}", shortened(names));
        }
    }
    text + &answer.age.text()
}

/// What changes, in one sentence.
pub(super) fn summary(changes: &Changes, factor: Factor) -> String {
    if changes.is_empty() {
        return format!("nothing changes; {} prices are as they were.", changes.same);
    }
    let beyond = changes.beyond(factor).count();
    let warning = if beyond == 0 {
        String::new()
    } else {
        format!(" {beyond} rates move by more than a factor of {factor}, or from or to nothing.")
    };
    format!(
        "{} new models, {} new prices of known models, {} changed prices, {} prices that go, {} names that move; {} prices \
         as they were.{warning}",
        changes.new_models.len(),
        changes.new_tiers.len(),
        changes.changed.len(),
        changes.dropped.len(),
        changes.moved_names.len(),
        changes.same
    )
}

fn moves(change: &Change) -> impl Iterator<Item = (&Change, &RateMove)> {
    change.rates.iter().map(move |rate| (change, rate))
}

/// Rates that move, in a table.
pub(super) fn moves_table<'changes>(
    moves: impl Iterator<Item = (&'changes Change, &'changes RateMove)>,
) -> String {
    let moves: Vec<_> = moves.collect();
    let rate = |rate: Option<Rate>| rate.map_or_else(|| "-".to_owned(), |rate| rate.to_string());
    let rows = moves.iter().take(SHOWN).map(|(change, moved)| {
        let length = if moved.above == 0 { String::new() } else { format!(" above {}", moved.above) };
        [
            change.tier.clone(),
            format!("{}{length}", moved.unit),
            rate(moved.from),
            rate(moved.to),
            moved.factor().map_or_else(|| "-".to_owned(), |factor| format!("× {factor}")),
        ]
    });
    let more = moves.len().saturating_sub(SHOWN);
    let rest = if more == 0 { String::new() } else { format!("\nand {more} more; --output json has all") };
    format!("{}{rest}", table(["price", "unit", "from", "to", "by"], &[2, 3, 4], rows))
}

fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
