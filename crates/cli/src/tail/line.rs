//! One record of the log, as it is shown.

use std::fmt::Write as _;

use fluxori_core::command::{CommandKind, SignedCommand};
use fluxori_core::id::{CommandId, KeyId, Module};
use fluxori_core::record::{Body, QuarantineReason, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use serde::Serialize;

use super::Kind;

/// So many bytes of what cannot be read are shown.
const SHOWN_BYTES: usize = 64;

/// What a record says, as far as its bytes do: whether it counts is for the ledger to say.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    append_time: Timestamp,
    partition: i32,
    offset: i64,
    /// The key, as text: the org, or `$global`.
    key: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    Usage { event: Box<UsageFields> },
    Command(CommandLine),
    Global(GlobalLine),
    Undecodable(UndecodableLine),
}

#[derive(Debug, Serialize)]
struct CommandLine {
    command: CommandKind,
    command_id: CommandId,
    actor: String,
    reason: String,
    reference: Option<String>,
    issued_at: Timestamp,
    issuer_key_id: KeyId,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum GlobalLine {
    Command(CommandLine),
    Tick { tick: bool },
}

#[derive(Debug, Serialize)]
struct UndecodableLine {
    reason: QuarantineReason,
    detail: String,
    bytes: usize,
    /// The first bytes, in hexadecimal.
    value_begins: String,
}

impl Line {
    pub(super) fn new(partition: i32, raw: &fluxori_stream::Record<'_>, record: &Record) -> Self {
        let value = raw.value.unwrap_or_default();
        let undecodable = |reason, detail: &str| {
            What::Undecodable(UndecodableLine {
                reason,
                detail: detail.to_owned(),
                bytes: value.len(),
                value_begins: hexadecimal(value),
            })
        };
        let is_global = record.key == RecordKey::Global;
        let what = match &record.body {
            Body::Usage(event) => What::Usage { event: Box::new(UsageEvent::clone(event).into_fields()) },
            Body::Command(signed) if is_global => What::Global(GlobalLine::Command(CommandLine::of(signed))),
            Body::Command(signed) => What::Command(CommandLine::of(signed)),
            Body::Tick if is_global => What::Global(GlobalLine::Tick { tick: true }),
            Body::Tick => undecodable(QuarantineReason::Malformed, "an empty value under the key of an org"),
            Body::Unreadable(reason, detail) => undecodable(*reason, detail),
        };
        Self {
            append_time: record.append_time,
            partition,
            offset: raw.offset,
            key: String::from_utf8_lossy(raw.key.unwrap_or_default()).into_owned(),
            what,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.what {
            What::Usage { .. } => Kind::Usage,
            What::Command(_) => Kind::Command,
            What::Global(_) => Kind::Global,
            What::Undecodable(_) => Kind::Undecodable,
        }
    }

    /// The module of usage.
    pub(super) fn module(&self) -> Option<&Module> {
        match &self.what {
            What::Usage { event } => Some(&event.module),
            What::Command(_) | What::Global(_) | What::Undecodable(_) => None,
        }
    }

    /// The line for people.
    pub(super) fn text(&self) -> String {
        let at = self.append_time.to_datetime().map_or_else(
            || self.append_time.to_string(),
            |time| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        );
        let what = match &self.what {
            What::Usage { event } => usage(event, &self.key),
            What::Command(command) => command.text("command"),
            What::Global(GlobalLine::Command(command)) => command.text("global"),
            What::Global(GlobalLine::Tick { .. }) => "global  tick".to_owned(),
            What::Undecodable(line) => format!(
                "undecodable  {}: {}  {} bytes {}",
                line.reason, line.detail, line.bytes, line.value_begins
            ),
        };
        let key = if self.key.is_empty() { "(no key)" } else { &self.key };
        printable(&format!("{at}  {}:{}  {key}  {what}", self.partition, self.offset))
    }
}

impl CommandLine {
    fn of(signed: &SignedCommand) -> Self {
        let command = &signed.command;
        Self {
            command: command.body.kind(),
            command_id: command.command_id,
            actor: command.actor.clone(),
            reason: command.reason.clone(),
            reference: command.reference.clone(),
            issued_at: command.issued_at,
            issuer_key_id: signed.issuer_key_id.clone(),
        }
    }

    fn text(&self, word: &str) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{word}  {} by {}{reason}  {}", self.command, self.actor, self.command_id)
    }
}

/// Module, provider and model, tokens and other units, the event's id.
fn usage(event: &UsageFields, key: &str) -> String {
    let model = event.response_model.as_ref().unwrap_or(&event.request_model);
    let mut text = format!("usage  {}  {}/{model}  {} in", event.module, event.provider, event.input_tokens);
    if event.cache_read_input_tokens > 0 {
        _ = write!(text, " ({} cached)", event.cache_read_input_tokens);
    }
    _ = write!(text, " {} out", event.output_tokens);
    for (unit, quantity) in &event.units {
        _ = write!(text, " {} {unit}", quantity.0);
    }
    if event.revision > 1 {
        _ = write!(text, "  revision {}", event.revision);
    }
    if event.org_id.as_str() != key {
        _ = write!(text, "  of org {} (not its key)", event.org_id);
    }
    _ = write!(text, "  {}", event.event_id);
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN_BYTES) {
        _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > SHOWN_BYTES {
        text.push('…');
    }
    text
}

/// What others wrote must not move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|of| if of.is_control() { of.escape_default().collect() } else { vec![of] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &[u8], value: &[u8]) -> Line {
        let append_time = Timestamp::from_millis(1_795_348_801_250);
        let raw = fluxori_stream::Record { offset: 7, append_time_ms: 0, key: Some(key), value: Some(value) };
        Line::new(3, &raw, &fluxori_wire::decode(raw.key, raw.value, append_time))
    }

    #[test]
    fn bytes_that_say_nothing_are_shown_as_such_on_one_line() {
        let shown = line(b"acme\x1b[2J\n", b"no\nAvro");
        assert_eq!(shown.kind(), Kind::Undecodable);
        assert_eq!(
            shown.text(),
            "2026-11-22 12:00:01.250  3:7  acme\\u{1b}[2J\\n  undecodable  malformed: not Avro in single-object \
             encoding  7 bytes 6e6f0a4176726f"
        );
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(
            (&json["kind"], &json["offset"], &json["bytes"]),
            (&"undecodable".into(), &7.into(), &7.into())
        );
        assert_eq!(line(b"acme", b"").kind(), Kind::Undecodable);
        assert_eq!(line(b"$global", b"").text(), "2026-11-22 12:00:01.250  3:7  $global  global  tick");
    }

    #[test]
    fn usage_says_what_was_called_and_how_much_of_it() {
        let event = serde_json::json!({
            "event_id": "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b", "org_id": "acme", "module": "pim",
            "provider": "openai", "request_model": "gpt-5", "response_model": "gpt-5-2025-08-07",
            "input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 2, "units": {"pages": "1.5"}
        });
        let event = fluxori_ingest::usage_from_json(event, Timestamp::default()).unwrap();
        let shown = line(b"acme", &fluxori_wire::encode_usage(&event).unwrap());
        assert_eq!(shown.module(), Some(&event.module));
        assert_eq!(
            shown.text(),
            "2026-11-22 12:00:01.250  3:7  acme  usage  pim  openai/gpt-5-2025-08-07  10 in (4 cached) 2 out 1.5 \
             pages  019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
        );
        assert!(line(b"other", &fluxori_wire::encode_usage(&event).unwrap()).text().contains("of org acme"));
        assert_eq!(serde_json::to_value(&shown).unwrap()["event"]["input_tokens"], 10);
    }
}
