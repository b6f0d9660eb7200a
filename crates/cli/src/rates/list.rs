//! `credits rates list`.

use clap::Args;
use fluxori_core::amount::Usd;
use fluxori_core::rates::TokenPrices;
use fluxori_core::time::Timestamp;
use fluxori_ledger::TierRecord;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only of this model, or of the model with this alias
    #[arg(long)]
    model: Option<String>,
    /// Only what holds for usage at this time, such as 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Answer {
    tiers: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    provider: String,
    model: String,
    aliases: Vec<String>,
    effective_from: Timestamp,
    revision: String,
    usd_per_million_tokens: TokenPrices,
}

pub(crate) async fn list(session: &Session, arguments: &ListArguments) -> Result<(), CliError> {
    let mut tiers = session.ledger().await?.pricing_tiers(arguments.model.as_deref()).await?;
    if let Some(at) = arguments.at {
        tiers = in_force(tiers, at);
    }
    let answer = Answer { tiers: tiers.into_iter().map(line).collect() };
    session.output.print(&answer, text)
}

/// The last tier of each model that has begun at `at`; `tiers` are by provider, model and date.
fn in_force(tiers: Vec<TierRecord>, at: Timestamp) -> Vec<TierRecord> {
    let mut found: Vec<TierRecord> = Vec::new();
    for tier in tiers.into_iter().filter(|tier| tier.effective_from <= at) {
        match found.last_mut().filter(|last| last.provider == tier.provider && last.model == tier.model) {
            Some(last) => *last = tier,
            None => found.push(tier),
        }
    }
    found
}

fn line(tier: TierRecord) -> Line {
    Line {
        provider: tier.provider,
        model: tier.model,
        aliases: tier.aliases,
        effective_from: tier.effective_from,
        revision: tier.revision,
        usd_per_million_tokens: tier.usd_per_million_tokens,
    }
}

fn text(answer: &Answer) -> String {
    if answer.tiers.is_empty() {
        return "No such price is in force; `credits rates apply FILE` brings prices.".to_owned();
    }
    let price = |price: Option<Usd>| price.map_or_else(|| "-".to_owned(), |price| price.to_string());
    let lines = answer.tiers.iter().map(|line| {
        let prices = &line.usd_per_million_tokens;
        let date = line.effective_from.to_datetime();
        [
            line.provider.clone(),
            line.model.clone(),
            date.map_or_else(String::new, |date| date.format("%Y-%m-%d %H:%M").to_string()),
            price(Some(prices.input)),
            price(prices.output),
            price(prices.cache_read),
            price(prices.cache_write_5m),
            price(prices.cache_write_1h),
            line.revision.clone(),
        ]
    });
    let header = [
        "provider",
        "model",
        "from",
        "input",
        "output",
        "cache read",
        "write 5 min",
        "write 1 h",
        "revision",
    ];
    format!(
        "US dollars per million tokens; 1 USD is 1,000 credits\n{}",
        table(header, &[3, 4, 5, 6, 7], lines)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_time_each_model_has_one_tier() {
        let tier = |model: &str, from: &str| TierRecord {
            provider: "openai".to_owned(),
            model: model.to_owned(),
            aliases: vec![],
            effective_from: from.parse().unwrap(),
            revision: "r1".to_owned(),
            usd_per_million_tokens: serde_json::from_str(r#"{"input": "1"}"#).unwrap(),
        };
        let tiers = vec![
            tier("gpt-5", "2025-08-07T00:00:00Z"),
            tier("o3", "2025-04-16T00:00:00Z"),
            tier("o3", "2025-06-10T00:00:00Z"),
        ];
        let found = in_force(tiers, "2025-07-01T00:00:00Z".parse().unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].effective_from.to_string(), "2025-06-10T00:00:00Z");
    }
}
