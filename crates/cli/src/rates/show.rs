//! `credits rates show`.

use std::fmt::Write as _;

use clap::Args;
use fluxori_core::id::{Model, Provider};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{Audience, ModelEntry, Rates};
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;
use serde::Serialize;

use super::in_force::{Tier, at_time, matched};
use crate::error::CliError;
use crate::output::{table, time};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The model's name, as usage gives it
    model: Model,
    /// Only at this provider, and those whose prices hold for it
    #[arg(long)]
    provider: Option<Provider>,
    /// What holds for usage at this time, such as 2026-11-22T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    at: Timestamp,
    models: Vec<Shown>,
    /// Names like it, where it means no model.
    nearest: Vec<String>,
}

/// What the name means at a provider.
#[derive(Debug, Serialize)]
struct Shown {
    /// The provider that was asked.
    asked: String,
    provider: String,
    model: String,
    /// How the name leads to the model.
    matched: String,
    aliases: Vec<String>,
    patterns: Vec<String>,
    context_window: Option<i64>,
    max_output_tokens: Option<i64>,
    deprecated_at: Option<Timestamp>,
    deprecated: bool,
    capabilities: Vec<String>,
    /// What holds at that time.
    tiers: Vec<Tier>,
    /// Of plain calls: units without a rate of their own, and whose they are charged at.
    fallbacks: Vec<(Meter, Meter)>,
    /// Prices before and after that.
    others: Vec<Tier>,
}

pub(crate) async fn run(session: &Session, arguments: &ShowArguments) -> Result<(), CliError> {
    let rates = session.rates().await?;
    let at = arguments.at.unwrap_or_else(|| clock::now().into());
    let answer = find(&rates, &arguments.model, arguments.provider.as_ref(), at);
    let found = !answer.models.is_empty();
    session.output.print(&answer, text)?;
    if found {
        Ok(())
    } else {
        Err(CliError::Refused(format!("{} means no model that has a price", arguments.model)))
    }
}

fn find(rates: &Rates, name: &Model, provider: Option<&Provider>, at: Timestamp) -> Answer {
    let providers: Vec<Provider> = provider.map_or_else(
        || {
            let mut all: Vec<Provider> =
                rates.models().into_iter().map(|entry| entry.provider.clone()).collect();
            all.dedup();
            all
        },
        |provider| vec![provider.clone()],
    );
    let models: Vec<Shown> = providers
        .iter()
        .filter_map(|asked| {
            let (entry, how) = rates.model(asked, name, Audience::Operator)?;
            // Of all providers only those that have the model themselves.
            let own = provider.is_some() || entry.provider == *asked;
            own.then(|| shown(asked, entry, matched(how), at))
        })
        .collect();
    let mut nearest = Vec::new();
    if models.is_empty() {
        for provider in &providers {
            let names = rates.nearest(provider, name, Audience::Operator).into_iter();
            nearest.extend(names.map(|name| format!("{name} ({provider})")));
        }
        nearest.truncate(5);
    }
    Answer { name: name.to_string(), at, models, nearest }
}

fn shown(asked: &Provider, entry: &ModelEntry, matched: String, at: Timestamp) -> Shown {
    let all = || entry.tiers().map(|tier| &**tier);
    let holding = at_time(all(), at);
    let others = all().filter(|tier| !holding.iter().any(|other| other.name == tier.name));
    let plain = holding.iter().find(|tier| tier.price.variant().service_tier.is_none());
    let fallbacks = plain.into_iter().flat_map(|tier| {
        Meter::rated().filter_map(|meter| {
            let (of, _) = tier.price.rate(meter, 0)?;
            (of != meter).then_some((meter, of))
        })
    });
    Shown {
        asked: asked.to_string(),
        provider: entry.provider.to_string(),
        model: entry.model.to_string(),
        matched,
        aliases: entry.aliases.iter().map(ToString::to_string).collect(),
        patterns: entry.patterns.iter().map(ToString::to_string).collect(),
        context_window: entry.facts.context_window,
        max_output_tokens: entry.facts.max_output_tokens,
        deprecated_at: entry.facts.deprecated_at,
        deprecated: entry.facts.deprecated_at.is_some_and(|date| date <= at),
        capabilities: entry.facts.capabilities.iter().map(ToString::to_string).collect(),
        others: others.map(Tier::from).collect(),
        fallbacks: fallbacks.collect(),
        tiers: holding.iter().map(|tier| Tier::from(*tier)).collect(),
    }
}

