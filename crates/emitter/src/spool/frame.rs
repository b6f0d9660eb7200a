//! Pure: how records lie in a segment, one frame after another.
//!
//! ```text
//! frame := length u32 | checksum u32 | index u64 | flags u8 | key length u8 | key | value     (numbers little-endian)
//! ```
//!
//! `length` counts what follows the checksum; it is never 0, so unwritten space, which is zeros, is no frame. The checksum is
//! the CRC-32 of what follows it, begun with the length. The index says which record it is, so that behind damage the next
//! whole record is found and known.

/// Bytes before the index.
const PREFIX: usize = 8;
/// Bytes of the index.
const INDEX: usize = 8;
/// What no record is longer than; a damaged length is seen by it.
const MAX_LENGTH: usize = 2 << 20;
/// Set if the record bears a number of its spool's own producer.
const OWN_NUMBER: u8 = 1;

/// A record in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Which record of the spool it is.
    pub(crate) index: u64,
    /// The record's key: the org.
    pub(crate) key: &'a [u8],
    /// The record's value.
    pub(crate) value: &'a [u8],
    /// Whether it bears a number of the spool's own producer.
    pub(crate) own_number: bool,
}

/// What stands at some place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record, and where the next one begins.
    Frame(Frame<'a>, usize),
    /// Nothing was written here.
    End,
    /// Something else than a whole record.
    Damaged,
}

/// Begins a frame in `to`, which is emptied first; its value is appended next. False if the key is too long for a frame.
pub(crate) fn begin(key: &[u8], own_number: bool, to: &mut Vec<u8>) -> bool {
    to.clear();
    to.extend_from_slice(&[0; PREFIX + INDEX]);
    to.push(if own_number { OWN_NUMBER } else { 0 });
    let Ok(length) = u8::try_from(key.len()) else { return false };
    to.push(length);
    to.extend_from_slice(key);
    true
}

/// Finishes the frame of the record with this index.
pub(crate) fn finish(index: u64, frame: &mut [u8]) {
    let Some((prefix, body)) = frame.split_first_chunk_mut::<PREFIX>() else { return };
    if let Some(place) = body.first_chunk_mut::<INDEX>() {
        *place = index.to_le_bytes();
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let checksum = checksum(length, body);
    let fields = length.to_le_bytes().into_iter().chain(checksum.to_le_bytes());
    prefix.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
}

/// Reads what stands at `offset`.
pub(crate) fn read(bytes: &[u8], offset: usize) -> Found<'_> {
    let Some((length, rest)) = bytes.get(offset..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return Found::End;
    };
    if *length == [0; 4] {
        return Found::End;
    }
    let length = u32::from_le_bytes(*length);
    let whole = || {
        let (expected, rest) = rest.split_first_chunk::<4>()?;
        let bytes = usize::try_from(length).ok().filter(|length| *length <= MAX_LENGTH)?;
        let body = rest.get(..bytes)?;
        (checksum(length, body) == u32::from_le_bytes(*expected)).then_some(())?;
        let (index, rest) = body.split_first_chunk::<INDEX>()?;
        let (flags, rest) = rest.split_first()?;
        let (key_length, rest) = rest.split_first()?;
        let (key, value) = rest.split_at_checked(usize::from(*key_length))?;
        let index = u64::from_le_bytes(*index);
        let frame = Frame { index, key, value, own_number: flags & OWN_NUMBER != 0 };
        Some(Found::Frame(frame, offset + PREFIX + bytes))
    };
    whole().unwrap_or(Found::Damaged)
}

/// The first whole record behind `offset` with an index in `indices`, if there is one, and where it begins.
pub(crate) fn search(bytes: &[u8], offset: usize, indices: std::ops::Range<u64>) -> Option<usize> {
    (offset + 1..bytes.len())
        .find(|at| matches!(read(bytes, *at), Found::Frame(frame, _) if indices.contains(&frame.index)))
}

fn checksum(length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!length);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(index: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(begin(b"acme", true, &mut bytes));
        bytes.extend_from_slice(b"an event");
        finish(index, &mut bytes);
        bytes
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let bytes = written(7);
        let frame = Frame { index: 7, key: b"acme", value: b"an event", own_number: true };
        assert_eq!(read(&bytes, 0), Found::Frame(frame, bytes.len()));
        assert_eq!(read(&bytes, bytes.len()), Found::End);
    }

    #[test]
    fn the_next_record_behind_damage_of_any_length_is_found() {
        for damaged in 1..5 {
            let mut bytes: Vec<u8> = (0..damaged).flat_map(written).collect();
            bytes.fill(0xA5);
            let next = bytes.len();
            bytes.extend(written(damaged));
            assert_eq!(read(&bytes, 0), Found::Damaged);
            assert_eq!(search(&bytes, 0, 0..10), Some(next));
            assert_eq!(search(&bytes, 0, 0..damaged), None, "of another place");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let whole = written(7);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&bytes, 0), Found::Frame(..)), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(!matches!(read(&whole[..length], 0), Found::Frame(..)), "cut at {length}");
            let mut bytes = whole.clone();
            bytes[length..].fill(0);
            assert!(!matches!(read(&bytes, 0), Found::Frame(..)), "zeros from {length}");
        }
    }
}
