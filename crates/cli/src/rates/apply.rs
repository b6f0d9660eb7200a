//! `credits rates apply`: parts, then the seal that puts them in force, into every partition.
//!
//! Ids, times and bytes of the commands follow from the file alone, so that a run that was cut off is finished by the
//! next, and the same file twice changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use fluxori_core::command::{Command, CommandBody, RatesSeal};
use fluxori_core::digest::Digest;
use fluxori_core::fold::LogIdentity;
use fluxori_core::id::CommandId;
use fluxori_core::rates::{Card, ExchangeRate, ModelRates, Price, ProviderNames, Terms};
use fluxori_ledger::CommandOutcome;
use fluxori_rate_card::{Changes, RateCard};
use fluxori_wire::encode_payload;
use serde::Serialize;
use uuid::Uuid;

use super::check::AgeArguments;
use super::diff::{FactorArguments, against_in_force, moves_table, summary};
use super::in_force::Age;
use crate::command::WaitingArguments;
use crate::error::CliError;
use crate::everywhere::{publish, wait};
use crate::session::Session;

/// Most names and rates in one part: some 2 KB. A change would give the parts of a card applied before another content.
const SIZE_OF_PART: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct ApplyArguments {
    /// The rate card: a file, or a folder such as rates/2026-11
    card: PathBuf,
    /// Only check the file, and show into how many partitions it would go
    #[arg(long)]
    dry_run: bool,
    /// Apply it although rates move by more than --factor
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    limit: FactorArguments,
    #[command(flatten)]
    age: AgeArguments,
    #[command(flatten)]
    waiting: WaitingArguments,
}

#[derive(Debug, Serialize)]
struct Answer {
    revision: String,
    /// Models, providers, terms and exchange rates.
    entries: usize,
    parts: usize,
    partitions: i32,
    /// Partitions into which it was published now, or would be.
    published: usize,
    status: Status,
    age: Age,
    /// What it changes; none where the ledger was not asked.
    changes: Option<Summary>,
}

/// How much a card changes.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    new_models: usize,
    new_prices: usize,
    changed_prices: usize,
    dropped_prices: usize,
    moved_names: usize,
    /// Rates that move by more than the factor.
    beyond: usize,
    #[serde(skip)]
    text: String,
}

