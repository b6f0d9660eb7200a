//! Reads usage events: Avro's binary encoding of `schemas/usage_event.v1.avsc`, field by field.
//!
//! Every record of the log passes through here, at every replay. The general reader of `apache-avro` takes more than twice as
//! long, and which broken bytes it still accepts may change with its version; here that is fixed. The tests below hold the
//! two against each other.

use std::collections::BTreeMap;

use fluxori_core::id::{EventId, IdError, ReservationId};
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{CallOutcome, Certainty, Measurement, Quantity, UsageFields};
use uuid::Uuid;

/// Why bytes are no usage event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// [`QuarantineReason::Malformed`]: no datum of the schema; [`QuarantineReason::Invalid`]: a datum with a value that
    /// its field cannot have.
    pub(crate) reason: QuarantineReason,
    /// In words.
    pub(crate) detail: String,
}

type Result<T> = std::result::Result<T, ReadError>;

fn malformed<T>(detail: impl Into<String>) -> Result<T> {
    Err(ReadError { reason: QuarantineReason::Malformed, detail: detail.into() })
}

fn invalid<T>(detail: impl Into<String>) -> Result<T> {
    Err(ReadError { reason: QuarantineReason::Invalid, detail: detail.into() })
}

/// Reads a datum to its last byte.
pub(crate) fn read(datum: &[u8]) -> Result<UsageFields> {
    let mut from = Datum(datum);
    let fields = UsageFields {
        event_id: EventId(from.uuid()?),
        producer_id: from.id()?,
        producer_seq: from.long()?,
        source: from.id()?,
        occurred_at: from.time()?,
        org_id: from.id()?,
        user_id: from.optional(Datum::id)?,
        team_id: from.optional(Datum::id)?,
        module: from.id()?,
        feature: from.optional(Datum::id)?,
        run_id: from.optional(Datum::id)?,
        operation: from.id()?,
        provider: from.id()?,
        provider_account: from.optional(Datum::id)?,
        request_model: from.id()?,
        response_model: from.optional(Datum::id)?,
        region: from.optional(Datum::id)?,
        service_tier: from.optional(Datum::id)?,
        batch: from.boolean()?,
        input_tokens: from.long()?,
        cache_read_input_tokens: from.long()?,
        cache_write_5m_input_tokens: from.long()?,
        cache_write_1h_input_tokens: from.long()?,
        audio_input_tokens: from.long()?,
        image_input_tokens: from.long()?,
        cache_read_audio_input_tokens: from.long()?,
        cache_read_image_input_tokens: from.long()?,
        output_tokens: from.long()?,
        reasoning_output_tokens: from.long()?,
        audio_output_tokens: from.long()?,
        image_output_tokens: from.long()?,
        units: from.map(Datum::quantity)?,
        measurement: from.symbol([Measurement::Measured, Measurement::Estimated])?,
        certainty: from.symbol([Certainty::Exact, Certainty::AtLeast, Certainty::Unknown])?,
        revision: from.int()?,
        own_key: from.boolean()?,
        served_from_cache: from.boolean()?,
        latency_ms: from.optional(Datum::long)?,
        time_to_first_token_ms: from.optional(Datum::long)?,
        attempt: from.int()?,
        outcome: from.symbol([CallOutcome::Success, CallOutcome::Error, CallOutcome::Cancelled])?,
        reservation_id: from.optional(Datum::uuid)?.map(ReservationId),
        reservation_final: from.boolean()?,
        request_id: from.optional(Datum::id)?,
        response_id: from.optional(Datum::id)?,
        trace_id: from.optional(Datum::id)?,
        tags: from.map(|from| from.text().map(str::to_owned))?,
        raw_usage: from.optional(|from| from.text().map(str::to_owned))?,
    };
    if from.0.is_empty() { Ok(fields) } else { malformed(format!("{} bytes too many", from.0.len())) }
}

/// What is left of a datum. See "Binary encoding" in the Avro specification.
struct Datum<'a>(&'a [u8]);

/// An identifier that checks its text.
trait TextId: Sized {
    fn check(text: &str) -> std::result::Result<Self, IdError>;
}

macro_rules! text_ids {
    ($($name:ident),*) => {
        $(impl TextId for fluxori_core::id::$name {
            fn check(text: &str) -> std::result::Result<Self, IdError> {
                Self::new(text)
            }
        })*
    };
}

text_ids!(Feature, Label, Model, Module, OrgId, ProducerId, Provider, RunId, TeamId, UserId);