fn text(answer: &Answer) -> String {
    if answer.models.is_empty() {
        let near = if answer.nearest.is_empty() {
            String::new()
        } else {
            format!(" Names like it: {}.", answer.nearest.join(", "))
        };
        return format!(
            "No price is in force under the name {}.{near} Its usage is counted and costs nothing until it has a price.",
            answer.name
        );
    }
    let mut text = String::new();
    for model in &answer.models {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&model_text(&answer.name, model));
    }
    text
}

fn model_text(name: &str, model: &Shown) -> String {
    let mut text =
        format!("{name} at {} is {}/{}, by {}.", model.asked, model.provider, model.model, model.matched);
    let mut fact = |what: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            _ = write!(text, "\n{what}: {value}");
        }
    };
    fact("Other names", Some([model.aliases.clone(), model.patterns.clone()].concat().join(", ")));
    fact("Context window", model.context_window.map(|tokens| format!("{tokens} tokens")));
    fact("Most output", model.max_output_tokens.map(|tokens| format!("{tokens} tokens")));
    fact("Can", Some(model.capabilities.join(", ")));
    let word = if model.deprecated { "Withdrawn since" } else { "To be withdrawn" };
    fact(word, model.deprecated_at.map(|at| time(Some(at))));
    let fallbacks: Vec<String> =
        model.fallbacks.iter().map(|(meter, of)| format!("{meter} as {of}")).collect();
    fact("Charged as others", Some(fallbacks.join(", ")));
    let rows = |tiers: &[Tier]| -> Vec<[String; 5]> {
        let row = |tier: &Tier| {
            let source = tier.source.clone().unwrap_or_default();
            [
                tier.kind(),
                tier.since(),
                format!("{} ({})", tier.rates_text(), tier.currency),
                tier.revision.clone(),
                source,
            ]
        };
        tiers.iter().map(row).collect()
    };
    let header = ["for", "from", "for a million tokens, or for one", "revision", "source"];
    if model.tiers.is_empty() {
        text.push_str("\nNo price of it holds at that time.");
    } else {
        _ = write!(text, "\n{}", table(header, &[], rows(&model.tiers)));
    }
    if !model.others.is_empty() {
        _ = write!(text, "\nAt other times\n{}", table(header, &[], rows(&model.others)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::in_force::tests::{CARD, card, put_in_force};

    fn answer(name: &str, provider: Option<&str>, at: &str) -> Answer {
        let rates = put_in_force(&card(CARD));
        let provider = provider.map(|name| name.parse().unwrap());
        find(&rates, &name.parse().unwrap(), provider.as_ref(), at.parse().unwrap())
    }

    #[test]
    fn a_name_is_shown_with_how_it_matches_and_what_held_at_the_time() {
        let answer = answer("o3-latest-2025-04-16", None, "2025-07-01T00:00:00Z");
        let [model] = answer.models.as_slice() else { panic!("{answer:?}") };
        assert_eq!((model.model.as_str(), model.matched.as_str()), ("o3", "a name of it with a date behind"));
        assert_eq!(model.tiers.len(), 2, "plain and batch");
        assert_eq!(model.others.len(), 1);
        let text = text(&answer);
        assert!(text.contains("cache_read as input") && text.contains("input 2 (USD)"), "{text}");
    }

    #[test]
    fn a_name_that_means_nothing_is_answered_with_names_like_it() {
        let answer = answer("o3-latst", Some("openai"), "2025-07-01T00:00:00Z");
        assert!(answer.models.is_empty());
        let text = text(&answer);
        assert!(text.contains("o3-latest (openai)"), "{text}");
    }
}