impl Summary {
    fn of(changes: &Changes, limit: &FactorArguments) -> Self {
        Self {
            new_models: changes.new_models.len(),
            new_prices: changes.new_tiers.len(),
            changed_prices: changes.changed.len(),
            dropped_prices: changes.dropped.len(),
            moved_names: changes.moved_names.len(),
            beyond: changes.beyond(limit.factor).count(),
            text: summary(changes, limit.factor),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    WouldPublish,
    Published,
    InForce,
    AlreadyInForce,
}

pub(crate) async fn run(session: &Session, arguments: &ApplyArguments) -> Result<(), CliError> {
    let card = RateCard::read(&arguments.card)?;
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let issuer = session.issuer(&log)?;
    let partitions = log.genesis.partitions;
    let commands = commands(&card, &log);
    let seal = Seal::of(&commands)?;
    let ledger = if arguments.waiting.no_wait { None } else { Some(session.ledger().await?) };
    let mut applied = BTreeSet::new();
    if let Some(ledger) = &ledger {
        applied = seal.applied(&card, &ledger.global_outcomes(seal.id).await?)?;
    }
    let missing: Vec<i32> = (0..partitions).filter(|partition| !applied.contains(partition)).collect();
    let mut answer = Answer {
        revision: card.revision.to_string(),
        entries: card.card.len(),
        parts: commands.len() - 1,
        partitions,
        published: missing.len(),
        status: Status::AlreadyInForce,
        age: Age::of(card.issued_at, arguments.age.max_age),
        changes: None,
    };
    if missing.is_empty() {
        return session.output.print(&answer, text);
    }
    if ledger.is_some() {
        let changes = against_in_force(session, &card).await?;
        // A run that was cut off had been confirmed, if it needed to be.
        if applied.is_empty() && !arguments.dry_run {
            confirmed(&changes, arguments)?;
        }
        answer.changes = Some(Summary::of(&changes, &arguments.limit));
    }
    let print = |mut answer: Answer, status| {
        answer.status = status;
        session.output.print(&answer, text)
    };
    if arguments.dry_run {
        return print(answer, Status::WouldPublish);
    }
    let values = commands.iter().map(|command| issuer.sign(command)).collect::<Result<Vec<_>, _>>()?;
    let places = publish(&session.publisher()?, &missing, &values).await?;
    let Some(ledger) = ledger else {
        return print(answer, Status::Published);
    };
    let judge = |outcomes: &[CommandOutcome]| seal.applied(&card, outcomes);
    let what = format!("revision {}", card.revision);
    wait(&ledger, seal.id, &what, judge, &places, arguments.waiting.timeout).await?;
    print(answer, Status::InForce)
}

/// Refuses a card whose rates move by more than the factor, unless that is confirmed.
fn confirmed(changes: &Changes, arguments: &ApplyArguments) -> Result<(), CliError> {
    let factor = arguments.limit.factor;
    if arguments.confirm || changes.beyond(factor).next().is_none() {
        return Ok(());
    }
    Err(CliError::Refused(format!(
        "{}\n\n{}\n\nNothing was published. Look at `credits rates diff`; if that is what you want, give it again with \
         --confirm",
        summary(changes, factor),
        moves_table(changes.beyond(factor))
    )))
}

fn text(answer: &Answer) -> String {
    let (revision, entries) = (&answer.revision, answer.entries);
    let changes =
        answer.changes.as_ref().map_or_else(String::new, |changes| format!("\nIt brings {}", changes.text));
    let sentence = match answer.status {
        Status::WouldPublish => format!(
            "Dry run: nothing was published. The card is right: revision {revision} with {entries} entries. {} records (its \
             parts and its seal) would go into {} of {} partitions.",
            answer.parts + 1,
            answer.published,
            answer.partitions
        ),
        Status::Published => format!(
            "Revision {revision} with {entries} entries is in the log, in {} partitions; the ledger will come to it.",
            answer.partitions
        ),
        Status::InForce => {
            format!(
                "Revision {revision} with {entries} entries is in force in all {} partitions.",
                answer.partitions
            )
        }
        Status::AlreadyInForce => {
            format!(
                "Revision {revision} is already in force in all {} partitions; nothing was changed.",
                answer.partitions
            )
        }
    };
    format!("{sentence}{changes}{}", answer.age.text())
}

/// The commands of a card: its parts, then its seal.
fn commands(card: &RateCard, log: &LogIdentity) -> Vec<Command> {
    let id = |name: &str| {
        Uuid::new_v5(&log.genesis.log_id.0, format!("rates/{}/{name}", card.revision).as_bytes())
    };
    let (parts, seal) = RatesSeal::of(&card.revision, parts(&card.card));
    let parts = parts.into_iter().map(|part| {
        let id = id(&part.index.to_string());
        command(card, id, CommandBody::RatesPart(part))
    });
    parts.chain([command(card, id("seal"), CommandBody::RatesSeal(seal))]).collect()
}

fn command(card: &RateCard, id: Uuid, body: CommandBody) -> Command {
    Command {
        command_id: CommandId(id),
        issued_at: card.issued_at,
        actor: "credits rates apply".to_owned(),
        reason: format!("rate card {}", card.revision),
        reference: card.source.clone(),
        body,
    }
}

/// Bytes of the largest part of a card.
pub(super) fn largest_part(card: &RateCard, parts: &[Card]) -> Result<usize, CliError> {
    let (parts, _) = RatesSeal::of(&card.revision, parts.to_vec());
    let sizes = parts.into_iter().map(|part| {
        let command = command(card, Uuid::nil(), CommandBody::RatesPart(part));
        encode_payload(&command).map(|payload| payload.len())
    });
    Ok(sizes.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or_default())
}

/// The card in small parts: as many models in one as are small enough, all else in one of its own.
pub(super) fn parts(card: &Card) -> Vec<Card> {
    let mut parts = Vec::new();
    let small = |size: &mut usize, added: usize| {
        *size += added;
        let fits = *size <= SIZE_OF_PART;
        if !fits {
            *size = added;
        }
        fits
    };
    macro_rules! split {
        ($field:ident, $size:expr) => {
            let mut size = SIZE_OF_PART;
            for entry in &card.$field {
                if !small(&mut size, $size(entry)) {
                    parts.push(Card::default());
                }
                if let Some(part) = parts.last_mut() {
                    part.$field.push(entry.clone());
                }
            }
        };
    }
    split!(providers, |names: &ProviderNames| 1 + names.aliases.len() + names.falls_back_to.len());
    split!(exchange_rates, |_: &ExchangeRate| 1);
    split!(models, |model: &ModelRates| {
        let rates = |price: &Price| {
            2 + price.rates.len() + price.above.iter().map(|longer| longer.rates.len()).sum::<usize>()
        };
        let names = model.aliases.len() + model.patterns.len() + model.facts.capabilities.len();
        2 + names + model.prices.iter().map(rates).sum::<usize>()
    });
    split!(terms, |_: &Terms| 8);
    parts
}

/// The command that puts the card in force.
struct Seal {
    id: CommandId,
    payload_digest: Digest,
}

impl Seal {
    fn of(commands: &[Command]) -> Result<Self, CliError> {
        let seal = commands.last().ok_or_else(|| CliError::Refused("a card without a seal".to_owned()))?;
        Ok(Self { id: seal.command_id, payload_digest: Digest::of(&encode_payload(seal)?) })
    }

    /// The partitions in which the card is in force.
    fn applied(&self, card: &RateCard, outcomes: &[CommandOutcome]) -> Result<BTreeSet<i32>, CliError> {
        let mut applied = BTreeSet::new();
        for outcome in outcomes {
            if outcome.payload_digest != self.payload_digest {
                return Err(CliError::Refused(format!(
                    "revision {} was applied before with another content, and a revision never changes; give the file \
                     a new revision",
                    card.revision
                )));
            }
            if let Some(rejection) = &outcome.rejection {
                return Err(CliError::Rejected(format!(
                    "{rejection} (partition {}); give the file a new revision and apply it",
                    outcome.partition
                )));
            }
            applied.insert(outcome.partition);
        }
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fluxori_core::command::Genesis;
    use fluxori_core::id::LogId;

    use super::*;

    #[test]
    fn the_same_card_gives_the_same_bytes_in_small_parts() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rates/2026-11");
        let card = RateCard::read(&path).unwrap();
        let genesis =
            Genesis { log_id: LogId(Uuid::nil()), root_key: [0; 32], rules_version: 1, partitions: 8 };
        let log = LogIdentity { genesis, digest: Digest::default() };
        let payloads =
            || commands(&card, &log).iter().map(|c| encode_payload(c).unwrap()).collect::<Vec<_>>();
        assert_eq!(payloads(), payloads());
        assert!(payloads().len() > 2);
        assert!(payloads().iter().all(|payload| payload.len() < 4096));
    }
}
