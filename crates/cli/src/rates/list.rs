//! `credits rates list`.

use clap::Args;
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
    tiers: Vec<TierRecord>,
}

pub(crate) async fn list(session: &Session, arguments: &ListArguments) -> Result<(), CliError> {
    let mut tiers = session.ledger().await?.pricing_tiers(arguments.model.as_deref()).await?;
    if let Some(at) = arguments.at {
        tiers = in_force(tiers, at);
    }
    session.output.print(&Answer { tiers }, text)
}

/// The last tiers of each variant that have begun at `at`; `tiers` are by provider, model, variant and date.
fn in_force(tiers: Vec<TierRecord>, at: Timestamp) -> Vec<TierRecord> {
    fn variant(tier: &TierRecord) -> (&str, &str, [Option<&str>; 3]) {
        let texts = [&tier.service_tier, &tier.region, &tier.org_id].map(Option::as_deref);
        (&tier.provider, &tier.model, texts)
    }
    let mut found: Vec<TierRecord> = Vec::new();
    for tier in tiers.into_iter().filter(|tier| tier.effective_from <= at) {
        let outdated = |last: &TierRecord| {
            variant(last) == variant(&tier)
                && (last.effective_from < tier.effective_from || last.hours == tier.hours)
        };
        while found.last().is_some_and(outdated) {
            found.pop();
        }
        found.push(tier);
    }
    found
}

fn text(answer: &Answer) -> String {
    if answer.tiers.is_empty() {
        return "No such price is in force; `credits rates apply FILE` brings prices.".to_owned();
    }
    let lines = answer.tiers.iter().map(|tier| {
        let date = tier.effective_from.to_datetime().filter(|_| tier.effective_from > Timestamp::EARLIEST);
        let variant = [&tier.service_tier, &tier.region, &tier.org_id, &tier.hours];
        let rates = tier.rates.iter().map(|(meter, rate)| format!("{meter} {rate}"));
        let above = tier.above.iter().map(|longer| format!("more above {} tokens", longer.input_tokens));
        [
            tier.provider.clone(),
            tier.model.clone(),
            variant.into_iter().flatten().cloned().collect::<Vec<_>>().join(", "),
            date.map_or_else(String::new, |date| date.format("%Y-%m-%d %H:%M").to_string()),
            rates.chain(above).collect::<Vec<_>>().join(", "),
            tier.currency.clone(),
            tier.revision.clone(),
        ]
    });
    let header = ["provider", "model", "for", "from", "rates", "in", "revision"];
    format!("For a million tokens, or for one of any other unit\n{}", table(header, &[], lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_time_each_variant_has_one_tier() {
        let tier = |model: &str, from: &str, service_tier: Option<&str>| TierRecord {
            name: String::new(),
            provider: "openai".to_owned(),
            model: model.to_owned(),
            aliases: vec![],
            org_id: None,
            service_tier: service_tier.map(str::to_owned),
            region: None,
            hours: None,
            currency: "USD".to_owned(),
            source: None,
            effective_from: from.parse().unwrap(),
            revision: "r1".to_owned(),
            rates: serde_json::from_str(r#"{"input": "1"}"#).unwrap(),
            above: vec![],
        };
        let tiers = vec![
            tier("gpt-5", "2025-08-07T00:00:00Z", None),
            tier("o3", "2025-04-16T00:00:00Z", None),
            tier("o3", "2025-06-10T00:00:00Z", None),
            tier("o3", "2025-04-16T00:00:00Z", Some("batch")),
        ];
        let found = in_force(tiers, "2025-07-01T00:00:00Z".parse().unwrap());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].effective_from.to_string(), "2025-06-10T00:00:00Z");
        assert_eq!(found[1].service_tier.as_deref(), Some("batch"));
    }
}
