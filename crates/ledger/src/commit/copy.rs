//! Rows in Postgres' binary COPY format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

use serde::Serialize;
use sqlx::encode::{Encode, IsNull};
use sqlx::postgres::{PgArgumentBuffer, PgConnection};
use sqlx::{Postgres, Type};

use crate::error::LedgerError;
use crate::rows::unreadable;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// No flags, no header extension.
const FLAGS_AND_EXTENSION: [u8; 8] = [0; 8];
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Bytes that are sent at once.
const PIECE: usize = 128 * 1024;
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// Rows of one table, each column encoded as `sqlx` encodes it in every other statement.
#[derive(Debug)]
pub(super) struct CopyRows {
    buffer: PgArgumentBuffer,
    columns: i16,
    rows: u64,
}

impl CopyRows {
    pub(super) fn new(columns: i16) -> Self {
        Self { buffer: PgArgumentBuffer::default(), columns, rows: 0 }
    }

    /// Begins anew, without any rows; `bytes` is about how many they will have.
    pub(super) fn begin(&mut self, bytes: usize) {
        self.rows = 0;
        self.buffer.clear();
        self.buffer.reserve(bytes);
        self.buffer.extend_from_slice(SIGNATURE);
        self.buffer.extend_from_slice(&FLAGS_AND_EXTENSION);
    }

    /// Begins the next row: as many values must follow as there are columns.
    pub(super) fn row(&mut self) -> &mut Self {
        self.rows += 1;
        self.buffer.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    /// The next value of the row.
    pub(super) fn put<'value, T>(&mut self, value: T) -> Result<&mut Self, LedgerError>
    where
        T: Encode<'value, Postgres> + Type<Postgres>,
    {
        self.put_with(|buffer| value.encode(buffer).map_err(|error| unreadable("a value", error)))
    }

    /// Writes a value's length in front of what `write` appends.
    fn put_with(
        &mut self,
        write: impl FnOnce(&mut PgArgumentBuffer) -> Result<IsNull, LedgerError>,
    ) -> Result<&mut Self, LedgerError> {
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&NULL);
        let is_null = write(&mut self.buffer)?;
        if matches!(is_null, IsNull::No) {
            let length = self.buffer.len() - begin - NULL.len();
            let length = i32::try_from(length).map_err(|error| unreadable("a value", error))?;
            if let Some(place) = self.buffer.get_mut(begin..begin + NULL.len()) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(self)
    }

    /// The next value of the row: JSON, for a column of text.
    pub(super) fn put_json(&mut self, value: &impl Serialize) -> Result<&mut Self, LedgerError> {
        self.put_with(|buffer| {
            serde_json::to_writer(&mut **buffer, value).map_err(|error| unreadable("JSON", error))?;
            Ok(IsNull::No)
        })
    }

    /// The same, or null.
    pub(super) fn put_some_json(&mut self, value: Option<&impl Serialize>) -> Result<&mut Self, LedgerError> {
        match value {
            Some(value) => self.put_json(value),
            None => self.put_with(|_| Ok(IsNull::Yes)),
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> u64 {
        self.rows
    }

    /// Writes all rows with a `COPY .. FROM STDIN (FORMAT binary)`.
    pub(super) async fn send(&self, to: &mut PgConnection, statement: &str) -> Result<(), LedgerError> {
        let mut copy = to.copy_in_raw(statement).await?;
        // Each piece is copied into the connection's buffer, which would otherwise grow to the size of all.
        for piece in self.buffer.chunks(PIECE).chain([TRAILER.as_slice()]) {
            if let Err(error) = copy.send(piece).await {
                copy.abort("the connection failed").await?;
                return Err(error.into());
            }
        }
        let written = copy.finish().await?;
        if written == self.rows {
            return Ok(());
        }
        Err(unreadable("a number of rows written", format!("{written}, wanted {}", self.rows)))
    }
}
