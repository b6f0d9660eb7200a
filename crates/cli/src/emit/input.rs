//! Where events come from: flags, or lines of JSON.

use std::io::{BufRead, BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use fluxori_core::id::{
    Feature, Label, Model, Module, OrgId, Provider, ReservationId, RunId, TeamId, UserId,
};
use fluxori_core::record::MAX_RECORD_BYTES;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantity, UsageEvent};
use fluxori_ingest::{RequestContext, json, usage_from_value};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::CliError;

/// One event, by flags; each is the field of schemas/usage_event.v1.avsc.
#[derive(Debug, Args)]
pub(crate) struct EventArguments {
    /// Who pays
    #[arg(long, requires_all = ["module", "provider", "model"], conflicts_with = "input")]
    org: Option<OrgId>,
    /// The calling module
    #[arg(long, requires = "org")]
    module: Option<Module>,
    /// Who serves the model, such as openai
    #[arg(long, requires = "org")]
    provider: Option<Provider>,
    /// The model that was asked for
    #[arg(long, requires = "org")]
    model: Option<Model>,
    /// The model that answered
    #[arg(long, value_name = "MODEL", requires = "org")]
    response_model: Option<Model>,
    /// All input tokens, cached ones among them
    #[arg(long, value_name = "NUMBER", requires = "org")]
    input_tokens: Option<i64>,
    /// Those of them that were read from the provider's cache
    #[arg(long, value_name = "NUMBER", requires = "org")]
    cache_read_input_tokens: Option<i64>,
    /// Those of them that were written to the provider's cache for 5 minutes
    #[arg(long, value_name = "NUMBER", requires = "org")]
    cache_write_5m_input_tokens: Option<i64>,
    /// Those of them that were written to the provider's cache for 1 hour
    #[arg(long, value_name = "NUMBER", requires = "org")]
    cache_write_1h_input_tokens: Option<i64>,
    /// All output tokens, reasoning among them
    #[arg(long, value_name = "NUMBER", requires = "org")]
    output_tokens: Option<i64>,
    /// Those of them that were spent on reasoning
    #[arg(long, value_name = "NUMBER", requires = "org")]
    reasoning_output_tokens: Option<i64>,
    /// Another unit, such as images=2; may be given several times
    #[arg(long = "unit", value_name = "NAME=QUANTITY", value_parser = unit, requires = "org")]
    units: Vec<(String, Quantity)>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag, requires = "org")]
    tags: Vec<(String, String)>,
    /// A UUIDv7, or any text that names the call at its source [default: a new UUIDv7]
    #[arg(long, value_name = "ID", requires = "org")]
    event_id: Option<String>,
    /// Where the event was made: the space of its id
    #[arg(long, requires = "org")]
    source: Option<Label>,
    /// When the call happened [default: the time in the event's id, or now]
    #[arg(long, value_name = "TIME", requires = "org")]
    occurred_at: Option<Timestamp>,
    /// The user inside the organization
    #[arg(long, requires = "org")]
    user: Option<UserId>,
    /// The team inside the organization
    #[arg(long, requires = "org")]
    team: Option<TeamId>,
    /// The feature of the module
    #[arg(long, requires = "org")]
    feature: Option<Feature>,
    /// The run of an agent or workflow
    #[arg(long, requires = "org")]
    run: Option<RunId>,
    /// What was done: chat, embeddings, ..
    #[arg(long, requires = "org")]
    operation: Option<Label>,
    /// The hold that this usage settles
    #[arg(long, value_name = "ID", requires = "org")]
    reservation_id: Option<ReservationId>,
    /// How long the call took, in milliseconds
    #[arg(long, value_name = "NUMBER", requires = "org")]
    latency_ms: Option<i64>,
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))
}

fn unit(text: &str) -> Result<(String, Quantity), String> {
    let (name, quantity) = pair(text)?;
    Ok((name.to_owned(), quantity.parse().map_err(|error| format!("the quantity `{quantity}`: {error}"))?))
}

