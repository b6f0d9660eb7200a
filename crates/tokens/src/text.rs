//! Counting a text of any length: short stretches by the encoder, what it would be slow at by pieces.

use crate::vocabulary::Vocabulary;

/// The encoder gets no more than this at once: on some inputs its time grows with the square of the length.
const STRETCH: usize = 2048;
/// Longer pieces are merged in windows.
const LONG_PIECE: usize = 256;

/// Tokens of `text`, in time that grows with its length and no faster.
pub(crate) fn count(vocabulary: Vocabulary, text: &str) -> usize {
    let mut tokens = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (counted, end) = count_stretch(vocabulary, rest);
        tokens += counted;
        rest = rest.get(end..).unwrap_or_default();
    }
    tokens
}

/// The tokens of the first part of a text that starts where a piece starts, and where that part ends, also between pieces.
fn count_stretch(vocabulary: Vocabulary, text: &str) -> (usize, usize) {
    if text.len() <= STRETCH && !has_long_run(text) {
        return (vocabulary.encoder().count(text), text.len());
    }
    let head = text.get(..text.floor_char_boundary(STRETCH)).unwrap_or(text);
    if !has_long_run(head)
        && let Some(cut) = last_cut(head)
        && let Some(stretch) = text.get(..cut)
    {
        return (vocabulary.encoder().count(stretch), cut);
    }
    count_pieces(vocabulary, text)
}

/// [`count_stretch`] where no cut is near: piece by piece, the short ones together.
fn count_pieces(vocabulary: Vocabulary, text: &str) -> (usize, usize) {
    let (mut tokens, mut counted, mut at) = (0, 0, 0);
    let short = |from: usize, to: usize| vocabulary.encoder().count(text.get(from..to).unwrap_or_default());
    while at < STRETCH.min(text.len()) {
        let rest = text.get(at..).unwrap_or_default();
        // Digits go one by one or by three.
        let digits = rest.bytes().take(STRETCH).take_while(u8::is_ascii_digit).count();
        let piece = if digits >= 3 { digits - digits % 3 } else { vocabulary.splitter().first(rest) };
        if piece > LONG_PIECE && digits < 3 {
            let long = rest.get(..piece).unwrap_or_default();
            tokens += short(counted, at) + vocabulary.ranks().count(long.as_bytes());
            counted = at + piece;
        }
        at += piece;
    }
    (tokens + short(counted, at), at)
}

/// Whether there may be a piece longer than [`LONG_PIECE`]: then some block of the text is of one class.
///
/// A piece is one character at most, then a run of letters or blanks or others, then line ends and slashes or a
/// contraction. A run of `2 * BLOCK` bytes contains a whole aligned block.
fn has_long_run(text: &str) -> bool {
    const BLOCK: usize = 64;
    (0..text.len() / BLOCK).any(|block| {
        let begin = text.floor_char_boundary(block * BLOCK);
        let end = text.floor_char_boundary((block + 1) * BLOCK);
        let mut classes = u8::MAX;
        text.get(begin..end).unwrap_or_default().chars().all(|character| {
            classes &= class(character);
            classes != 0
        })
    })
}

const LETTER: u8 = 1;
const BLANK: u8 = 2;
/// Line ends and slashes, which may follow punctuation.
const TAIL: u8 = 4;
const OTHER: u8 = 8;

/// The classes of runs in which a character may stand, as bits; all that are possible, where a script is not known here.
fn class(character: char) -> u8 {
    match character {
        'a'..='z' | 'A'..='Z' => LETTER,
        // Never more than three digits in a piece.
        '0'..='9' => 0,
        '\n' | '\r' => BLANK | TAIL,
        '/' => TAIL | OTHER,
        _ if character.is_whitespace() => BLANK,
        '\0'..='\x7F' => OTHER,
        // Han, kana, Hangul
        '\u{4E00}'..='\u{9FFF}' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '가'..='힣' => LETTER,
        // Latin, Cyrillic
        'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ɏ' | 'Ѐ'..='ҁ' | 'Ҋ'..='ԯ' => LETTER,
        // dashes, quotes, ellipsis; punctuation of Chinese and Japanese
        '\u{2010}'..='\u{2027}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' => OTHER,
        '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' => OTHER,
        _ => LETTER | OTHER,
    }
}

