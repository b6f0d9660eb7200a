//! Bytes to types and back: Avro in single-object encoding, signatures, positions, archives. No I/O but the issuers' key files.

mod archive;
mod command;
mod decode;
mod error;
mod issuer;
mod position;
mod schema;
mod usage;

pub use archive::{ArchiveFileReader, ArchiveFileWriter, ArchivedRecord};
pub use command::encode_payload;
pub use decode::{decode, decode_command_body, encode_usage, producer_of, write_usage};
pub use error::WireError;
pub use issuer::Issuer;
pub use position::{Position, PositionError};
pub use schema::{SCHEMAS, SchemaInForce};

/// The topic that is the log, unless configured otherwise.
pub const DEFAULT_TOPIC: &str = "credits.events.v1";