fn tag(text: &str) -> Result<(String, String), String> {
    pair(text).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

impl EventArguments {
    /// The event, in the JSON that lines have, if flags make one.
    fn to_json(&self) -> Option<Value> {
        let org = self.org.as_ref()?;
        let pairs: Map<String, Value> = self.tags.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let units: Map<String, Value> = self.units.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let id = self.event_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let Value::Object(mut event) = json!({
            "event_id": id, "source": self.source, "occurred_at": self.occurred_at, "org_id": org,
            "user_id": self.user, "team_id": self.team, "module": self.module, "feature": self.feature,
            "run_id": self.run, "operation": self.operation, "provider": self.provider,
            "request_model": self.model, "response_model": self.response_model,
            "input_tokens": self.input_tokens, "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_write_5m_input_tokens": self.cache_write_5m_input_tokens,
            "cache_write_1h_input_tokens": self.cache_write_1h_input_tokens,
            "output_tokens": self.output_tokens, "reasoning_output_tokens": self.reasoning_output_tokens,
            "units": units, "tags": pairs, "reservation_id": self.reservation_id, "latency_ms": self.latency_ms,
        }) else {
            return None;
        };
        event.retain(|_, value| !value.is_null());
        Some(Value::Object(event))
    }
}

/// One event as it came, or why it is none.
#[derive(Debug)]
pub(super) struct Item {
    /// The number of its line, from 1.
    pub(super) line: u64,
    /// Its id as it was given.
    pub(super) given_id: Option<String>,
    pub(super) event: Result<UsageEvent, String>,
}

/// Events, one after the other.
pub(super) enum Input {
    Flags(Value),
    Lines { lines: Box<dyn BufRead + Send>, read: u64 },
}

impl Input {
    /// What the arguments name: flags, a file, or standard input.
    pub(super) fn open(flags: &EventArguments, file: Option<&PathBuf>) -> Result<Self, CliError> {
        if let Some(event) = flags.to_json() {
            return Ok(Self::Flags(event));
        }
        let lines: Box<dyn BufRead + Send> = match file {
            Some(path) if path != Path::new("-") => Box::new(BufReader::new(open(path)?)),
            None if std::io::stdin().is_terminal() => {
                return Err(CliError::Refused(
                    "there is nothing to emit: describe an event with --org, --module, --provider and --model, or give a \
                     file or standard input with one JSON object a line"
                        .to_owned(),
                ));
            }
            _ => Box::new(BufReader::new(std::io::stdin())),
        };
        Ok(Self::Lines { lines, read: 0 })
    }

    /// The next event, or none at the end. Empty lines are none. Blocks.
    pub(super) fn next(&mut self, now: impl Fn() -> Timestamp) -> Result<Option<Item>, std::io::Error> {
        match self {
            Self::Flags(value) => {
                let event = value.take();
                Ok((!event.is_null()).then(|| item(1, Ok(event), now())))
            }
            Self::Lines { lines, read } => {
                let mut line = Vec::new();
                while let Some(is_whole) = read_line(lines, &mut line)? {
                    *read += 1;
                    if !is_whole {
                        return Ok(Some(item(*read, Err(too_long()), now())));
                    }
                    let text = line.trim_ascii();
                    if !text.is_empty() {
                        return Ok(Some(item(*read, json_of(text), now())));
                    }
                    line.clear();
                }
                Ok(None)
            }
        }
    }
}

/// Reads a line into `line`, and says whether all of it; of one that is longer than any event, its begin. None at the end.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    // With the line's end, of two bytes perhaps.
    let most = MAX_RECORD_BYTES + 2;
    if lines.by_ref().take(u64::try_from(most).unwrap_or(u64::MAX)).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let is_whole = line.len() < most || line.ends_with(b"\n");
    if !is_whole {
        lines.skip_until(b'\n')?;
    }
    Ok(Some(is_whole))
}

fn too_long() -> String {
    format!("more than the {MAX_RECORD_BYTES} bytes that an event has at most")
}

fn open(path: &Path) -> Result<std::fs::File, CliError> {
    let failed = |source| CliError::File { action: "cannot read", path: path.display().to_string(), source };
    std::fs::File::open(path).map_err(failed)
}

