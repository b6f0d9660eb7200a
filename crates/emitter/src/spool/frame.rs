//! Pure: how records lie in a segment, one frame after another.
//!
//! ```text
//! frame := length u32 | checksum u32 | flags u8 | key length u8 | key | value        (numbers little-endian)
//! ```
//!
//! `length` counts what follows the checksum; it is never 0, so unwritten space, which is zeros, is no frame. The checksum is
//! the CRC-32 of what it follows, begun with the record's index and the length, so that a frame counts in its own
//! place only.

/// Bytes before the flags.
const PREFIX: usize = 8;
/// Set if the record bears a number of its spool's own producer.
const OWN_NUMBER: u8 = 1;

/// A record in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
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
    /// Something else than this record, whole; and where the next record begins, if it is whole.
    Damaged(Option<usize>),
}

/// Begins a frame in `to`, which is emptied first; its value is appended next. False if the key is too long for a frame.
pub(crate) fn begin(key: &[u8], own_number: bool, to: &mut Vec<u8>) -> bool {
    to.clear();
    to.extend_from_slice(&[0; PREFIX]);
    to.push(if own_number { OWN_NUMBER } else { 0 });
    let Ok(length) = u8::try_from(key.len()) else { return false };
    to.push(length);
    to.extend_from_slice(key);
    true
}

/// Finishes the frame of the record with this index.
pub(crate) fn finish(index: u64, frame: &mut [u8]) {
    let Some((prefix, body)) = frame.split_first_chunk_mut::<PREFIX>() else { return };
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let checksum = checksum(index, length, body);
    let fields = length.to_le_bytes().into_iter().chain(checksum.to_le_bytes());
    prefix.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
}

/// Reads what stands at `offset`, where the record of this index belongs.
pub(crate) fn read(bytes: &[u8], offset: usize, index: u64) -> Found<'_> {
    let Some((length, rest)) = bytes.get(offset..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return Found::End;
    };
    let length = u32::from_le_bytes(*length);
    if length == 0 {
        return Found::End;
    }
    let next =
        usize::try_from(length).ok().and_then(|length| offset.checked_add(PREFIX)?.checked_add(length));
    match (read_body(rest, length, index), next) {
        (Some(frame), Some(next)) => Found::Frame(frame, next),
        // If its length is still right, the next record is where it says.
        (_, next) => Found::Damaged(next.filter(|next| is_whole(bytes, *next, index + 1))),
    }
}

fn read_body(rest: &[u8], length: u32, index: u64) -> Option<Frame<'_>> {
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..usize::try_from(length).ok()?)?;
    (checksum(index, length, body) == u32::from_le_bytes(*expected)).then_some(())?;
    let (flags, rest) = body.split_first()?;
    let (key_length, rest) = rest.split_first()?;
    let (key, value) = rest.split_at_checked(usize::from(*key_length))?;
    Some(Frame { key, value, own_number: flags & OWN_NUMBER != 0 })
}

fn is_whole(bytes: &[u8], offset: usize, index: u64) -> bool {
    let rest = bytes.get(offset..).and_then(<[u8]>::split_first_chunk::<4>);
    rest.is_some_and(|(length, rest)| read_body(rest, u32::from_le_bytes(*length), index).is_some())
}

fn checksum(index: u64, length: u32, body: &[u8]) -> u32 {
    let [a, b, c, d, e, f, g, h] = index.to_le_bytes();
    let seed = u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h]).rotate_left(16) ^ !length;
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
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
    fn a_frame_reads_as_it_was_written_and_in_its_own_place_only() {
        let bytes = written(7);
        let Found::Frame(frame, next) = read(&bytes, 0, 7) else { panic!() };
        assert_eq!(
            (frame.key, frame.value, frame.own_number),
            (b"acme".as_slice(), b"an event".as_slice(), true)
        );
        assert_eq!(next, bytes.len());
        assert_eq!(read(&bytes, 0, 8), Found::Damaged(None));
        assert_eq!(read(&bytes, next, 8), Found::End);
    }

    #[test]
    fn the_record_behind_a_damaged_one_is_found() {
        let mut bytes = written(7);
        let next = bytes.len();
        bytes[20] ^= 1;
        assert_eq!(read(&bytes, 0, 7), Found::Damaged(None));
        bytes.extend(written(8));
        assert_eq!(read(&bytes, 0, 7), Found::Damaged(Some(next)));
        assert!(matches!(read(&bytes, next, 8), Found::Frame(..)));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let whole = written(7);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&bytes, 0, 7), Found::Frame(..)), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(!matches!(read(&whole[..length], 0, 7), Found::Frame(..)), "cut at {length}");
            let mut bytes = whole.clone();
            bytes[length..].fill(0);
            assert!(!matches!(read(&bytes, 0, 7), Found::Frame(..)), "zeros from {length}");
        }
    }
}
