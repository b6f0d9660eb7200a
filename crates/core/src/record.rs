//! Pure: one record of the log, decoded.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::SignedCommand;
use crate::id::OrgId;
use crate::time::Timestamp;
use crate::usage::UsageEvent;

/// Largest record that is read, in bytes of its value.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// A record: key, value and append time, nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Whose it is.
    pub key: RecordKey,
    /// The broker's time of appending.
    pub append_time: Timestamp,
    /// What it says.
    pub body: Body,
}

/// The key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// Holds for every org of the partition.
    Global,
    /// Belongs to an org.
    Org(OrgId),
    /// Neither.
    Invalid,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// That an AI operation happened.
    Usage(Arc<UsageEvent>),
    /// That something is to be done.
    Command(Box<SignedCommand>),
    /// Nothing but its append time.
    Tick,
    /// Not readable, and why.
    Unreadable(QuarantineReason, String),
}

macro_rules! quarantine_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a record waits in the quarantine.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum QuarantineReason {
            $($(#[$doc])* $name,)*
        }

        impl QuarantineReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in tables and answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

quarantine_reasons! {
    /// Not Avro in single-object encoding, or cut short.
    Malformed = "malformed",
    /// Of a schema that the rules in force do not name.
    SchemaNotInForce = "schema_not_in_force",
    /// Above 1 MiB.
    TooLarge = "too_large",
    /// A field that cannot be: a negative count, a subset above its total, an invalid id.
    Invalid = "invalid",
    /// Its key is not its org.
    WrongKey = "wrong_key",
    /// In another partition than its key hashes to.
    WrongPartition = "wrong_partition",
    /// More than 5 minutes ahead of the log's time.
    OccurredInFuture = "occurred_in_future",
    /// Before the acceptance window.
    TooLate = "too_late",
    /// Its org has not been opened; released, in order, when it is.
    OrgNotOpen = "org_not_open",
    /// Its org has not been opened, and as much as can wait for it waits already; not released by itself.
    TooManyWaiting = "too_many_waiting",
    /// The same id with another content.
    Conflict = "conflict",
    /// A revision 2 without a correction that could take it.
    Superseding = "superseding",
    /// The charge, or with it a total of its org, is out of range.
    AmountOutOfRange = "amount_out_of_range",
    /// Signed with a key that the log does not know.
    UnknownKey = "unknown_key",
    /// The signature does not fit.
    BadSignature = "bad_signature",
    /// The key may not give this kind of command.
    NotPermitted = "not_permitted",
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The partition of a key, as Java clients choose it: murmur2 with the seed 0x9747b28c, sign bit cleared, modulo.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len() % (1 << 32)).unwrap_or(0);
    let mut hash: u32 = 0x9747_b28c ^ length;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = chunk.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        word = word.wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    i32::try_from(hash & 0x7fff_ffff).unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are those of Kafka's own test of its hash (UtilsTest.testMurmur2).
    #[test]
    fn keys_hash_as_java_clients_hash_them() {
        let hash = |key: &[u8]| partition_of(key, i32::MAX);
        let java = |signed: i32| (signed & 0x7fff_ffff) % i32::MAX;
        assert_eq!(hash(b"21"), java(-973_932_308));
        assert_eq!(hash(b"foobar"), java(-790_332_482));
        assert_eq!(hash(b"a-little-bit-long-string"), java(-985_981_536));
        assert_eq!(hash(b"a-little-bit-longer-string"), java(-1_486_304_829));
        assert_eq!(hash(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), java(-58_897_971));
        assert_eq!(hash(b"abc"), java(479_470_107));
    }
}
