//! What is counted at most in one call, so that time and memory are bounded.

use thiserror::Error;

/// Bytes of text in one call: of a text, of a stream, or of everything in a chat together. 16 MiB are 2 to 5 million tokens,
/// more than any model reads, and take about 0.2 s; unknown words without end take 2 s.
pub const MAX_BYTES: usize = 16 << 20;
/// Messages in one chat.
pub const MAX_MESSAGES: usize = 10_000;
/// Tools in one chat. OpenAI takes 128.
pub const MAX_TOOLS: usize = 1_000;
/// Parts of all messages of a chat together: texts, images, calls of tools.
pub const MAX_PARTS: usize = 100_000;
/// How deep the schema of a tool may be nested.
pub const MAX_DEPTH: usize = 64;
/// Pixels of an image's longer side.
pub const MAX_PIXELS: u32 = 100_000;

/// Why something is not counted. Nothing was counted then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[must_use]
pub enum Error {
    /// More text than [`MAX_BYTES`].
    #[error(
        "{bytes} bytes of text; at most {MAX_BYTES} are counted in one call: cut the text and add the counts"
    )]
    TooManyBytes {
        /// Bytes that were given, or were reached when the limit was passed.
        bytes: usize,
    },
    /// More messages than [`MAX_MESSAGES`].
    #[error(
        "{messages} messages; at most {MAX_MESSAGES} are counted in one call: count them in parts and add the counts"
    )]
    TooManyMessages {
        /// Messages that were given.
        messages: usize,
    },
    /// More tools than [`MAX_TOOLS`].
    #[error(
        "{tools} tools; at most {MAX_TOOLS} are counted in one call: leave out those that the call does not need"
    )]
    TooManyTools {
        /// Tools that were given.
        tools: usize,
    },
    /// More parts than [`MAX_PARTS`].
    #[error(
        "{parts} parts of messages; at most {MAX_PARTS} are counted in one call: join texts, or count in parts"
    )]
    TooManyParts {
        /// Parts that were given.
        parts: usize,
    },
    /// A schema nested deeper than [`MAX_DEPTH`].
    #[error("the schema of tool {tool:?} is nested deeper than {MAX_DEPTH} levels: flatten it, or use $defs")]
    TooDeep {
        /// The tool's name.
        tool: String,
    },
    /// An image without pixels, or larger than [`MAX_PIXELS`].
    #[error(
        "an image of {width} x {height} pixels; each side must be 1 to {MAX_PIXELS}: scale it before it is sent"
    )]
    Image {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Bytes that are not text.
    #[error(
        "not UTF-8 from byte {valid_up_to} on: models take text only; encode binary data, for instance as base64"
    )]
    NotUtf8 {
        /// How many bytes at the beginning are valid.
        valid_up_to: usize,
    },
}

/// [`Error::TooManyBytes`] if it is so.
pub(crate) fn check_bytes(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_BYTES { Ok(()) } else { Err(Error::TooManyBytes { bytes }) }
}
