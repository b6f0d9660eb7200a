//! The Avro schemas in force, and single-object encoding: two marker bytes, the schema's CRC-64-AVRO fingerprint
//! (little-endian), the datum (Avro specification, "Single-object encoding").

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::util::max_allocation_bytes;
use apache_avro::writer::datum::GenericDatumWriter;
use fluxori_core::record::MAX_RECORD_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::WireError;

const MARKER: [u8; 2] = [0xC3, 0x01];
const HEADER_BYTES: usize = 10;

/// A schema that rules version 1 names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaInForce {
    /// Its file under `schemas/`.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The schemas that rules version 1 names: usage events, signed commands, and the payload of a command.
pub const SCHEMAS: [SchemaInForce; 3] = [
    SchemaInForce { file: "usage_event.v1.avsc", text: include_str!("../../../schemas/usage_event.v1.avsc") },
    SchemaInForce { file: "command.v1.avsc", text: include_str!("../../../schemas/command.v1.avsc") },
    SchemaInForce {
        file: "command_payload.v1.avsc",
        text: include_str!("../../../schemas/command_payload.v1.avsc"),
    },
];

/// Reads and writes data of one schema in single-object encoding.
pub(crate) struct Codec {
    header: [u8; HEADER_BYTES],
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
}

pub(crate) static USAGE: LazyLock<Codec> = LazyLock::new(|| Codec::new(&SCHEMAS[0]));
pub(crate) static COMMAND: LazyLock<Codec> = LazyLock::new(|| Codec::new(&SCHEMAS[1]));
pub(crate) static PAYLOAD: LazyLock<Codec> = LazyLock::new(|| Codec::new(&SCHEMAS[2]));

impl Codec {
    #[expect(clippy::expect_used, reason = "the schemas are compiled in, and every test reads them")]
    fn new(schema: &SchemaInForce) -> Self {
        bound_allocations();
        let schema: &'static Schema =
            Box::leak(Box::new(Schema::parse_str(schema.text).expect("a valid schema")));
        let mut header = [0; HEADER_BYTES];
        let fingerprint = schema.fingerprint::<Rabin>().bytes;
        for (to, from) in header.iter_mut().zip(MARKER.iter().chain(&fingerprint)) {
            *to = *from;
        }
        Self {
            header,
            reader: GenericDatumReader::builder(schema)
                .human_readable(false)
                .build()
                .expect("a valid schema"),
            writer: GenericDatumWriter::builder(schema)
                .human_readable(false)
                .build()
                .expect("a valid schema"),
        }
    }

    /// Encodes a value, its schema's fingerprint in front.
    pub(crate) fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, WireError> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&self.header);
        self.writer.write_ser(&mut bytes, value)?;
        if bytes.len() > MAX_RECORD_BYTES { Err(WireError::TooLarge(bytes.len())) } else { Ok(bytes) }
    }

    /// What begins every value: the marker and the schema's fingerprint.
    pub(crate) const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// The datum behind the header, if the bytes bear this schema's fingerprint.
    pub(crate) fn datum<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.strip_prefix(&self.header)
    }

    /// Reads a datum; bytes behind it are an error.
    pub(crate) fn read<T: DeserializeOwned>(&self, mut datum: &[u8]) -> Result<T, apache_avro::Error> {
        let value = self.reader.read_deser(&mut datum)?;
        if datum.is_empty() {
            Ok(value)
        } else {
            Err(serde::de::Error::custom(format!("{} bytes too many", datum.len())))
        }
    }
}

/// What a record claims to hold can never make a reader allocate more than a block of an archive takes: the largest
/// record of a topic, 2 MiB, and what lies before it. Whoever comes first sets it for the whole process.
pub(crate) fn bound_allocations() {
    max_allocation_bytes(4 * MAX_RECORD_BYTES);
}

/// Whether the bytes are in single-object encoding at all, of whatever schema.
pub(crate) fn has_marker(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES && bytes.starts_with(&MARKER)
}