fn json_of(line: &[u8]) -> Result<Value, String> {
    if line.len() > MAX_RECORD_BYTES {
        return Err(too_long());
    }
    json::read(line).map_err(|rejection| format!("no JSON: {rejection}"))
}

fn item(line: u64, value: Result<Value, String>, now: Timestamp) -> Item {
    let given = |value: &Value| value.get("event_id").and_then(Value::as_str).map(str::to_owned);
    let given_id = value.as_ref().ok().and_then(given);
    let event = value.and_then(|value| {
        usage_from_value(value, &RequestContext::of_nobody(now)).map_err(|error| error.to_string())
    });
    Item { line, given_id, event }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        input: Option<String>,
        #[command(flatten)]
        event: EventArguments,
    }

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn of_flags(flags: &str) -> Item {
        let command = Command::try_parse_from(format!("emit {flags}").split(' ')).unwrap();
        let mut input = Input::open(&command.event, None).unwrap();
        let item = input.next(now).unwrap().unwrap();
        assert!(input.next(now).unwrap().is_none());
        item
    }

    #[test]
    fn flags_describe_an_event() {
        let item = of_flags(
            "--org acme --module pim --provider openai --model gpt-5 --input-tokens 10 --cache-read-input-tokens 4 \
             --output-tokens 2 --unit images=2 --unit pages=1.5 --tag a=b=c --event-id call-1 --user jo",
        );
        let event = item.event.unwrap();
        assert_eq!((item.line, item.given_id.as_deref()), (1, Some("call-1")));
        assert_eq!((event.input_tokens, event.cache_read_input_tokens, event.output_tokens), (10, 4, 2));
        assert_eq!((event.units.len(), event.tags.get("a").map(String::as_str)), (2, Some("b=c")));
        assert_eq!(event.occurred_at, now());
        let minimal = of_flags(
            "--org acme --module pim --provider openai --model gpt-5 --occurred-at 2026-11-22T11:00:00Z",
        );
        assert!(minimal.event.unwrap().event_id.is_native());
        let impossible =
            of_flags("--org acme --module pim --provider o --model m --cache-read-input-tokens 4");
        assert!(impossible.event.unwrap_err().contains("more than its total"));
        for wrong in [
            "--org acme --module pim --provider openai",
            "--input-tokens 5",
            "- --org acme --module pim --provider o --model m",
            "--org acme --module pim --provider o --model m --unit images",
        ] {
            Command::try_parse_from(format!("emit {wrong}").split(' ')).unwrap_err();
        }
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_the_others_are_read() {
        let good = r#"{"event_id": "call-1", "org_id": "acme", "module": "pim", "provider": "openai", "request_model": "gpt-5"}"#;
        let late = good.replace("\"org_id\"", "\"occurred_at\": \"2026-10-01T00:00:00Z\", \"org_id\"");
        let long = "x".repeat(3 * MAX_RECORD_BYTES);
        let blanks = " ".repeat(MAX_RECORD_BYTES);
        let text = format!(
            "{good}\n\n{{\"event_id\": \"x\"\n{late}\r\n[1]\n\u{fffd}\n{long}\n{blanks}  {good}\n{good}{blanks}{good}\n{good}"
        );
        let mut input = Input::Lines { lines: Box::new(std::io::Cursor::new(text)), read: 0 };
        let mut found = Vec::new();
        while let Some(item) = input.next(now).unwrap() {
            found.push((item.line, item.given_id, item.event.err()));
        }
        let id = Some("call-1".to_owned());
        assert_eq!((&found[0], &found[8]), (&(1, id.clone(), None), &(10, id.clone(), None)));
        let errors: Vec<_> =
            found[1..8].iter().map(|(line, _, error)| (*line, error.clone().unwrap())).collect();
        let expected = [
            (3, "no JSON"),
            (4, "35 days"),
            (5, "object"),
            (6, "no JSON"),
            (7, "at most"),
            (8, "at most"),
            (9, "at most"),
        ];
        assert_eq!(errors.len(), expected.len());
        for (of, (line, words)) in errors.iter().zip(expected) {
            assert!(of.0 == line && of.1.contains(words), "{of:?}");
        }
        assert_eq!(found[2].1, id);
    }
}
