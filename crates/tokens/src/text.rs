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
    let head = text.get(..text.floor_char_boundary(STRETCH)).unwrap_or(text);
    let scattered = is_scattered(head);
    if !scattered && !has_long_run(head) {
        let cut = if head.len() == text.len() { Some(head.len()) } else { last_cut(head) };
        if let Some(stretch) = cut.and_then(|cut| head.get(..cut)) {
            return (vocabulary.encoder().count(stretch), stretch.len());
        }
    }
    count_pieces(vocabulary, text, scattered)
}

/// [`count_stretch`] piece by piece: where no cut is near, or the encoder is slow at it.
fn count_pieces(vocabulary: Vocabulary, text: &str, scattered: bool) -> (usize, usize) {
    let (mut tokens, mut counted, mut at) = (0, 0, 0);
    let short = |from: usize, to: usize| vocabulary.encoder().count(text.get(from..to).unwrap_or_default());
    while at < STRETCH.min(text.len()) {
        let rest = text.get(at..).unwrap_or_default();
        // Digits go one by one or by three, which the encoder does well.
        let digits = rest.bytes().take(STRETCH).take_while(u8::is_ascii_digit).count();
        let piece = if digits >= 3 { digits - digits % 3 } else { vocabulary.splitter().first(rest) };
        let bytes = rest.as_bytes().get(..piece).unwrap_or_default();
        if digits < 3 && (piece > LONG_PIECE || scattered && !bytes.is_ascii()) {
            tokens += short(counted, at) + vocabulary.ranks().count(bytes);
            counted = at + piece;
        }
        at += piece;
    }
    (tokens + short(counted, at), at)
}

/// Whether characters come from so many corners of Unicode that the encoder's pattern, which is not tied to where a piece
/// begins, takes up to a thousand times as long as usual. Text in several languages comes from fewer.
///
/// A corner is 64 characters, those that differ in their last byte only: a bit for each.
fn is_scattered(text: &str) -> bool {
    const MOST: u32 = 20;
    if text.is_ascii() {
        return false;
    }
    let (mut of_two, mut of_three, mut of_four) = (0_u64, [0_u64; 16], [0_u64; 16]);
    for bytes in text.as_bytes().windows(3) {
        let &[first, second, third] = bytes else { continue };
        match first {
            0xC2..=0xDF => of_two |= 1 << (first & 0x3F),
            0xE0..=0xEF => mark(&mut of_three, first, second),
            0xF0.. => mark(&mut of_four, second, third),
            _ => {}
        }
    }
    // The encoder knows Han, kana, Hangul and the wide forms of ASCII without its pattern.
    let known = |first: u8| match first {
        0x2 => !0 << 0x3A,
        0x3..=0x9 | 0xB | 0xC => !0,
        0xA => !0 << 0x30,
        0xD => (1 << 0x1F) - 1,
        0xF => !0 << 0x3C,
        _ => 0_u64,
    };
    let of_three = (0..).zip(of_three).map(|(first, corners)| corners & !known(first));
    of_three.chain(of_four).chain([of_two]).map(u64::count_ones).sum::<u32>() > MOST
}

fn mark(corners: &mut [u64; 16], row: u8, bit: u8) {
    if let Some(row) = corners.get_mut(usize::from(row & 0xF)) {
        *row |= 1 << (bit & 0x3F);
    }
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

    #[test]
    fn characters_from_all_over_unicode_are_counted_as_the_encoder_does_it() {
        let text: String = (0..1000).filter_map(|step| char::from_u32(step * 7919 % 0x11_0000)).collect();
        let with_words: String =
            text.chars().flat_map(|character| [character, ' ', 'a', 'b', '1', '2', '3', '4']).collect();
        assert!(is_scattered(&text));
        for vocabulary in Vocabulary::ALL {
            for text in [&text, &with_words] {
                assert_eq!(count(vocabulary, text), vocabulary.encoder().count(text), "{vocabulary:?}");
            }
        }
    }
}