impl<'a> Datum<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((bytes, rest)) = self.0.split_at_checked(count) else {
            return malformed(format!("{} bytes where {count} should follow", self.0.len()));
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        let Some((byte, rest)) = self.0.split_first() else { return malformed("it ends too early") };
        self.0 = rest;
        Ok(*byte)
    }

    /// A number: zig-zag, seven bits to a byte, the lowest first.
    fn long(&mut self) -> Result<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        malformed("a number of more than 64 bits")
    }

    fn int(&mut self) -> Result<i32> {
        let number = self.long()?;
        i32::try_from(number).or_else(|_| malformed(format!("{number} has more than 32 bits")))
    }

    fn boolean(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => malformed(format!("{byte} is neither true nor false")),
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = self.long()?;
        let Ok(length) = usize::try_from(length) else {
            return malformed(format!("a text of {length} bytes"));
        };
        std::str::from_utf8(self.bytes(length)?).or_else(|error| malformed(format!("a text: {error}")))
    }

    fn id<T: TextId>(&mut self) -> Result<T> {
        T::check(self.text()?).or_else(|error| invalid(error.to_string()))
    }

    fn uuid(&mut self) -> Result<Uuid> {
        Uuid::from_slice(self.bytes(16)?).or_else(|error| malformed(error.to_string()))
    }

    fn time(&mut self) -> Result<Timestamp> {
        let micros = self.long()?;
        let time = Timestamp::from_micros(micros).in_range();
        time.map_or_else(|| invalid(format!("{micros} is no time of the years 1 to 9999")), Ok)
    }

    fn quantity(&mut self) -> Result<Quantity> {
        let text = self.text()?;
        text.parse().or_else(|error| {
            let begin: String = text.chars().take(40).collect();
            invalid(format!("the quantity `{begin}`: {error}"))
        })
    }

    fn symbol<T: Copy, const COUNT: usize>(&mut self, symbols: [T; COUNT]) -> Result<T> {
        let index = self.long()?;
        let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
        symbol.copied().map_or_else(|| malformed(format!("no symbol has the index {index}")), Ok)
    }

    /// A union with null, which comes first.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.long()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            index => malformed(format!("no branch has the index {index}")),
        }
    }

    /// Blocks of entries, up to an empty one. Of a name that comes twice the last value counts.
    fn map<T>(&mut self, read: impl Fn(&mut Self) -> Result<T>) -> Result<BTreeMap<String, T>> {
        let mut map = BTreeMap::new();
        loop {
            let count = match self.long()? {
                0 => return Ok(map),
                // A block with its size, for readers that skip it.
                count @ ..0 => {
                    self.long()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                let name = self.text()?.to_owned();
                map.insert(name, read(self)?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::USAGE;

    fn example() -> Vec<u8> {
        let now = Timestamp::from_micros(1_795_348_801_000_000);
        let text = include_str!("../../../schemas/examples/usage_event.v1.json");
        let event = fluxori_ingest::usage_from_json(serde_json::from_str(text).unwrap(), now).unwrap();
        USAGE.datum(&crate::encode_usage(&event).unwrap()).unwrap().to_vec()
    }

    #[test]
    fn an_event_reads_as_the_general_reader_reads_it() {
        let datum = example();
        assert_eq!(read(&datum).unwrap(), USAGE.read::<UsageFields>(&datum).unwrap());
        let mut more = datum.clone();
        more.push(0);
        assert_eq!(read(&more).unwrap_err().detail, "1 bytes too many");
        for length in 0..datum.len() {
            assert!(read(&datum[..length]).is_err());
        }
    }

    #[derive(Debug, Clone)]
    enum Damage {
        Change(usize, u8),
        Insert(usize, u8),
        Remove(usize),
    }

    fn damage() -> impl Strategy<Value = Damage> {
        let place = any::<usize>();
        let byte = prop_oneof![any::<u8>(), 0_u8..4, 0x7C_u8..0x84];
        prop_oneof![
            (place, byte.clone()).prop_map(|(at, to)| Damage::Change(at, to)),
            (place, byte).prop_map(|(at, byte)| Damage::Insert(at, byte)),
            place.prop_map(Damage::Remove),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

        #[test]
        fn damaged_bytes_read_as_the_general_reader_reads_them(all in proptest::collection::vec(damage(), 1..4)) {
            let mut datum = example();
            for damage in all {
                let length = datum.len();
                match damage {
                    Damage::Change(at, to) => datum[at % length] = to,
                    Damage::Insert(at, byte) => datum.insert(at % (length + 1), byte),
                    Damage::Remove(at) => drop(datum.remove(at % length)),
                }
            }
            let ours = read(&datum);
            match USAGE.read::<UsageFields>(&datum) {
                Ok(theirs) => prop_assert_eq!(ours, Ok(theirs)),
                Err(_) => prop_assert!(ours.is_err()),
            }
        }
    }
}
