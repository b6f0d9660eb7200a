//! `credits rates unpriced`.

use clap::Args;
use fluxori_core::id::{Model, Provider};
use fluxori_core::rates::{Audience, Rates, Variant};
use fluxori_ledger::IncompleteUsage;
use serde::Serialize;

use crate::error::CliError;
use crate::output::{table, time};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct UnpricedArguments {
    /// At most so many models, those with the most events
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct Answer {
    usage: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    usage: IncompleteUsage,
    /// Whether the rates have a price for a plain call by now.
    has_a_price_now: bool,
    /// The names most like it, the nearest first.
    nearest: Vec<Model>,
}

pub(crate) async fn unpriced(session: &Session, arguments: &UnpricedArguments) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let rates = session.rates().await?;
    let usage = ledger.incomplete_usage(arguments.limit).await?;
    let usage = usage.into_iter().map(|usage| Line::of(usage, &rates)).collect();
    session.output.print(&Answer { usage }, text)
}

impl Line {
    fn of(usage: IncompleteUsage, rates: &Rates) -> Self {
        let names = usage.provider.parse::<Provider>().ok().zip(usage.model.parse::<Model>().ok());
        let plain = Variant { org: None, service_tier: None, region: None };
        let (has_a_price_now, nearest) = names.map_or_else(Default::default, |(provider, model)| {
            let found = rates.find(&provider, [&model], plain, usage.last_at).is_some();
            (found, if found { Vec::new() } else { rates.nearest(&provider, &model, Audience::Operator) })
        });
        Self { usage, has_a_price_now, nearest }
    }
}

fn text(answer: &Answer) -> String {
    if answer.usage.is_empty() {
        return "All usage has its full price.".to_owned();
    }
    let lines = answer.usage.iter().map(|line| {
        let usage = &line.usage;
        let nearest: Vec<_> = line.nearest.iter().map(ToString::to_string).collect();
        let remedy = match (usage.status.as_str(), line.has_a_price_now) {
            ("partial", _) => "a unit or service tier is without".to_owned(),
            (_, true) => "has one now: credits reprice".to_owned(),
            (_, false) if nearest.is_empty() => "no name is like it".to_owned(),
            (_, false) => format!("like {}", nearest.join(", ")),
        };
        [
            usage.provider.clone(),
            usage.model.clone(),
            usage.status.clone(),
            usage.events.to_string(),
            usage.orgs.to_string(),
            time(Some(usage.first_at)),
            time(Some(usage.last_at)),
            remedy,
        ]
    });
    let header = ["provider", "model", "charges are", "events", "orgs", "first", "last", "price"];
    table(header, &[3, 4], lines)
}
