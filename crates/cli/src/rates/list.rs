//! `credits rates list`.

use clap::Args;
use fluxori_core::id::{Model, Provider};
use fluxori_core::rates::PricingTier;
use fluxori_core::time::Timestamp;
use serde::Serialize;

use super::in_force::{Tier, at_time};
use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only of this model, or of the model with this alias
    #[arg(long)]
    model: Option<Model>,
    /// Only at this provider, under any of its names
    #[arg(long)]
    provider: Option<Provider>,
    /// Only what holds for usage at this time, such as 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Answer {
    tiers: Vec<Tier>,
}

pub(crate) async fn run(session: &Session, arguments: &ListArguments) -> Result<(), CliError> {
    let rates = session.rates().await?;
    let provider = arguments.provider.as_ref().map(|name| rates.provider(name));
    let tiers = rates.tiers().map(|tier| &**tier).filter(|tier| {
        let named = |name: &Model| tier.model == *name || tier.aliases.contains(name);
        provider.is_none_or(|provider| tier.provider == *provider)
            && arguments.model.as_ref().is_none_or(named)
    });
    let tiers: Vec<&PricingTier> = match arguments.at {
        Some(at) => at_time(tiers, at),
        None => tiers.collect(),
    };
    session.output.print(&Answer { tiers: tiers.into_iter().map(Tier::from).collect() }, text)
}

fn text(answer: &Answer) -> String {
    if answer.tiers.is_empty() {
        return "No such price is in force; `credits rates show MODEL` finds a model by any name, and `credits rates apply \
                FILE` brings prices."
            .to_owned();
    }
    let lines = answer.tiers.iter().map(|tier| {
        [
            tier.provider.clone(),
            tier.model.clone(),
            tier.kind(),
            tier.since(),
            tier.rates_text(),
            tier.currency.clone(),
            tier.revision.clone(),
        ]
    });
    let header = ["provider", "model", "for", "from", "rates", "in", "revision"];
    format!("For a million tokens, or for one of any other unit\n{}", table(header, &[], lines))
}
