//! Pure: usage as Cohere says it (`usage` of chat, `meta` of embed and rerank): what is billed.
//!
//! A search unit, up to 100 documents reranked, is what rate cards call a request. (Cohere's API reference, `billed_units`)

use fluxori_core::usage::TokenCounts;

use super::Usage;
use crate::Rejection;
use crate::object::Object;

pub(super) fn read(usage: &Object<'_>) -> Result<Usage, Rejection> {
    let billed = usage.object("billed_units");
    let count = |name| billed.count(name).map(Option::unwrap_or_default);
    let mut read = Usage::of(TokenCounts {
        input: count("input_tokens")?,
        output: count("output_tokens")?,
        ..TokenCounts::default()
    });
    read.add_units("requests", billed.quantity("search_units")?);
    read.add_units("images", billed.quantity("images")?);
    Ok(read)
}
