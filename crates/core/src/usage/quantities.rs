//! Pure: how much of everything one AI operation used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Quantity, UsageFields, Violation, validate};

/// Tokens by kind; totals come first, and what is part of a total is never added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenCounts {
    /// All input tokens.
    pub input: i64,
    /// Input tokens read from the provider's cache.
    pub cache_read: i64,
    /// Input tokens written to the cache for 5 minutes.
    pub cache_write_5m: i64,
    /// Input tokens written to the cache for 1 hour.
    pub cache_write_1h: i64,
    /// Input tokens that are audio.
    pub audio_input: i64,
    /// Input tokens that are images.
    pub image_input: i64,
    /// Input tokens that are audio and were read from the provider's cache: part of both counts.
    pub cache_read_audio: i64,
    /// Input tokens that are images and were read from the provider's cache: part of both counts.
    pub cache_read_image: i64,
    /// All output tokens.
    pub output: i64,
    /// Output tokens that are reasoning.
    pub reasoning: i64,
    /// Output tokens that are audio.
    pub audio_output: i64,
    /// Output tokens that are images.
    pub image_output: i64,
}

/// All quantities of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quantities {
    /// Tokens.
    pub tokens: TokenCounts,
    /// Other units by name.
    pub units: BTreeMap<String, Quantity>,
}

impl TokenCounts {
    /// Each count under the name of its field in a usage event.
    #[must_use]
    pub const fn by_field(&self) -> [(&'static str, i64); 12] {
        [
            ("input_tokens", self.input),
            ("cache_read_input_tokens", self.cache_read),
            ("cache_write_5m_input_tokens", self.cache_write_5m),
            ("cache_write_1h_input_tokens", self.cache_write_1h),
            ("audio_input_tokens", self.audio_input),
            ("image_input_tokens", self.image_input),
            ("cache_read_audio_input_tokens", self.cache_read_audio),
            ("cache_read_image_input_tokens", self.cache_read_image),
            ("output_tokens", self.output),
            ("reasoning_output_tokens", self.reasoning),
            ("audio_output_tokens", self.audio_output),
            ("image_output_tokens", self.image_output),
        ]
    }
}

impl Quantities {
    /// Refuses quantities that cannot be: negative, beyond the limits, a part above its whole.
    ///
    /// # Errors
    /// The first violation found, which names the field.
    pub fn check(&self) -> Result<(), Violation> {
        validate::check_tokens(&self.tokens)?;
        validate::check_units(&self.units)
    }
}

impl UsageFields {
    /// The tokens.
    #[must_use]
    pub const fn tokens(&self) -> TokenCounts {
        TokenCounts {
            input: self.input_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write_5m: self.cache_write_5m_input_tokens,
            cache_write_1h: self.cache_write_1h_input_tokens,
            audio_input: self.audio_input_tokens,
            image_input: self.image_input_tokens,
            cache_read_audio: self.cache_read_audio_input_tokens,
            cache_read_image: self.cache_read_image_input_tokens,
            output: self.output_tokens,
            reasoning: self.reasoning_output_tokens,
            audio_output: self.audio_output_tokens,
            image_output: self.image_output_tokens,
        }
    }

    /// All quantities.
    #[must_use]
    pub fn quantities(&self) -> Quantities {
        Quantities { tokens: self.tokens(), units: self.units.clone() }
    }

    /// Puts other quantities in place.
    pub fn set_quantities(&mut self, quantities: Quantities) {
        let Quantities { tokens, units } = quantities;
        self.input_tokens = tokens.input;
        self.cache_read_input_tokens = tokens.cache_read;
        self.cache_write_5m_input_tokens = tokens.cache_write_5m;
        self.cache_write_1h_input_tokens = tokens.cache_write_1h;
        self.audio_input_tokens = tokens.audio_input;
        self.image_input_tokens = tokens.image_input;
        self.cache_read_audio_input_tokens = tokens.cache_read_audio;
        self.cache_read_image_input_tokens = tokens.cache_read_image;
        self.output_tokens = tokens.output;
        self.reasoning_output_tokens = tokens.reasoning;
        self.audio_output_tokens = tokens.audio_output;
        self.image_output_tokens = tokens.image_output;
        self.units = units;
    }
}
