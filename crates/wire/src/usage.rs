//! Reads and writes usage events: Avro's binary encoding of `schemas/usage_event.v1.avsc`, field by field.
//!
//! Every record of the log passes through here, at every replay, and every event on its way out, on its caller's time. The
//! general reader of `apache-avro` takes more than twice as long and the writer many times, and which broken bytes are
//! still accepted may change with its version; here that is fixed. The tests below hold the two against each other.

use std::collections::BTreeMap;
use std::io::Write as _;

use fluxori_core::id::{EventId, IdError, ProducerId, ReservationId};
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

/// Who emitted a datum and its number there, if it can be read so far, whatever comes after.
pub(crate) fn read_number(datum: &[u8]) -> Result<(ProducerId, i64)> {
    let mut from = Datum(datum);
    from.uuid()?;
    let producer_id = from.id()?;
    match from.long()? {
        number @ 0.. => Ok((producer_id, number)),
        number => invalid(format!("the number {number}")),
    }
}

/// Appends an event, under this number of this producer.
pub(crate) fn write(event: &UsageFields, producer_id: &ProducerId, producer_seq: i64, to: &mut Vec<u8>) {
    let mut to = Output(to);
    to.bytes(event.event_id.0.as_bytes());
    to.text(producer_id.as_str());
    to.long(producer_seq);
    to.text(event.source.as_str());
    to.long(event.occurred_at.micros());
    to.text(event.org_id.as_str());
    to.optional(event.user_id.as_ref().map(|id| id.as_str()), Output::text);
    to.optional(event.team_id.as_ref().map(|id| id.as_str()), Output::text);
    to.text(event.module.as_str());
    to.optional(event.feature.as_ref().map(|id| id.as_str()), Output::text);
    to.optional(event.run_id.as_ref().map(|id| id.as_str()), Output::text);
    to.text(event.operation.as_str());
    to.text(event.provider.as_str());
    to.optional(event.provider_account.as_ref().map(|id| id.as_str()), Output::text);
    to.text(event.request_model.as_str());
    to.optional(event.response_model.as_ref().map(|id| id.as_str()), Output::text);
    to.optional(event.region.as_ref().map(|id| id.as_str()), Output::text);
    to.optional(event.service_tier.as_ref().map(|id| id.as_str()), Output::text);
    to.boolean(event.batch);
    for count in [
        event.input_tokens,
        event.cache_read_input_tokens,
        event.cache_write_5m_input_tokens,
        event.cache_write_1h_input_tokens,
        event.audio_input_tokens,
        event.image_input_tokens,
        event.cache_read_audio_input_tokens,
        event.cache_read_image_input_tokens,
        event.output_tokens,
        event.reasoning_output_tokens,
        event.audio_output_tokens,
        event.image_output_tokens,
    ] {
        to.long(count);
    }
    to.map(&event.units, |to, quantity| to.quantity(*quantity));
    to.long(match event.measurement {
        Measurement::Measured => 0,
        Measurement::Estimated => 1,
    });
    to.long(match event.certainty {
        Certainty::Exact => 0,
        Certainty::AtLeast => 1,
        Certainty::Unknown => 2,
    });
    to.long(event.revision.into());
    to.boolean(event.own_key);
    to.boolean(event.served_from_cache);
    to.optional(event.latency_ms, Output::long);
    to.optional(event.time_to_first_token_ms, Output::long);
    to.long(event.attempt.into());
    to.long(match event.outcome {
        CallOutcome::Success => 0,
        CallOutcome::Error => 1,
        CallOutcome::Cancelled => 2,
    });
    to.optional(event.reservation_id.as_ref(), |to, id| to.bytes(id.0.as_bytes()));
    to.boolean(event.reservation_final);
    to.optional(event.request_id.as_ref().map(|id| id.as_str()), Output::text);
    to.optional(event.response_id.as_ref().map(|id| id.as_str()), Output::text);
    to.optional(event.trace_id.as_ref().map(|id| id.as_str()), Output::text);
    to.map(&event.tags, |to, value| to.text(value));
    to.optional(event.raw_usage.as_deref(), Output::text);
}

/// A datum that grows. See "Binary encoding" in the Avro specification.
struct Output<'a>(&'a mut Vec<u8>);

