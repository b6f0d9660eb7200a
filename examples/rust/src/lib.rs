//! What the examples share: a call that is pretended, and a look at the balance.

use fluxori_core::id::EventId;
use fluxori_core::usage::{UsageEvent, UsageFields};

/// Any error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The org that pays: `ORG`, or the first of the demo.
#[must_use]
pub fn org() -> String {
    std::env::var("ORG").unwrap_or_else(|_| "org-000".to_owned())
}

/// The usage of a call, as the provider's answer said it.
///
/// # Errors
/// A name or a count is none.
pub fn usage_of_a_call(org: &str) -> Result<UsageEvent, Error> {
    #[expect(clippy::disallowed_methods, reason = "an application has a clock")]
    let now = chrono::Utc::now().into();
    let id = EventId(uuid::Uuid::now_v7());
    let (provider, model) = ("openai".parse()?, "gpt-5".parse()?);
    let mut usage = UsageFields::new(id, now, org.parse()?, "rag-retrieval".parse()?, provider, model);
    usage.input_tokens = 1_000; // all of them; cached tokens are a part, not an addition
    usage.cache_read_input_tokens = 600;
    usage.output_tokens = 200;
    usage.tags.insert("example".to_owned(), "rust".to_owned());
    Ok(UsageEvent::new(usage)?)
}

/// What an org has, in credits, once the ledger has passed a position. Asks the edge at `EDGE` with the key `KEY`.
///
/// # Errors
/// It does not answer so.
pub fn balance(org: &str, at_least: &str) -> Result<String, Error> {
    let (key, edge) = (std::env::var("KEY")?, std::env::var("EDGE")?);
    let url = format!("{edge}/v1/balance?org_id={org}&at_least={at_least}");
    let mut answer = ureq::get(url).header("authorization", format!("Bearer {key}")).call()?;
    let body: serde_json::Value = answer.body_mut().read_json()?;
    let balance = body.get("balance").and_then(serde_json::Value::as_str).ok_or("no balance")?;
    Ok(balance.to_owned())
}
