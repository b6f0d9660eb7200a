//! Records of the log in Avro object container files: schema `archived_record.v1`, blocks of 64 KiB, deflated.

use std::io::{Read, Write};
use std::sync::LazyLock;

use apache_avro::reader::ReaderDeser;
use apache_avro::{Codec, DeflateSettings, Reader, Schema, Writer};
use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::schema::bound_allocations;

/// Its text, which every file carries.
const SCHEMA: &str = include_str!("../../../schemas/archived_record.v1.avsc");
/// A block is written when it has so many bytes; its last record may go over.
const BLOCK_BYTES: usize = 64 << 10;

#[expect(clippy::expect_used, reason = "the schema is compiled in, and every test reads it")]
static PARSED: LazyLock<Schema> = LazyLock::new(|| {
    bound_allocations();
    Schema::parse_str(SCHEMA).expect("a valid schema")
});

/// A record exactly as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedRecord {
    /// The partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When the broker appended it, in milliseconds since 1970 UTC.
    #[serde(rename = "append_time")]
    pub append_time_ms: i64,
    /// The key, if it has one.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub key: Option<Vec<u8>>,
    /// The value, if it has one.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub value: Option<Vec<u8>>,
}

/// Writes records into an object container file.
pub struct ArchiveFileWriter<W: Write> {
    writer: Writer<'static, W>,
}

impl<W: Write> ArchiveFileWriter<W> {
    /// A file that begins at `out`.
    ///
    /// # Errors
    /// [`WireError::Avro`] as the library says.
    pub fn new(out: W) -> Result<Self, WireError> {
        let writer = Writer::builder()
            .schema(&PARSED)
            .writer(out)
            .codec(Codec::Deflate(DeflateSettings::default()))
            .block_size(BLOCK_BYTES)
            .human_readable(false)
            .build()?;
        Ok(Self { writer })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`WireError::Avro`] if the bytes cannot be written; the file is then of no use.
    pub fn append(&mut self, record: &ArchivedRecord) -> Result<(), WireError> {
        self.writer.append_ser(record)?;
        Ok(())
    }

    /// Writes the last block and gives back what the file was written to, which is still to be flushed.
    ///
    /// # Errors
    /// [`WireError::Avro`] if the bytes cannot be written.
    pub fn finish(self) -> Result<W, WireError> {
        Ok(self.writer.into_inner()?)
    }
}

/// Reads the records of an object container file, block by block.
pub struct ArchiveFileReader<R> {
    records: ReaderDeser<'static, R, ArchivedRecord>,
}

impl<R: Read> ArchiveFileReader<R> {
    /// The file that begins at `from`.
    ///
    /// # Errors
    /// [`WireError::Avro`] if it is no object container file, [`WireError::OtherSchema`] if it holds something else.
    pub fn new(from: R) -> Result<Self, WireError> {
        let schema: &Schema = &PARSED;
        let reader = Reader::builder(from).human_readable(false).build()?;
        if reader.writer_schema().canonical_form() != schema.canonical_form() {
            return Err(WireError::OtherSchema);
        }
        Ok(Self { records: reader.into_deser_iter() })
    }
}

impl<R: Read> Iterator for ArchiveFileReader<R> {
    type Item = Result<ArchivedRecord, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next().map(|record| record.map_err(WireError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> ArchivedRecord {
        let append_time_ms = 1_795_000_000_000 + offset;
        ArchivedRecord {
            partition: 3,
            offset,
            append_time_ms,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
        }
    }

    fn written(records: &[ArchivedRecord]) -> Vec<u8> {
        let mut writer = ArchiveFileWriter::new(Vec::new()).unwrap();
        records.iter().for_each(|record| writer.append(record).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn whatever_bytes_a_record_has_come_back_as_they_were() {
        let large = vec![7; 2_000_000];
        let mut records = vec![
            record(0, Some(b"$global"), Some(b"genesis")),
            record(1, None, None),
            record(2, Some(b""), Some(b"")),
            record(3, Some(&[0xff, 0]), Some(&large)),
        ];
        records.extend((4..5_000).map(|offset| record(offset, Some(b"acme"), Some(&[b'x'; 300]))));
        let bytes = written(&records);
        let read: Vec<_> = ArchiveFileReader::new(&*bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, records);
    }

    #[test]
    fn a_file_that_was_cut_short_or_is_another_is_an_error() {
        let records: Vec<_> = (0..5_000).map(|offset| record(offset, None, Some(&[b'x'; 300]))).collect();
        let bytes = written(&records);
        let cut = &bytes[..bytes.len() - 10];
        let read: Result<Vec<_>, _> = ArchiveFileReader::new(cut).unwrap().collect();
        assert!(read.is_err());
        assert!(ArchiveFileReader::new(&b"nothing of ours"[..]).is_err());
        let other = Schema::parse_str(r#"{"type": "record", "name": "Other", "fields": []}"#).unwrap();
        let other = Writer::new(&other, Vec::new()).unwrap().into_inner().unwrap();
        assert!(matches!(ArchiveFileReader::new(&*other), Err(WireError::OtherSchema)));
    }
}
