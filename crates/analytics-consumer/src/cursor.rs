//! Pure: what is committed to the consumer group.

use fluxori_core::time::Timestamp;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// The text beside a committed offset: the running time there, and the end of the range that is sealed, if one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The log's time before the record at the committed offset: the latest append time so far.
    pub now: Timestamp,
    /// The end (exclusive) of the range that begins at the committed offset and may be written already, in part or all.
    pub sealed_end: Option<i64>,
}

/// A text that is no cursor of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the group's metadata {text:?} is not what an analytics consumer commits ({reason}): does another program use the \
     group (analytics.group), or is this build too old?"
)]
pub struct CursorError {
    text: String,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u8,
    now_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_end: Option<i64>,
}

impl Cursor {
    /// Before the first record, with nothing sealed.
    pub const BEGINNING: Self = Self { now: Timestamp::MIN, sealed_end: None };

    /// The text to commit, JSON of less than 100 bytes.
    #[must_use]
    pub fn to_text(self) -> String {
        let text = Text { version: VERSION, now_us: self.now.micros(), sealed_end: self.sealed_end };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Reads a committed text; `offset` is the one committed with it.
    ///
    /// # Errors
    /// It was not committed by [`Self::to_text`], or a sealed range ends before its start.
    pub fn parse(text: &str, offset: i64) -> Result<Self, CursorError> {
        let error = |reason: String| CursorError { text: text.chars().take(200).collect(), reason };
        let found: Text = serde_json::from_str(text).map_err(|problem| error(problem.to_string()))?;
        if found.version != VERSION {
            return Err(error(format!("version {}", found.version)));
        }
        if found.sealed_end.is_some_and(|end| end <= offset) {
            return Err(error(format!("the range ends before its start, {offset}")));
        }
        Ok(Self { now: Timestamp::from_micros(found.now_us), sealed_end: found.sealed_end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        for sealed_end in [None, Some(i64::MAX)] {
            for now in [Timestamp::MIN, Timestamp::from_micros(1_795_000_000_000_001)] {
                let cursor = Cursor { now, sealed_end };
                assert!(cursor.to_text().len() < 100);
                assert_eq!(Cursor::parse(&cursor.to_text(), 5), Ok(cursor));
            }
        }
    }

    #[test]
    fn what_others_commit_is_refused() {
        for text in
            ["", "rust-rdkafka", r#"{"version":2,"now_us":0}"#, r#"{"version":1,"now_us":0,"sealed_end":5}"#]
        {
            let error = Cursor::parse(text, 5).unwrap_err().to_string();
            assert!(error.contains("analytics.group"), "{error}");
        }
    }
}
