//! ClickHouse's native compression: frames of a 16-byte checksum, a method, two sizes and the data.

use lz4_flex::block;

/// The checksum's length.
const CHECKSUM: usize = 16;
/// The length of method and sizes, which the checksum covers together with the data.
const HEADER: usize = 9;
const LZ4: u8 = 0x82;
const PLAIN: u8 = 0x02;

/// The largest block that a frame may hold; the client's are 256 KiB, ClickHouse's own 1 MiB.
const BLOCK_LIMIT: usize = 64 << 20;

/// How much goes into a frame of ours.
const BLOCK: usize = 1 << 20;

/// Reads the blocks of a sequence of frames. The first error ends it.
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Splits the next frame off: its checksum, and what that covers.
    fn split(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (checksum, rest) = self.rest.split_at_checked(CHECKSUM)?;
        let compressed = usize::try_from(u32_at(rest, 1)?).ok()?;
        let (covered, rest) = rest.split_at_checked(compressed)?;
        self.rest = rest;
        Some((checksum, covered))
    }

    fn block(checksum: &[u8], covered: &[u8]) -> Result<Vec<u8>, &'static str> {
        if checksum_of(covered) != checksum {
            return Err("a compressed block has a wrong checksum");
        }
        let (header, data) = covered.split_at_checked(HEADER).ok_or("a compressed block is too short")?;
        let size = u32_at(header, 5)
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size <= BLOCK_LIMIT)
            .ok_or("a compressed block is too large (over 64 MiB)")?;
        match header.first() {
            Some(&LZ4) => {
                let block = block::decompress(data, size).map_err(|_| "a compressed block is not LZ4")?;
                (block.len() == size)
                    .then_some(block)
                    .ok_or("a compressed block has another size than it says")
            }
            Some(&PLAIN) if data.len() == size => Ok(data.to_vec()),
            _ => Err("a compressed block has a method other than LZ4 and none"),
        }
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Vec<u8>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let block = match self.split() {
            Some((checksum, covered)) => Self::block(checksum, covered),
            None => Err("a compressed block is cut off"),
        };
        if block.is_err() {
            self.rest = &[];
        }
        Some(block)
    }
}

/// Compresses a text into frames; an empty one has none.
pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::with_capacity(bytes.len() / 2);
    for chunk in bytes.chunks(BLOCK) {
        let data = block::compress(chunk);
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut covered = Vec::with_capacity(HEADER + data.len());
        covered.push(LZ4);
        covered.extend_from_slice(&size(HEADER + data.len()));
        covered.extend_from_slice(&size(chunk.len()));
        covered.extend_from_slice(&data);
        frames.extend_from_slice(&checksum_of(&covered));
        frames.extend_from_slice(&covered);
    }
    frames
}

/// CityHash 1.0.2 of 128 bits, its upper half first.
fn checksum_of(covered: &[u8]) -> [u8; CHECKSUM] {
    cityhash_rs::cityhash_102_128(covered).rotate_right(64).to_le_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        Ok(Frames::new(bytes).collect::<Result<Vec<_>, _>>()?.concat())
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let text: Vec<u8> = (0..=250_u8).cycle().take(3_000_000).collect();
        assert_eq!(decompress(&compress(&text)), Ok(text));
        assert_eq!(decompress(&compress(b"")), Ok(Vec::new()));
    }

    #[test]
    fn a_damaged_or_cut_frame_is_an_error() {
        let frames = compress(b"some text that is long enough to be worth a frame");
        for at in 0..frames.len() {
            let mut damaged = frames.clone();
            damaged[at] ^= 1;
            assert!(decompress(&damaged).is_err(), "byte {at}");
            if at > 0 {
                assert!(decompress(&frames[..at]).is_err(), "cut at {at}");
            }
        }
    }
}