/// The last place in `text` that is between two pieces in every vocabulary, whatever stands around it.
///
/// What is left of such a place and what is right of it have, counted apart, as many tokens as together: no pattern goes
/// across it, and the only look-ahead of the patterns is from blanks.
pub(crate) fn last_cut(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let narrow = bytes.windows(2).rposition(is_ascii_cut).map(|at| at + 1);
    // Others are looked for only where this one is far back.
    if narrow.is_some_and(|at| at >= text.len() / 2) { narrow } else { narrow.max(last_wide_cut(text)) }
}

fn is_ascii_cut(pair: &[u8]) -> bool {
    let &[before, after] = pair else { return false };
    match before {
        // A contraction (`'s`) may go on a word.
        b'a'..=b'z' | b'A'..=b'Z' => after.is_ascii() && !after.is_ascii_alphabetic() && after != b'\'',
        b'0'..=b'9' => after.is_ascii() && !after.is_ascii_digit(),
        _ if before.is_ascii_graphic() => after == b' ' || after.is_ascii_digit(),
        _ => false,
    }
}

/// Places between a character that is not ASCII and no blank, and a space; and between Han and the punctuation that ends
/// their clauses.
fn last_wide_cut(text: &str) -> Option<usize> {
    let mut after = None;
    for (at, character) in text.char_indices().rev() {
        let is_cut = match after {
            Some(' ') => !character.is_ascii() && !character.is_whitespace(),
            Some('，' | '。' | '、' | '；' | '：' | '！' | '？') => {
                ('\u{4E00}'..='\u{9FA5}').contains(&character)
            }
            _ => false,
        };
        if is_cut {
            return Some(at + character.len_utf8());
        }
        after = Some(character);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> Vec<String> {
        let lines = include_str!("../tests/reference/fixture.jsonl").lines().skip(1);
        lines.map(|line| serde_json::from_str::<(String, String, Vec<u32>)>(line).unwrap().1).collect()
    }

    #[test]
    fn pieces_cut_and_merged_here_count_what_the_encoder_counts() {
        for vocabulary in Vocabulary::ALL {
            for text in fixture() {
                let (mut tokens, mut rest) = (0, text.as_str());
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(vocabulary.splitter().first(rest));
                    tokens += vocabulary.ranks().count(piece.as_bytes());
                    rest = after;
                }
                assert_eq!(tokens, vocabulary.encoder().count(&text), "{vocabulary:?} {text:?}");
            }
        }
    }

    #[test]
    fn at_every_cut_both_sides_count_what_they_count_together() {
        for text in fixture() {
            let ends = (1..text.len()).filter(|end| text.is_char_boundary(*end));
            let mut cuts: Vec<usize> = ends.filter_map(|end| last_cut(&text[..end])).collect();
            cuts.dedup();
            for vocabulary in Vocabulary::ALL {
                let whole = vocabulary.encoder().count(&text);
                for cut in &cuts {
                    let (left, right) = text.split_at(*cut);
                    let apart = vocabulary.encoder().count(left) + vocabulary.encoder().count(right);
                    assert_eq!(apart, whole, "{vocabulary:?} {cut} {text:?}");
                }
            }
        }
    }

    #[test]
    fn a_text_without_any_cut_is_counted_as_the_encoder_does_it() {
        for block in [
            "a", "Ab", " ", "\n", " \n", "7", "!", "!\n", "\n/", "字", "é", "é字", "🙂", "\u{200b}", "ก",
            "'s",
        ] {
            for length in [100, 255, 257, 1023, 2047, 2049, 5000, 12_345] {
                let text = block.repeat(length / block.len());
                for vocabulary in Vocabulary::ALL {
                    let here = count(vocabulary, &text);
                    assert_eq!(here, vocabulary.encoder().count(&text), "{vocabulary:?} {block:?} {length}");
                }
            }
        }
    }
}
