//! `credits quarantine`: records that were not applied, and what is done about them.

mod decide;
mod list;
mod show;

use std::fmt;
use std::str::FromStr;

pub(crate) use decide::{DecideArguments, dismiss, release};
pub(crate) use list::{ListArguments, list};
pub(crate) use show::{ShowArguments, show};

/// Where in the log a record lies, as `quarantine list` writes it: `PARTITION-OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    partition: i32,
    offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.split_once('-').and_then(|(partition, offset)| {
            let (partition, offset): (u16, u64) = (partition.parse().ok()?, offset.parse().ok()?);
            Some(Self { partition: partition.into(), offset: i64::try_from(offset).ok()? })
        });
        place.ok_or_else(|| {
            format!("`{text}` is no place in the log such as 3-1042, as `credits quarantine list` shows it")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        assert_eq!("3-1042".parse(), Ok(Place { partition: 3, offset: 1042 }));
        assert_eq!(Place { partition: 3, offset: 1042 }.to_string(), "3-1042");
        for wrong in ["", "3", "-1-2", "3--2", "3-x", "3-99999999999999999999"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
