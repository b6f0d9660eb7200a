//! From the bytes of a record to what it says.

use apache_avro::error::Details;
use fluxori_core::command::{CommandBody, SignedCommand};
use fluxori_core::digest::Digest;
use fluxori_core::id::{GLOBAL_KEY, KeyId, OrgId, ProducerId};
use fluxori_core::record::{Body, MAX_RECORD_BYTES, QuarantineReason, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageEvent;
use std::sync::Arc;

use crate::command::{PayloadError, SignedCommandRecord, decode_payload};
use crate::error::WireError;
use crate::schema::{COMMAND, USAGE, has_marker};
use crate::usage::{self, ReadError};

/// Encodes a usage event as the value of a record; its key is the org's id.
pub fn encode_usage(event: &UsageEvent) -> Result<Vec<u8>, WireError> {
    let mut value = Vec::new();
    write_usage(event, &event.producer_id, event.producer_seq, &mut value);
    if value.len() > MAX_RECORD_BYTES { Err(WireError::TooLarge(value.len())) } else { Ok(value) }
}

/// Appends the value of a usage event's record, under this number of this producer, and takes no memory but that of `to`.
pub fn write_usage(event: &UsageEvent, producer_id: &ProducerId, producer_seq: i64, to: &mut Vec<u8>) {
    to.extend_from_slice(USAGE.header());
    usage::write(event, producer_id, producer_seq, to);
}

/// Decodes a record. Never fails: what cannot be read says why.
#[must_use]
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>, append_time: Timestamp) -> Record {
    Record { key: decode_key(key), append_time, body: decode_value(value.unwrap_or_default()) }
}

/// The body of the command that a record holds, if its payload has this digest.
#[must_use]
pub fn decode_command_body(value: Option<&[u8]>, payload_digest: Digest) -> Option<CommandBody> {
    let Body::Command(signed) = decode_value(value.unwrap_or_default()) else { return None };
    (Digest::of(&signed.payload) == payload_digest).then_some(signed.command.body)
}

/// Who emitted a record that is no valid usage event, and its number there (0 = unnumbered), if its bytes say so.
///
/// For the completeness of a producer's numbers: such a record has arrived, though it is never applied.
#[must_use]
pub fn producer_of(value: &[u8]) -> Option<(ProducerId, i64)> {
    usage::read_number(USAGE.datum(value)?).ok()
}

fn decode_key(key: Option<&[u8]>) -> RecordKey {
    match key.map(std::str::from_utf8) {
        Some(Ok(GLOBAL_KEY)) => RecordKey::Global,
        Some(Ok(text)) => OrgId::new(text).map_or(RecordKey::Invalid, RecordKey::Org),
        Some(Err(_)) | None => RecordKey::Invalid,
    }
}

fn decode_value(value: &[u8]) -> Body {
    if value.is_empty() {
        return Body::Tick;
    }
    if value.len() > MAX_RECORD_BYTES {
        return Body::Unreadable(
            QuarantineReason::TooLarge,
            format!("{} bytes, more than 1 MiB", value.len()),
        );
    }
    if let Some(datum) = USAGE.datum(value) {
        return match usage::read(datum) {
            Ok(fields) => match UsageEvent::new(fields) {
                Ok(event) => Body::Usage(Arc::new(event)),
                Err(violation) => Body::Unreadable(QuarantineReason::Invalid, violation.to_string()),
            },
            Err(ReadError { reason, detail }) => Body::Unreadable(reason, detail),
        };
    }
    if let Some(datum) = COMMAND.datum(value) {
        return match COMMAND.read::<SignedCommandRecord>(datum) {
            Ok(record) => decode_command(record),
            Err(error) => unreadable(&error),
        };
    }
    if has_marker(value) {
        let detail = "Avro of a schema that rules version 1 does not name";
        return Body::Unreadable(QuarantineReason::SchemaNotInForce, detail.to_owned());
    }
    Body::Unreadable(QuarantineReason::Malformed, "not Avro in single-object encoding".to_owned())
}

fn decode_command(record: SignedCommandRecord) -> Body {
    let issuer_key_id = match KeyId::new(&record.issuer_key_id) {
        Ok(id) => id,
        Err(error) => return Body::Unreadable(QuarantineReason::Invalid, error.to_string()),
    };
    match decode_payload(&record.payload) {
        Ok(command) => Body::Command(Box::new(SignedCommand {
            issuer_key_id,
            payload: record.payload,
            signature: record.signature,
            command,
        })),
        Err(PayloadError::Schema) => Body::Unreadable(
            QuarantineReason::SchemaNotInForce,
            "the payload is of a schema that rules version 1 does not name".to_owned(),
        ),
        Err(PayloadError::Avro(error)) => unreadable(&error),
        Err(PayloadError::Invalid(detail)) => Body::Unreadable(QuarantineReason::Invalid, detail),
    }
}

/// A field's own type refused it, or the bytes are no datum of the schema.
fn unreadable(error: &apache_avro::Error) -> Body {
    let reason = match error.details() {
        Details::DeserializeValue(_) => QuarantineReason::Invalid,
        _ => QuarantineReason::Malformed,
    };
    // The library quotes the whole schema in front of what is wrong.
    let text = error.to_string();
    let detail = text.rsplit("}): ").next().unwrap_or(&text).chars().take(300).collect();
    Body::Unreadable(reason, detail)
}
