//! `credits quarantine show`.

use clap::Args;
use fluxori_core::id::OrgId;
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageFields;
use fluxori_ledger::{Ledger, QuarantinedBytes, QuarantinedRecord};
use serde::Serialize;
use serde_json::{Value, json};

use super::Place;
use crate::error::CliError;
use crate::output::time;
use crate::session::Session;

/// Bytes of a value that are shown where it cannot be read.
const SHOWN_BYTES: usize = 256;

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Where the record lies, such as 3-1042
    place: Place,
}

#[derive(Debug, Serialize)]
struct Answer {
    place: String,
    org_id: Option<String>,
    reason: String,
    detail: String,
    status: String,
    appended_at: Timestamp,
    bytes: usize,
    /// What the record says, as far as it can be read.
    record: Value,
}

/// A record in the quarantine: why it is there, and the record itself.
pub(super) struct Found {
    pub(super) why: QuarantinedRecord,
    pub(super) bytes: QuarantinedBytes,
}

impl Found {
    /// What the record says.
    pub(super) fn body(&self) -> Body {
        let QuarantinedBytes { key, value, append_time, .. } = &self.bytes;
        fluxori_wire::decode(key.as_deref(), value.as_deref(), *append_time).body
    }
}

/// The record at a place, if it is in the quarantine.
pub(super) async fn find(ledger: &Ledger, place: Place) -> Result<Found, CliError> {
    let not_there = || {
        CliError::Refused(format!(
            "the quarantine holds no record at {place}; `credits quarantine list` shows those that it holds"
        ))
    };
    let bytes = ledger.quarantined_bytes(place.partition, place.offset).await?.ok_or_else(not_there)?;
    let org = bytes.org.as_deref().and_then(|org| OrgId::new(org).ok());
    let why = ledger.quarantined_at(org.as_ref(), place.partition, place.offset).await?;
    Ok(Found { why: why.ok_or_else(not_there)?, bytes })
}

pub(crate) async fn show(session: &Session, arguments: &ShowArguments) -> Result<(), CliError> {
    let found = find(&session.ledger().await?, arguments.place).await?;
    let answer = Answer {
        place: arguments.place.to_string(),
        record: record(&found)?,
        org_id: found.why.org,
        reason: found.why.reason,
        detail: found.why.detail,
        status: found.why.status,
        appended_at: found.why.append_time,
        bytes: found.bytes.value.map_or(0, |value| value.len()),
    };
    session.output.print(&answer, text)
}

fn record(found: &Found) -> Result<Value, CliError> {
    Ok(match found.body() {
        Body::Usage(event) => {
            let fields: &UsageFields = &event;
            json!({"usage": serde_json::to_value(fields)?, "billing_digest": event.billing_digest()})
        }
        Body::Command(signed) => {
            let command = &signed.command;
            json!({
                "command": command.command_id,
                "kind": command.body.kind(),
                "issuer_key_id": signed.issuer_key_id,
                "issued_at": command.issued_at,
                "actor": command.actor,
                "reason": command.reason,
                "reference": command.reference,
            })
        }
        Body::Tick => json!({"tick": Value::Null}),
        Body::Unreadable(..) => {
            let value = found.bytes.value.as_deref().unwrap_or_default();
            let start: String = value.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
            json!({"unreadable": start})
        }
    })
}

fn text(answer: &Answer) -> String {
    let record = serde_json::to_string_pretty(&answer.record).unwrap_or_default();
    format!(
        "{} of {}: {} ({})\n{}, appended at {} UTC, {} bytes\n{record}",
        answer.place,
        answer.org_id.as_deref().unwrap_or("no org"),
        answer.reason,
        answer.detail,
        answer.status,
        time(Some(answer.appended_at)),
        answer.bytes
    )
}
