//! Counting a text that comes in chunks, as a model's answer does.

use crate::count::{Basis, Count, count_unchecked};
use crate::estimate::Scripts;
use crate::limits::{Error, check_bytes};
use crate::model::{Model, Tokenizer};
use crate::text;
use crate::vocabulary::Vocabulary;

/// Text kept before a cut is looked for. A count of the rest takes some 40 microseconds.
const TAIL: usize = 4096;

/// Counts text chunk by chunk, wherever the chunks are cut; the count is that of the whole text at every moment.
///
/// Only the end of the text is kept, from the last place at which no vocabulary has a token across: between a word and the
/// space after it, and the like. That is less than 8 kB of ordinary text. Text without any such place (one endless word) is
/// kept until there is one, so memory is bounded by [`MAX_BYTES`](crate::MAX_BYTES), and time still grows with the length only, because the
/// text is searched again only when it has doubled.
///
/// ```
/// use fluxori_tokens::{Model, StreamCounter};
///
/// let model = Model::named("openai", "gpt-5");
/// let mut counter = StreamCounter::new(&model);
/// counter.push("Hello, wor")?;
/// counter.push("ld!")?;
/// assert_eq!(counter.count(), model.count_text("Hello, world!")?);
/// # Ok::<(), fluxori_tokens::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StreamCounter {
    tokenizer: Tokenizer,
    /// Tokens of the text that is no longer kept, in the vocabulary that is counted with.
    counted: u64,
    scripts: Scripts,
    bytes: usize,
    tail: String,
    search_at: usize,
}

impl StreamCounter {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        Self {
            tokenizer: model.tokenizer(),
            counted: 0,
            scripts: Scripts::default(),
            bytes: 0,
            tail: String::new(),
            search_at: 2 * TAIL,
        }
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyBytes`] if the stream is then longer than [`MAX_BYTES`](crate::MAX_BYTES); the chunk is not counted, nor any part of it.
    pub fn push(&mut self, chunk: &str) -> Result<(), Error> {
        check_bytes(self.bytes.saturating_add(chunk.len()))?;
        self.bytes += chunk.len();
        if let Tokenizer::Estimate(_) = self.tokenizer {
            self.scripts.add(chunk);
        }
        self.tail.push_str(chunk);
        if self.tail.len() >= self.search_at {
            let vocabulary = self.vocabulary();
            if let Some(cut) = text::last_cut(&self.tail)
                && let Some(head) = self.tail.get(..cut)
            {
                self.counted += text::count(vocabulary, &vocabulary.normalized(head)) as u64;
                self.tail.drain(..cut);
            }
            self.search_at = (2 * TAIL).max(2 * self.tail.len());
        }
        Ok(())
    }

    /// The count of all that was pushed; the same as [`Model::count_text`] of the chunks joined.
    #[must_use]
    pub fn count(&self) -> Count {
        let base = self.counted + count_unchecked(Tokenizer::Exact(self.vocabulary()), &self.tail);
        let tokens = match self.tokenizer {
            Tokenizer::Exact(_) => base,
            Tokenizer::Estimate(estimator) => estimator.scaled(base, &self.scripts),
        };
        Count { tokens, basis: Basis::of(self.tokenizer) }
    }

    /// Bytes pushed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes kept in memory.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.tail.len()
    }

    fn vocabulary(&self) -> Vocabulary {
        match self.tokenizer {
            Tokenizer::Exact(vocabulary) => vocabulary,
            Tokenizer::Estimate(estimator) => estimator.base(),
        }
    }
}
