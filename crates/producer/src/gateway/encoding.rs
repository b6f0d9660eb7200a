//! Pure: bodies that come compressed, unpacked into bounded memory.

use std::io::{self, Read};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use flate2::read::MultiGzDecoder;
use fluxori_runtime::http::{Problem, body_too_large};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

/// Largest window of a zstd frame, in bytes: what RFC 9659 has every sender keep to.
const MAX_ZSTD_WINDOW: u64 = 8 << 20;

/// What is read here, as `Accept-Encoding` says it.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The request's `Content-Encoding`.
    ///
    /// # Errors
    /// 415 for one that is not read here, or several on top of each other.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut all = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, more) = (all.next(), all.next().is_some());
        let name = first.map_or(Ok(""), HeaderValue::to_str).unwrap_or("?").trim().to_ascii_lowercase();
        match name.as_str() {
            _ if more => Err(unsupported("several encodings on top of each other")),
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(unsupported(&format!("Content-Encoding: {other}"))),
        }
    }

    /// Unpacks a body, which may have at most `max_bytes` then. What is beyond is never unpacked.
    ///
    /// # Errors
    /// 413 if there is more, 400 if it is not encoded so or is cut.
    pub(super) fn decode(self, body: &[u8], max_bytes: usize) -> Result<Vec<u8>, Problem> {
        let mut unpacked = Bounded { bytes: Vec::new(), max_bytes };
        let (name, outcome) = match self {
            Self::Identity => ("identity", unpacked.take(body)),
            Self::Gzip => ("gzip", unpacked.take(MultiGzDecoder::new(body))),
            Self::Zstd => ("zstd", unpacked.take_zstd(body)),
        };
        match outcome {
            Ok(Size::Fits) => Ok(unpacked.bytes),
            Ok(Size::TooLarge) => Err(body_too_large(max_bytes)),
            Err(error) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "bad-encoding", "The body cannot be unpacked")
                    .detail(format!("it is declared as {name}, and is not or is cut: {error}")))
            }
        }
    }
}

enum Size {
    Fits,
    TooLarge,
}

struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Bounded {
    fn take(&mut self, from: impl Read) -> io::Result<Size> {
        let room = u64::try_from(self.max_bytes.saturating_sub(self.bytes.len())).unwrap_or(u64::MAX);
        from.take(room.saturating_add(1)).read_to_end(&mut self.bytes)?;
        Ok(if self.bytes.len() > self.max_bytes { Size::TooLarge } else { Size::Fits })
    }

    /// Frame by frame; skippable ones hold nothing of the body.
    fn take_zstd(&mut self, body: &[u8]) -> io::Result<Size> {
        let mut rest = body;
        loop {
            match StreamingDecoder::new_with_max_window_size(&mut rest, MAX_ZSTD_WINDOW) {
                Ok(frame) => {
                    if let Size::TooLarge = self.take(frame)? {
                        return Ok(Size::TooLarge);
                    }
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    rest = rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
            if rest.is_empty() {
                return Ok(Size::Fits);
            }
        }
    }
}

fn unsupported(what: &str) -> Problem {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Problem::new(status, "unknown-encoding", "The body's encoding is not read here")
        .detail(format!("{what}; send the body as it is, or with gzip or zstd"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    pub(in crate::gateway) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(in crate::gateway) fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn what_was_packed_comes_out_whole_and_several_members_one_after_the_other() {
        let text = "usage ".repeat(5_000).into_bytes();
        for (encoding, packed) in [
            (Encoding::Identity, text.clone()),
            (Encoding::Gzip, gzip(&text)),
            (Encoding::Zstd, zstd(&text)),
            (Encoding::Gzip, [gzip(&text[..7]), gzip(&text[7..])].concat()),
            (Encoding::Zstd, [zstd(&text[..7]), zstd(&text[7..])].concat()),
            (Encoding::Zstd, [b"\x50\x2a\x4d\x18\x03\0\0\0xyz".to_vec(), zstd(&text)].concat()),
        ] {
            assert_eq!(encoding.decode(&packed, text.len()).unwrap(), text, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_is_413_and_is_unpacked_no_further_than_the_limit() {
        let zeros = vec![0_u8; 64 << 20];
        for (encoding, packed) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd(&zeros)),
            (Encoding::Gzip, gzip(b"x").repeat(2_000)),
            (Encoding::Zstd, zstd(b"x").repeat(2_000)),
        ] {
            assert!(packed.len() < 1 << 20, "{}", packed.len());
            let problem = encoding.decode(&packed, 1_000).unwrap_err();
            assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
        }
        let mut unpacked = Bounded { bytes: Vec::new(), max_bytes: 1_000 };
        assert!(matches!(unpacked.take(MultiGzDecoder::new(&*gzip(&zeros))), Ok(Size::TooLarge)));
        assert_eq!(unpacked.bytes.len(), 1_001);
        assert!(unpacked.bytes.capacity() < 100_000);
    }

    #[test]
    fn a_window_that_would_take_much_memory_is_refused() {
        // A frame that asks for a window of 64 MiB and holds one byte.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x80, 0x09, 0x00, 0x00, b'x'];
        assert_eq!(Encoding::Zstd.decode(&frame, 1_000).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_is_cut_or_something_else_is_400() {
        let text = b"some usage of some model".repeat(10);
        let half = |packed: Vec<u8>| packed[..packed.len() / 2].to_vec();
        for (encoding, packed) in [
            (Encoding::Gzip, text.clone()),
            (Encoding::Zstd, text.clone()),
            (Encoding::Gzip, half(gzip(&text))),
            (Encoding::Zstd, half(zstd(&text))),
            (Encoding::Zstd, Vec::new()),
        ] {
            let problem = encoding.decode(&packed, 10_000).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{encoding:?}: {problem}");
        }
    }

    #[test]
    fn another_encoding_is_refused_by_name() {
        let of = |names: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            }
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]).unwrap(), Encoding::Identity);
        assert_eq!(of(&["X-GZip"]).unwrap(), Encoding::Gzip);
        assert!(of(&["br"]).unwrap_err().to_string().contains("br"));
        for several in [&["gzip, zstd"][..], &["gzip", "zstd"]] {
            assert_eq!(of(several).unwrap_err().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
    }
}
