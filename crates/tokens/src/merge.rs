//! Counting the tokens of one piece of any length, in time that grows with its length and no faster.
//!
//! Byte-pair encoding merges, again and again, the leftmost of the neighbours that have the lowest rank together. Done over
//! a whole piece at once that takes a heap as long as the piece. But what the encoding is can be seen locally: a row of
//! tokens is the encoding of its bytes exactly if every two neighbours in it are the encoding of their own bytes (the first
//! merge across a border between tokens would also happen if those two stood alone). So two windows may be encoded
//! separately and joined at a token that both have: every pair of neighbours in the joined row stands in one of the two.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use foldhash::fast::FixedState;
use tiktoken::CoreBpe;

/// Bytes merged at once; several times the longest token of any vocabulary here that is not made of blanks.
const WINDOW: usize = 1024;
/// A window is joined to the next at least so many bytes before its end.
const MARGIN: usize = 192;
/// Windows remembered, so that repetition costs a comparison only.
const REMEMBERED: usize = 8;

/// Rank of each token, by its bytes.
pub(crate) struct Ranks {
    of: HashMap<Box<[u8]>, u32, FixedState>,
    /// Rank of every two bytes; `u32::MAX` for none.
    of_two: Box<[u32]>,
    longest: usize,
}

impl Ranks {
    /// Ranks are the ids 0, 1, 2 ... of the encoder's tokens.
    pub(crate) fn new(encoder: &CoreBpe) -> Self {
        let mut ranks = Self {
            of: HashMap::with_capacity_and_hasher(encoder.vocab_size(), FixedState::default()),
            of_two: vec![u32::MAX; 1 << 16].into(),
            longest: 0,
        };
        for rank in (0..u32::MAX).take(encoder.vocab_size()) {
            let token = encoder.decode(&[rank]);
            if let [first, second] = token[..]
                && let Some(slot) = ranks.of_two.get_mut(two(first, second))
            {
                *slot = rank;
            }
            ranks.longest = ranks.longest.max(token.len());
            ranks.of.insert(token.into(), rank);
        }
        ranks
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// Tokens of one piece. A piece that is a token is that token, whatever the merges say.
    pub(crate) fn count(&self, piece: &[u8]) -> usize {
        if piece.len() <= self.longest && self.of.contains_key(piece) { 1 } else { self.count_long(piece) }
    }

    fn count_long(&self, piece: &[u8]) -> usize {
        let mut memory = Memory::default();
        let (mut start, mut tokens, mut window) = (0, 0, WINDOW);
        // The token at `start`, by which what is counted already was joined to what follows.
        let mut joint = None;
        loop {
            let rest = piece.get(start..).unwrap_or_default();
            let here = rest.get(..window).unwrap_or(rest);
            let ends = memory.ends(self, here);
            if joint.is_some() && joint != ends.first().copied() {
                // What stands to the right of a window reached back through all of it. No text is known that does this.
                return self.merge(piece).len();
            }
            if here.len() == rest.len() {
                return tokens + ends.len();
            }
            // The last tokens of a window may be what they are because it ends there: join well before.
            let before = ends.partition_point(|end| *end <= window - MARGIN);
            let (Some(at), Some(end)) =
                (before.checked_sub(1).and_then(|last| ends.get(last)), ends.get(before))
            else {
                window *= 2;
                continue;
            };
            let next = rest.get(*at..(at + window).min(rest.len())).unwrap_or_default();
            let token = end - at;
            if memory.ends(self, next).first() == Some(&token) {
                (start, tokens, joint) = (start + at, tokens + before, Some(token));
            } else {
                window *= 2;
            }
        }
    }

    fn rank(&self, bytes: Option<&[u8]>) -> Option<u32> {
        match bytes? {
            [first, second] => {
                self.of_two.get(two(*first, *second)).copied().filter(|rank| *rank != u32::MAX)
            }
            longer if longer.len() <= self.longest => self.of.get(longer).copied(),
            _ => None,
        }
    }

    /// The merges of `bytes`, all at once.
    fn merge(&self, bytes: &[u8]) -> Vec<usize> {
        let length = bytes.len();
        // Each position: where its token ends, where the token before it starts, and the rank of it with the next.
        let mut end: Vec<usize> = (1..=length).collect();
        let mut before: Vec<usize> = (0..length).map(|at| at.wrapping_sub(1)).collect();
        let mut rank: Vec<Option<u32>> = (0..length).map(|at| self.rank(bytes.get(at..at + 2))).collect();
        let mut heap: BinaryHeap<_> =
            rank.iter().enumerate().filter_map(|(at, rank)| Some(Reverse(((*rank)?, at)))).collect();
        while let Some(Reverse((lowest, at))) = heap.pop() {
            if rank.get(at).copied().flatten() != Some(lowest) {
                continue;
            }
            let Some((middle, last)) = end.get(at).and_then(|middle| Some((*middle, *end.get(*middle)?)))
            else {
                continue;
            };
            set(&mut end, at, last);
            set(&mut before, last, at);
            set(&mut rank, middle, None);
            for from in [Some(at), before.get(at).copied()].into_iter().flatten() {
                let Some(to) = end.get(from).and_then(|next| end.get(*next)) else {
                    set(&mut rank, from, None);
                    continue;
                };
                let together = self.rank(bytes.get(from..*to));
                set(&mut rank, from, together);
                if let Some(together) = together {
                    heap.push(Reverse((together, from)));
                }
            }
        }
        std::iter::successors(end.first().copied(), |at| end.get(*at).copied()).collect()
    }
}

/// The last windows with their tokens.
#[derive(Default)]
struct Memory<'a> {
    windows: Vec<(&'a [u8], Rc<[usize]>)>,
    oldest: usize,
}

impl<'a> Memory<'a> {
    /// The ends of the tokens of a window, from its start.
    fn ends(&mut self, ranks: &Ranks, window: &'a [u8]) -> Rc<[usize]> {
        if let Some((_, ends)) = self.windows.iter().find(|(known, _)| *known == window) {
            return Rc::clone(ends);
        }
        let ends: Rc<[usize]> = ranks.merge(window).into();
        let remembered = (window, Rc::clone(&ends));
        if let Some(slot) = self.windows.get_mut(self.oldest) {
            *slot = remembered;
        } else {
            self.windows.push(remembered);
        }
        self.oldest = (self.oldest + 1) % REMEMBERED;
        ends
    }
}

fn two(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

fn set<T>(values: &mut [T], at: usize, value: T) {
    if let Some(slot) = values.get_mut(at) {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::vocabulary::Vocabulary;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// Long pieces of few letters, where merges reach far: blocks repeated, with a disturbance at the end.
        #[test]
        fn windows_joined_count_what_one_merge_of_the_whole_piece_counts(
            blocks in prop::collection::vec(("[ab]{1,3}|[a-z]{1,12}|[A-Z ]{1,6}|[!-/]{1,5}|[éя字🙂]{1,3}", 1_usize..900), 1..6),
            which in 0..6_usize,
        ) {
            let piece: String = blocks.iter().map(|(block, times)| block.repeat(*times)).collect();
            let ranks = Vocabulary::ALL[which].ranks();
            prop_assert_eq!(ranks.count(piece.as_bytes()), ranks.merge(piece.as_bytes()).len().max(1));
        }
    }
}
