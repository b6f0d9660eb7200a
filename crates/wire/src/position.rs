//! Positions: what a caller gets back for records that the broker has.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fluxori_core::id::LogId;
use uuid::Uuid;

/// Where records lie in a log: the log and, per partition, the offset of the last of them. Opaque to callers; as text
/// `LOG:PARTITION-OFFSET,...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The log.
    pub log_id: LogId,
    /// The offset of the last record, by partition.
    pub offsets: BTreeMap<i32, i64>,
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position: use one that an answer gave you, as it is")]
pub struct PositionError(String);

impl Position {
    /// The position of one record.
    #[must_use]
    pub fn of(log_id: LogId, partition: i32, offset: i64) -> Self {
        Self { log_id, offsets: BTreeMap::from([(partition, offset)]) }
    }

    /// Takes a further record in.
    pub fn include(&mut self, partition: i32, offset: i64) {
        let last = self.offsets.entry(partition).or_insert(offset);
        *last = offset.max(*last);
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.log_id.0.simple())?;
        for (index, (partition, offset)) in self.offsets.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ',' };
            write!(f, "{separator}{partition}-{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError(text.chars().take(80).collect());
        let (log, pairs) = text.split_once(':').ok_or_else(error)?;
        let log_id = LogId(Uuid::try_parse(log).map_err(|_| error())?);
        let mut offsets = BTreeMap::new();
        for pair in pairs.split(',') {
            let (partition, offset) = pair.split_once('-').ok_or_else(error)?;
            let partition: u16 = partition.parse().map_err(|_| error())?;
            let offset: u64 = offset.parse().map_err(|_| error())?;
            offsets.insert(i32::from(partition), i64::try_from(offset).map_err(|_| error())?);
        }
        Ok(Self { log_id, offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text() {
        let mut position = Position::of(LogId(Uuid::nil()), 3, 42);
        position.include(0, 7);
        position.include(3, 41);
        assert_eq!(position.to_string(), "00000000000000000000000000000000:0-7,3-42");
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in
            ["", "x:1-2", "00000000000000000000000000000000:", "00000000000000000000000000000000:1--2"]
        {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
