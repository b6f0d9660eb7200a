//! What a count is worth, and counts of plain text.

use serde::{Deserialize, Serialize};

use crate::estimate::Estimator;
use crate::limits::{Error, check_bytes};
use crate::model::{Model, Tokenizer};
use crate::text;
use crate::vocabulary::Vocabulary;

/// A number of tokens with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Tokens of the text.
    pub tokens: u64,
    /// Whether that is exact.
    pub basis: Basis,
}

/// What a count of text rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// The model's own vocabulary, held against a reference tokenizer.
    Exact {
        /// Which.
        vocabulary: Vocabulary,
    },
    /// An estimate.
    Estimate {
        /// How it is made.
        estimator: Estimator,
        /// The error that 95 of 100 longer texts stay within; see [`Estimator::margin_percent`].
        margin_percent: u8,
        /// Whether the margin was measured; otherwise it is assumed.
        measured: bool,
    },
}

impl Basis {
    /// The basis of counts with a tokenizer.
    #[must_use]
    pub fn of(tokenizer: Tokenizer) -> Self {
        match tokenizer {
            Tokenizer::Exact(vocabulary) => Self::Exact { vocabulary },
            Tokenizer::Estimate(estimator) => Self::Estimate {
                estimator,
                margin_percent: estimator.margin_percent(),
                measured: estimator.measured(),
            },
        }
    }

    /// Tokens that there will hardly be more of than, given a count on this basis.
    pub(crate) fn upper(self, tokens: u64) -> u64 {
        match self {
            Self::Exact { .. } => tokens,
            // The true count is at least the estimate by (1 + margin) and at most by (1 - margin).
            Self::Estimate { margin_percent, .. } => {
                tokens.saturating_mul(100).div_ceil(100_u64.saturating_sub(u64::from(margin_percent)).max(1))
            }
        }
    }
}

impl Count {
    /// What to reserve for: the count if it is exact, else as many tokens as the margin allows for.
    ///
    /// An estimate is within its margin if it is at most so much per cent off the true count; so the true count is at most
    /// the estimate divided by (1 - margin).
    #[must_use]
    pub fn upper(&self) -> u64 {
        self.basis.upper(self.tokens)
    }
}

impl Model {
    /// Tokens of a plain text, without what a message adds to it. Special tokens (`<|endoftext|>`) are counted as the text
    /// that they are.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyBytes`].
    pub fn count_text(&self, text: &str) -> Result<Count, Error> {
        check_bytes(text.len())?;
        Ok(Count { tokens: count_unchecked(self.tokenizer(), text), basis: Basis::of(self.tokenizer()) })
    }

    /// As [`Model::count_text`], of bytes from outside.
    ///
    /// # Errors
    ///
    /// [`Error::NotUtf8`], which says where; [`Error::TooManyBytes`].
    pub fn count_bytes(&self, bytes: &[u8]) -> Result<Count, Error> {
        check_bytes(bytes.len())?;
        let text =
            str::from_utf8(bytes).map_err(|error| Error::NotUtf8 { valid_up_to: error.valid_up_to() })?;
        self.count_text(text)
    }
}

/// Tokens of a text whose length is known to be within limits.
pub(crate) fn count_unchecked(tokenizer: Tokenizer, text: &str) -> u64 {
    match tokenizer {
        Tokenizer::Exact(vocabulary) => text::count(vocabulary, &vocabulary.normalized(text)) as u64,
        Tokenizer::Estimate(estimator) => estimator.count(text),
    }
}
