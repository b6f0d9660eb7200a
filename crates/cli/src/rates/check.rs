//! `credits rates check`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fluxori_rate_card::{RateCard, Source};
use serde::Serialize;

use super::apply::{largest_part, parts};
use super::in_force::Age;
use crate::error::CliError;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The rate card: a file, or a folder such as rates/2026-11
    card: PathBuf,
    #[command(flatten)]
    age: AgeArguments,
}

/// How old a card may be before that is said.
#[derive(Debug, Args)]
pub(crate) struct AgeArguments {
    /// Say that a card is stale when it is older than this
    #[arg(long, value_name = "SPAN", default_value = "45d", value_parser = crate::duration::parse)]
    pub(super) max_age: Duration,
}

#[derive(Debug, Serialize)]
struct Answer {
    revision: String,
    issued_at: String,
    sources: Vec<Source>,
    providers: usize,
    models: usize,
    prices: usize,
    terms: usize,
    exchange_rates: usize,
    /// Records that it goes into the log as, beside its seal.
    parts: usize,
    /// Bytes of the largest of them.
    largest_part: usize,
    age: Age,
}

pub(crate) fn run(session: &Session, arguments: &CheckArguments) -> Result<(), CliError> {
    let card = RateCard::read(&arguments.card)?;
    let parts = parts(&card.card);
    let answer = Answer {
        revision: card.revision.to_string(),
        issued_at: card.issued_at.to_string(),
        providers: card.card.providers.len(),
        models: card.card.models.len(),
        prices: card.card.models.iter().map(|model| model.prices.len()).sum(),
        terms: card.card.terms.len(),
        exchange_rates: card.card.exchange_rates.len(),
        largest_part: largest_part(&card, &parts)?,
        parts: parts.len(),
        age: Age::of(card.issued_at, arguments.age.max_age),
        sources: card.sources,
    };
    session.output.print(&answer, text)
}

fn text(answer: &Answer) -> String {
    let sources: Vec<String> = answer
        .sources
        .iter()
        .map(|source| format!("{} ({}, {})", source.name, source.owner, source.licence))
        .collect();
    let sources =
        if sources.is_empty() { String::new() } else { format!("\nSources: {}.", sources.join("; ")) };
    format!(
        "The card is right: revision {} of {}, {} days old, with {} prices of {} models, {} providers, {} terms and {} \
         exchange rates. It goes into each partition in {} parts of at most {} bytes and a seal.{sources}{}",
        answer.revision,
        answer.issued_at,
        answer.age.days,
        answer.prices,
        answer.models,
        answer.providers,
        answer.terms,
        answer.exchange_rates,
        answer.parts,
        answer.largest_part,
        answer.age.text(),
    )
}
