//! Cutting text into the pieces that a vocabulary merges one by one.
//!
//! The encoder does this itself for ordinary text. Here it is done again for stretches in which no certain cut is near, so
//! that long pieces are known, and merged by [`crate::merge`] in linear time. The patterns are those that the vocabularies'
//! makers publish (`openai_public.py` of OpenAI's tiktoken; the `pre_tokenizer` of each `tokenizer.json`; `tekken.json`),
//! without the look-ahead `\s+(?!\S)`, which [`Splitter::first`] does by hand.

use regex::Regex;

use crate::vocabulary::Vocabulary;

/// Contractions, letters with what stands before them, up to three digits, punctuation with line ends, line ends, blanks.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// As cl100k's, with digits one by one.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Words end where a capital follows a small letter; contractions belong to the word.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
/// As o200k's, without contractions, with digits one by one.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
/// Three stages in one: digits; Han and kana; the rest, from which the Han and kana are therefore taken out.
const DEEPSEEK: &str = r"\p{N}{1,3}|[一-龥\x{3040}-\x{30FF}]+|[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}--[一-龥\x{3040}-\x{30FF}]]+| ?[\p{P}\p{S}--[一-龥\x{3040}-\x{30FF}]]+[\r\n]*|\s*[\r\n]+|\s+|[\s\S]";

/// The pattern of one vocabulary.
pub(crate) struct Splitter {
    pattern: Regex,
    /// Digits, Han and kana are cut out first, so blanks before them end a text.
    staged: bool,
}

impl Splitter {
    #[expect(clippy::expect_used, reason = "five patterns, all of them compiled by the tests")]
    pub(crate) fn new(vocabulary: Vocabulary) -> Self {
        let pattern = match vocabulary {
            Vocabulary::Cl100k | Vocabulary::Llama3 => CL100K,
            Vocabulary::O200k => O200K,
            Vocabulary::DeepseekV3 => DEEPSEEK,
            Vocabulary::Qwen2 => QWEN2,
            Vocabulary::Tekken => TEKKEN,
        };
        let pattern = Regex::new(&format!(r"\A(?:{pattern})")).expect("a pattern that the tests compile");
        Self { pattern, staged: vocabulary == Vocabulary::DeepseekV3 }
    }

    /// The length of the first piece of `text`, which starts where a piece starts; 0 only if `text` is empty.
    pub(crate) fn first(&self, text: &str) -> usize {
        let Some(piece) = self.pattern.find(text) else { return text.len() };
        let end = piece.end();
        // `\s+(?!\S)|\s+`: of several blanks before a word, the last goes with the word. Line ends have a rule of their own
        // before this one, and are never given back.
        let Some(last) = piece.as_str().chars().next_back() else { return text.len() };
        let Some(next) = text.get(end..).and_then(|rest| rest.chars().next()) else { return end };
        let keeps = last == '\n' || last == '\r' || !last.is_whitespace() || last.len_utf8() == end;
        let stage_ends =
            self.staged && (next.is_numeric() || matches!(next, '一'..='龥' | '\u{3040}'..='\u{30FF}'));
        if keeps || stage_ends || !piece.as_str().chars().all(char::is_whitespace) {
            end
        } else {
            end - last.len_utf8()
        }
    }
}
