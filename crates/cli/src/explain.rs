//! `credits explain`: why was this charged?

use clap::Args;
use fluxori_applier::explain::{
    BurnDown, Contexts, ExplainError, Explanation, PostingLine, Pricing, ReadFrom, explain,
};
use fluxori_core::id::{EventId, OrgId};
use fluxori_ledger::PostingName;

use crate::error::CliError;
use crate::output::{entries, table, time};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The organization
    org: OrgId,
    /// The id of the event, or the number of its posting (`credits transactions`)
    #[arg(value_name = "EVENT|NUMBER", value_parser = posting_name)]
    posting: PostingName,
}

fn posting_name(text: &str) -> Result<PostingName, String> {
    let number = text.parse().map(PostingName::Number);
    number
        .or_else(|_| text.parse::<EventId>().map(PostingName::Event))
        .map_err(|_| "neither the id of an event (a UUID) nor the number of a posting".to_owned())
}

pub(crate) async fn run(session: &Session, arguments: &ExplainArguments) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let org = &arguments.org;
    let contexts = Contexts::new(session.pinned());
    let found = explain(&ledger, &session.reader()?, &contexts, org, arguments.posting).await?;
    let Some(explanation) = found else {
        ledger.organization(org).await?.ok_or_else(|| CliError::not_open(org))?;
        return Err(CliError::Refused(format!(
            "{org} has no such posting; the ledger may not have come to it, or it is in the quarantine (`credits \
             quarantine list`)"
        )));
    };
    session.output.print(&explanation, text)?;
    if explanation.agrees == Some(false) {
        return Err(CliError::Differs("folding the record again does not give what was booked".to_owned()));
    }
    Ok(())
}

fn text(explanation: &Explanation) -> String {
    let posting = &explanation.posting;
    let mut parts = vec![format!(
        "Posting {} of {}: {} of {} credits, effective {} UTC, booked {} UTC.",
        posting.number,
        explanation.org_id,
        posting.kind,
        posting.amount,
        time(Some(posting.effective_at)),
        time(Some(posting.recorded_at)),
    )];
    if let Some(given) = &posting.given {
        parts.push(format!("Given by {}: {}", given.actor, given.reason));
    }
    if let Some(pricing) = &explanation.pricing {
        parts.push(pricing_text(pricing));
    }
    match &explanation.burn_down {
        Some(burn_down) => parts.push(burn_down_text(burn_down)),
        None => parts.push(format!("Entries: {}", entries(&posting.entries))),
    }
    if !explanation.corrections.is_empty() {
        let rows = explanation.corrections.iter().map(correction_row);
        parts.push(format!(
            "Corrected later:\n{}",
            table(["no", "kind", "credits", "booked", "because"], &[0, 2], rows)
        ));
    }
    if let Some(repriced) = &explanation.repriced {
        parts.push(format!("As it was repriced at last:\n{}", pricing_text(repriced)));
    }
    let read_from = match explanation.read_from {
        ReadFrom::Log => "its record in the log",
        ReadFrom::Posting => "the posting's own quantities",
    };
    match explanation.agrees {
        Some(true) => parts.push(format!("Folded again from {read_from}: equal to the posting.")),
        Some(false) => parts.push(format!("Folded again from {read_from}: NOT equal to the posting.")),
        None => {}
    }
    parts.extend(explanation.remarks.iter().map(|remark| format!("Note: {remark}.")));
    parts.join("\n\n")
}

fn pricing_text(pricing: &Pricing) -> String {
    let model = pricing.response_model.as_ref().unwrap_or(&pricing.request_model);
    let mut lines = vec![format!("Usage of {model} at {}: {}.", pricing.provider, pricing.status)];
    match &pricing.tier {
        Some(tier) => {
            lines.push(format!("Tier {}, revision {}", tier.name, tier.revision));
            let how = tier.matched_by.as_ref().zip(tier.matched_name.as_ref());
            lines.extend(how.map(|(by, name)| format!("  found by the name {name} ({by})")));
            let sources = [tier.source.as_ref().map(ToString::to_string), tier.revision_source.clone()];
            let sources: Vec<String> = sources.into_iter().flatten().collect();
            if !sources.is_empty() {
                lines.push(format!("  from {}", sources.join("; ")));
            }
        }
        None if !pricing.nearest.is_empty() => {
            let names: Vec<_> = pricing.nearest.iter().map(ToString::to_string).collect();
            lines.push(format!("No model with a price has this name; the nearest: {}", names.join(", ")));
        }
        None => {}
    }
    if let Some(length) = pricing.above_input_tokens {
        lines.push(format!(
            "{} input tokens are more than {length}: the rates above it hold",
            pricing.context_tokens
        ));
    }
    let rows = pricing.lines.iter().map(|line| {
        let per = if line.per == 1 { "each".to_owned() } else { format!("per {}", line.per) };
        let of = line.rate_of.map_or_else(String::new, |of| format!(" (that of {of})"));
        let rate = line.rate.map_or_else(|| "no rate".to_owned(), |rate| format!("{rate} {per}{of}"));
        [line.meter.to_string(), line.quantity.0.to_string(), rate, line.cost.clone()]
    });
    let currency = pricing.currency.to_string();
    lines.push(table(["unit", "quantity", &format!("rate in {currency}"), &currency], &[1, 3], rows));
    let terms = &pricing.terms;
    let exchange = terms.exchange_rate.map_or_else(String::new, |rate| format!(" x {rate} USD"));
    lines.push(format!(
        "{} {currency}{exchange} x {} credits per USD x {} markup, at least {}, rounded {} to {} places = {} credits",
        pricing.exact_cost,
        terms.credits_per_usd,
        terms.markup,
        terms.minimum,
        terms.rounding.rule.as_str(),
        terms.rounding.places,
        pricing.credits,
    ));
    if !terms.from.is_empty() {
        lines.push(format!("Terms for: {}", terms.from.join("; ")));
    }
    lines.join("\n")
}

fn burn_down_text(burn_down: &BurnDown) -> String {
    let rows = burn_down.considered.iter().map(|line| {
        let skipped = line.skipped.and_then(|skipped| serde_json::to_value(skipped).ok());
        let skipped = skipped.and_then(|value| value.as_str().map(|text| text.replace('_', " ")));
        [
            line.allocation_id.clone(),
            line.user_id.clone().unwrap_or_else(|| "(organization)".to_owned()),
            line.kind.to_owned(),
            line.priority.to_string(),
            line.expires_at.map_or_else(|| "never".to_owned(), |at| time(Some(at))),
            line.held.to_string(),
            line.taken.to_string(),
            skipped.unwrap_or_default(),
        ]
    });
    let header = ["allocation", "account", "kind", "priority", "until", "held", "taken", "skipped because"];
    format!(
        "Allocations considered, in order:\n{}\nEntries: {}",
        table(header, &[3, 5, 6], rows),
        entries(&burn_down.entries)
    )
}

fn correction_row(line: &PostingLine) -> [String; 5] {
    let because = line.given.as_ref().map_or_else(
        || "a later event of the same id".to_owned(),
        |given| format!("{} by {}: {}", given.kind, given.actor, given.reason),
    );
    [
        line.number.to_string(),
        line.kind.clone(),
        line.amount.to_string(),
        time(Some(line.recorded_at)),
        because,
    ]
}

impl From<ExplainError> for CliError {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Ledger(error) => error.into(),
            ExplainError::Stream(error) => error.into(),
            ExplainError::Log(error) => error.into(),
            ExplainError::Fault(_) => Self::Refused(error.to_string()),
        }
    }
}
