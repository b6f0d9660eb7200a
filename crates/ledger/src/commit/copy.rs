//! Rows in Postgres' binary COPY format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

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
    /// No rows yet; `bytes` is about how many they will have.
    pub(super) fn new(columns: i16, bytes: usize) -> Self {
        let mut buffer = PgArgumentBuffer::default();
        buffer.reserve(bytes);
        buffer.extend_from_slice(SIGNATURE);
        buffer.extend_from_slice(&FLAGS_AND_EXTENSION);
        Self { buffer, columns, rows: 0 }
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
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&NULL);
        let is_null = value.encode(&mut self.buffer).map_err(|error| unreadable("a value", error))?;
        if matches!(is_null, IsNull::No) {
            let length = self.buffer.len() - begin - NULL.len();
            let length = i32::try_from(length).map_err(|error| unreadable("a value", error))?;
            if let Some(place) = self.buffer.get_mut(begin..begin + NULL.len()) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(self)
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
