//! What a load is made of: orgs with a grant, and usage with what it costs by this file's own arithmetic.

use anyhow::{Context, Result, ensure};
use fluxori_core::command::{Account, AllocationKind, Command, CommandBody, Grant, Scope};
use fluxori_core::id::{CommandId, EventId, Model, Module, OrgId, Provider};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_wire::Issuer;
use rand::RngExt as _;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::ago;

/// What each org is granted at the beginning, in millionths of a credit: a million credits.
pub(super) const GRANTED: i64 = 1_000_000_000_000;
/// Models, and what a token costs in millionths of a credit: uncached input, cached input, output. A dollar is 1,000
/// credits, so a price of 1.25 dollars per million tokens is 1,250 of these.
const MODELS: [(&str, i64, i64, i64); 3] =
    [("gpt-5", 1_250, 125, 10_000), ("gpt-5-mini", 250, 25, 2_000), ("gpt-5-nano", 50, 5, 400)];

/// A signed grant that opens an org, as the value of a record.
///
/// # Errors
/// The name cannot be an org's.
pub fn opening(issuer: &Issuer, org: &str) -> Result<Vec<u8>> {
    let command = Command {
        command_id: CommandId(Uuid::now_v7()),
        issued_at: ago(0).parse()?,
        actor: "load".to_owned(),
        reason: "test".to_owned(),
        reference: None,
        body: CommandBody::Grant(
            OrgId::new(org)?,
            Grant {
                account: Account::Organization,
                kind: AllocationKind::Prepaid,
                amount: (GRANTED / 1_000_000).to_string().parse()?,
                effective_at: ago(24 * 3600).parse::<Timestamp>()?,
                expires_at: None,
                priority: 0,
                scope: Scope::default(),
                purchased: false,
                period: None,
            },
        ),
    };
    Ok(issuer.sign(&command)?)
}

/// An event of some minutes ago, and what it costs in millionths of a credit.
///
/// # Errors
/// An id that cannot be.
pub fn event(org: &str, random: &mut StdRng) -> Result<(UsageEvent, i64)> {
    let &(model, input, cached, output) =
        MODELS.get(random.random_range(0..MODELS.len())).context("no model")?;
    let mut fields = UsageFields::new(
        EventId(Uuid::now_v7()),
        ago(random.random_range(1..600)).parse()?,
        OrgId::new(org)?,
        Module::new("rag-retrieval")?,
        Provider::new("openai")?,
        Model::new(model)?,
    );
    fields.input_tokens = random.random_range(1..2_000);
    fields.cache_read_input_tokens = random.random_range(0..=fields.input_tokens);
    fields.output_tokens = random.random_range(0..500);
    let uncached = fields.input_tokens - fields.cache_read_input_tokens;
    let credits = uncached * input + fields.cache_read_input_tokens * cached + fields.output_tokens * output;
    Ok((UsageEvent::new(fields)?, credits))
}

/// A decimal number as so many millionths.
///
/// # Errors
/// It has more than six places, or is no number.
pub fn millionths(text: &str) -> Result<i64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let places = places.trim_end_matches('0');
    ensure!(places.len() <= 6, "{text} has more than six places");
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let fraction: i64 = format!("{places:0<6}").parse()?;
    Ok(whole.parse::<i64>()? * 1_000_000 + sign * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, wanted) in
            [("1", 1_000_000), ("0.000125", 125), ("-0.5", -500_000), ("3.250000000000", 3_250_000)]
        {
            assert_eq!(millionths(text).unwrap(), wanted, "{text}");
        }
        assert!(millionths("0.0000001").is_err());
    }
}
