//! The vocabularies that are public, and so counted exactly.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tiktoken::CoreBpe;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::merge::Ranks;
use crate::pieces::Splitter;

/// A public vocabulary with the rule by which text is cut into pieces before its tokens are merged.
///
/// Each is held against the provider's own tokenizer, or against a reader of the provider's own file: see `docs/tokens.md`.
/// The first count with one unpacks it, which takes 25 to 70 ms and 13 to 26 MB, and the first endless
/// word with it 10 to 25 ms and up to 7 MB more; what is not used is never unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Vocabulary {
    /// OpenAI's `cl100k_base`: GPT-4, GPT-3.5 Turbo, the embeddings.
    #[serde(rename = "cl100k_base")]
    Cl100k,
    /// OpenAI's `o200k_base`: GPT-4o and everything since; gpt-oss.
    #[serde(rename = "o200k_base")]
    O200k,
    /// Meta's Llama 3, 3.1, 3.2 and 3.3.
    #[serde(rename = "llama3")]
    Llama3,
    /// DeepSeek's V3, R1 and V4.
    #[serde(rename = "deepseek_v3")]
    DeepseekV3,
    /// Qwen 2, 2.5 and 3; not 3.5. Text is put into Unicode's form C first.
    #[serde(rename = "qwen2")]
    Qwen2,
    /// Mistral's Tekken: NeMo and what came after it.
    #[serde(rename = "tekken")]
    Tekken,
}

/// What is unpacked of a vocabulary, at the first use of each part.
#[derive(Default)]
struct Unpacked {
    splitter: OnceLock<Splitter>,
    ranks: OnceLock<Ranks>,
}

static UNPACKED: [Unpacked; 6] =
    [const { Unpacked { splitter: OnceLock::new(), ranks: OnceLock::new() } }; 6];

impl Vocabulary {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cl100k, Self::O200k, Self::Llama3, Self::DeepseekV3, Self::Qwen2, Self::Tekken];

    /// The name by which its makers know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
            Self::Llama3 => "llama3",
            Self::DeepseekV3 => "deepseek_v3",
            Self::Qwen2 => "qwen2",
            Self::Tekken => "tekken",
        }
    }

    /// The encoder for pieces and texts that are not too long: its time grows faster than the text on some inputs.
    #[expect(clippy::expect_used, reason = "this crate's features carry all six, and a test opens each")]
    pub(crate) fn encoder(self) -> &'static CoreBpe {
        let name = if self == Self::Tekken { "mistral_v3" } else { self.name() };
        tiktoken::get_encoding(name).expect("a vocabulary that this crate's features carry")
    }

    /// Cuts a text into its pieces.
    pub(crate) fn splitter(self) -> &'static Splitter {
        self.unpacked().splitter.get_or_init(|| Splitter::new(self))
    }

    /// The merges, for pieces of any length.
    pub(crate) fn ranks(self) -> &'static Ranks {
        self.unpacked().ranks.get_or_init(|| Ranks::new(self.encoder()))
    }

    #[expect(clippy::indexing_slicing, reason = "as many as there are vocabularies")]
    fn unpacked(self) -> &'static Unpacked {
        &UNPACKED[self as usize]
    }

    /// The text as the vocabulary's own tokenizer sees it.
    pub(crate) fn normalized(self, text: &str) -> Cow<'_, str> {
        let is_normal = || text.chars().all(stands_alone) || is_nfc_quick(text.chars()) == IsNormalized::Yes;
        if self != Self::Qwen2 || is_normal() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.nfc().collect())
        }
    }
}

/// Characters that normalization neither changes nor joins with others; not all of them, but most that are written.
fn stands_alone(character: char) -> bool {
    matches!(character, ..'\u{300}' | 'Ѐ'..='ҁ' | '\u{2010}'..='\u{2027}' | 'ぁ'..='ゖ' | 'ァ'..='ー' | '\u{4E00}'..='\u{9FFF}' | '가'..='힣')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vocabulary_opens_and_its_merges_are_those_of_its_encoder() {
        for vocabulary in Vocabulary::ALL {
            let encoder = vocabulary.encoder();
            assert_eq!(vocabulary.ranks().len(), encoder.vocab_size(), "{vocabulary:?}");
            for word in ["hello", " tokenization", "zzyzxqqqqq", "\u{1F642}"] {
                assert_eq!(
                    vocabulary.ranks().count(word.as_bytes()),
                    encoder.count(word),
                    "{vocabulary:?} {word}"
                );
            }
        }
    }
}
