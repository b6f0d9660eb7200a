//! Pure: a rate card from public data sets.
//!
//! genai-prices is the core: its providers, names, prices, dates and hours hold. LiteLLM adds to them: context windows,
//! capabilities, dates of deprecation, service tiers, regions, units other than tokens, and models that genai-prices does
//! not have. The same texts always give the same card.

mod genai;
mod json;
mod litellm;
mod merge;
mod names;
mod providers;
mod report;

use fluxori_core::id::RevisionId;
use fluxori_core::time::Timestamp;

use crate::file::{RateCard, Source};

pub use genai::NAME as GENAI_PRICES;
pub use json::Json;
pub use litellm::NAME as LITELLM;
pub use report::{Conflict, Counted, Report};

/// What a card is made from.
#[derive(Debug, Clone, Copy)]
pub struct Import<'text> {
    /// The card's revision.
    pub revision: &'text RevisionId,
    /// When the card is made.
    pub issued_at: Timestamp,
    /// `genai-prices.v2.json`.
    pub genai: &'text str,
    /// `model_prices_and_context_window.json`.
    pub litellm: &'text str,
    /// Which state of the first, as far as it is known.
    pub genai_version: Option<&'text str>,
    /// Which state of the second.
    pub litellm_version: Option<&'text str>,
}

/// A source that cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, {entry}: {problem}")]
pub struct ImportError {
    /// Which source.
    pub file: String,
    /// Whose entry.
    pub entry: String,
    /// What is wrong.
    pub problem: String,
}

impl ImportError {
    pub(crate) fn wrong(file: &str, entry: &str, problem: &str) -> Self {
        Self { file: file.to_owned(), entry: entry.to_owned(), problem: problem.to_owned() }
    }
}

/// Makes a card, and says what was read, added, left out, rounded, and where the sources differ.
///
/// # Errors
/// A source is not what it should be, or what comes of it cannot be a card.
pub fn import(import: &Import<'_>) -> Result<(RateCard, Report), ImportError> {
    let mut report = Report::default();
    let genai = genai::Genai::read(import.genai, &mut report)?;
    let entries = litellm::read(import.litellm, &mut report)?;
    let card = merge::merge(&genai, entries, &mut report)?;
    let state = |name: &str, version: Option<&str>| {
        version.map_or_else(|| name.to_owned(), |of| format!("{name} {of}"))
    };
    let source =
        format!("{}, {}", state(GENAI_PRICES, import.genai_version), state(LITELLM, import.litellm_version));
    let sources = [
        (
            GENAI_PRICES,
            "https://github.com/pydantic/genai-prices",
            "Pydantic Services Inc.",
            import.genai_version,
        ),
        (LITELLM, "https://github.com/BerriAI/litellm", "Berri AI", import.litellm_version),
    ];
    let sources = sources.map(|(name, url, owner, version)| Source {
        name: name.to_owned(),
        url: url.to_owned(),
        owner: owner.to_owned(),
        licence: "MIT".to_owned(),
        version: version.map(str::to_owned),
    });
    let card = RateCard {
        revision: import.revision.clone(),
        issued_at: import.issued_at,
        source: Some(source),
        sources: sources.into(),
        card,
    };
    Ok((card, report))
}