impl Output<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn long(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while rest >= 0x80 {
            let [low, ..] = rest.to_le_bytes();
            self.0.push(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.0.push(low);
    }

    fn boolean(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).unwrap_or(i64::MAX));
    }

    fn quantity(&mut self, quantity: Quantity) {
        // The longest decimal has 29 digits, a sign and a point.
        let mut text = [0_u8; 32];
        let mut rest = text.as_mut_slice();
        if write!(rest, "{}", quantity.0).is_err() {
            return self.text(&quantity.0.to_string());
        }
        let unused = rest.len();
        let length = text.len() - unused;
        self.length(length);
        self.bytes(text.get(..length).unwrap_or_default());
    }

    /// A union with null, which comes first.
    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.long(0),
            Some(value) => {
                self.long(1);
                write(self, value);
            }
        }
    }

    /// One block with all entries, unless there are none, and the empty one.
    fn map<T>(&mut self, map: &BTreeMap<String, T>, write: impl Fn(&mut Self, &T)) {
        if !map.is_empty() {
            self.length(map.len());
            for (name, value) in map {
                self.text(name);
                write(self, value);
            }
        }
        self.long(0);
    }
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

    #[test]
    fn the_number_of_an_event_is_read_though_what_follows_is_broken() {
        let datum = example();
        let fields = read(&datum).unwrap();
        let expected = (fields.producer_id.clone(), fields.producer_seq);
        let head = 16 + 1 + fields.producer_id.as_str().len();
        assert_eq!(read_number(&datum), Ok(expected.clone()));
        assert_eq!(read_number(&datum[..head + 4]), Ok(expected));
        assert!(read_number(&datum[..head]).is_err());
        let mut negative = datum[..head].to_vec();
        negative.push(1);
        assert!(read_number(&negative).is_err());
    }

    fn written(fields: &UsageFields) -> Vec<u8> {
        let mut datum = Vec::new();
        write(fields, &fields.producer_id, fields.producer_seq, &mut datum);
        datum
    }

    proptest! {
        #[test]
        fn an_event_is_written_as_the_general_writer_writes_it(
            texts in proptest::collection::vec(proptest::option::of("[^\\pC\\pZ]{1,60}"), 16),
            numbers in proptest::collection::vec(prop_oneof![0_i64..300, any::<i64>()], 20),
            units in proptest::collection::btree_map(".{0,9}", (any::<i64>(), 0_u32..7), 0..4),
            tags in proptest::collection::btree_map(".{0,9}", ".{0,300}", 0..5),
            flags in any::<[bool; 8]>(),
            choice in 0_usize..3,
        ) {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten();
            macro_rules! id {
                ($name:ident) => { text().map(|text| fluxori_core::id::$name::new(&text).unwrap()) };
            }
            let mut fields = read(&example()).unwrap();
            (fields.user_id, fields.team_id, fields.feature) = (id!(UserId), id!(TeamId), id!(Feature));
            (fields.run_id, fields.provider_account, fields.response_model) = (id!(RunId), id!(Label), id!(Model));
            (fields.region, fields.service_tier, fields.request_id) = (id!(Label), id!(Label), id!(Label));
            (fields.response_id, fields.trace_id, fields.raw_usage) = (id!(Label), id!(Label), text());
            let mut numbers = numbers.into_iter();
            let mut number = || numbers.next().unwrap();
            fields.producer_seq = number();
            fields.occurred_at = Timestamp::from_micros(number() / 1_000);
            (fields.input_tokens, fields.cache_read_input_tokens) = (number(), number());
            (fields.cache_write_5m_input_tokens, fields.cache_write_1h_input_tokens) = (number(), number());
            (fields.audio_input_tokens, fields.image_input_tokens) = (number(), number());
            (fields.cache_read_audio_input_tokens, fields.cache_read_image_input_tokens) = (number(), number());
            (fields.output_tokens, fields.reasoning_output_tokens) = (number(), number());
            (fields.audio_output_tokens, fields.image_output_tokens) = (number(), number());
            (fields.latency_ms, fields.time_to_first_token_ms) = (flags[0].then(&mut number), flags[1].then(&mut number));
            fields.units = units.into_iter()
                .map(|(name, (mantissa, scale))| (name, Quantity(rust_decimal::Decimal::new(mantissa, scale))))
                .collect();
            fields.tags = tags;
            [fields.batch, fields.own_key, fields.served_from_cache, fields.reservation_final] =
                [flags[2], flags[3], flags[4], flags[5]];
            fields.reservation_id = flags[6].then(|| ReservationId(Uuid::from_u128(7)));
            fields.measurement = [Measurement::Measured, Measurement::Estimated][usize::from(flags[7])];
            fields.certainty = [Certainty::Exact, Certainty::AtLeast, Certainty::Unknown][choice];
            fields.outcome = [CallOutcome::Success, CallOutcome::Error, CallOutcome::Cancelled][choice];
            (fields.revision, fields.attempt) = (i32::from_ne_bytes([1, 2, 3, u8::from(flags[0])]), 3);
            let general = USAGE.encode(&fields).unwrap();
            prop_assert_eq!(&written(&fields), USAGE.datum(&general).unwrap());
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
