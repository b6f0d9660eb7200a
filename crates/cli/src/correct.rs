//! `credits correct`: voids a charge, or says what was used instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use fluxori_core::command::{Change, CommandBody, CommandKind, Correct};
use fluxori_core::id::{EventId, Label, OrgId};
use fluxori_core::usage::{Quantities, Quantity, TokenCounts};
use serde::Deserialize;

use crate::command::{Asked, GivingArguments, give};
use crate::error::CliError;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct CorrectArguments {
    /// The organization
    org: OrgId,
    /// The usage event: its id, or the text that it was sent with
    event: String,
    /// Where the event was made, for an event named by a text of its own
    #[arg(long, value_name = "SOURCE", default_value = "default")]
    source: Label,
    /// Nothing was used: all of the charge is given back
    #[arg(long, group = "change", conflicts_with = "UsedArguments", required_unless_present_any = ["replace", "file"])]
    void: bool,
    /// This was used, and nothing else: what is left out is 0
    #[arg(long, group = "change")]
    replace: bool,
    /// This was used: JSON with the fields of a usage event, such as {"input_tokens": 1000, "units": {"pages": "3"}}
    #[arg(long, group = "change", conflicts_with = "UsedArguments", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The revision that is corrected, 1 for the event as it came; rejected if it is another by now [default: the
    /// ledger's]
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    revision: Option<i32>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
    #[command(flatten)]
    used: UsedArguments,
}

/// What was used, as in a usage event.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "With --replace")]
struct UsedArguments {
    /// All input tokens
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    input_tokens: i64,
    /// Of the input: read from the provider's cache
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    cache_read_input_tokens: i64,
    /// Of the input: written to the provider's cache for 5 minutes
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    cache_write_5m_input_tokens: i64,
    /// Of the input: written to the provider's cache for 1 hour
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    cache_write_1h_input_tokens: i64,
    /// Of the input: audio
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    audio_input_tokens: i64,
    /// Of the input: images
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    image_input_tokens: i64,
    /// Of the input: audio read from the provider's cache
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    cache_read_audio_input_tokens: i64,
    /// Of the input: images read from the provider's cache
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    cache_read_image_input_tokens: i64,
    /// All output tokens
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    output_tokens: i64,
    /// Of the output: spent on reasoning
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    reasoning_output_tokens: i64,
    /// Of the output: audio
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    audio_output_tokens: i64,
    /// Of the output: images
    #[arg(long, value_name = "N", requires = "replace", default_value_t = 0, hide_default_value = true)]
    image_output_tokens: i64,
    /// Other units, such as pages=3; may be given several times
    #[arg(long = "unit", value_name = "NAME=QUANTITY", requires = "replace", value_parser = unit)]
    #[serde(skip)]
    unit: Vec<(String, Quantity)>,
    #[arg(skip)]
    units: BTreeMap<String, Quantity>,
}

fn unit(text: &str) -> Result<(String, Quantity), String> {
    let wrong = || format!("`{text}` is no quantity of a unit such as pages=3");
    let (name, quantity) = text.split_once('=').ok_or_else(wrong)?;
    let quantity = serde_json::from_value(serde_json::Value::from(quantity)).map_err(|_| wrong())?;
    Ok((name.to_owned(), quantity))
}

impl UsedArguments {
    fn read(path: &Path) -> Result<Self, CliError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| CliError::File {
            action: "cannot read",
            path: shown.clone(),
            source,
        })?;
        serde_json::from_str(&text)
            .map_err(|error| CliError::Refused(format!("{shown} does not say what was used: {error}")))
    }

    fn quantities(self) -> Result<Quantities, CliError> {
        let tokens = TokenCounts {
            input: self.input_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write_5m: self.cache_write_5m_input_tokens,
            cache_write_1h: self.cache_write_1h_input_tokens,
            audio_input: self.audio_input_tokens,
            image_input: self.image_input_tokens,
            cache_read_audio: self.cache_read_audio_input_tokens,
            cache_read_image: self.cache_read_image_input_tokens,
            output: self.output_tokens,
            reasoning: self.reasoning_output_tokens,
            audio_output: self.audio_output_tokens,
            image_output: self.image_output_tokens,
        };
        let quantities = Quantities { tokens, units: self.units.into_iter().chain(self.unit).collect() };
        match quantities.check() {
            Ok(()) => Ok(quantities),
            Err(violation) => Err(CliError::Refused(format!("this cannot have been used: {violation}"))),
        }
    }
}

pub(crate) async fn run(session: &Session, arguments: &CorrectArguments) -> Result<(), CliError> {
    let org = &arguments.org;
    let change = match &arguments.file {
        Some(file) => Change::Replace(Box::new(UsedArguments::read(file)?.quantities()?)),
        None if arguments.void => Change::Void,
        None => Change::Replace(Box::new(arguments.used.clone().quantities()?)),
    };
    let event_id = event_id(org, &arguments.source, &arguments.event);
    let done = |body: &CommandBody| {
        let (done, revision) = match body {
            CommandBody::Correct(_, Correct { revision, change: Change::Void, .. }) => ("void", *revision),
            CommandBody::Correct(_, Correct { revision, .. }) => ("corrected", *revision),
            _ => ("corrected", 0),
        };
        format!("The charge of event {event_id} is {done}. It was at revision {revision}.")
    };
    let make = async || {
        let revision = match arguments.revision {
            Some(revision) => revision,
            None => present_revision(session, org, event_id).await?,
        };
        Ok(CommandBody::Correct(org.clone(), Correct { event_id, revision, change: change.clone() }))
    };
    let is_asked = |earlier: &CommandBody| match earlier {
        // A revision that was not named was the ledger's then.
        CommandBody::Correct(_, earlier) => {
            let revision = arguments.revision.unwrap_or(earlier.revision);
            *earlier == Correct { event_id, revision, change: change.clone() }
        }
        _ => false,
    };
    let asked =
        Asked { org, kind: CommandKind::Correct, reason: &arguments.reason, giving: &arguments.giving };
    give(session, asked, make, is_asked, done).await
}

/// The event of an id, or of a text as the gateway takes it.
fn event_id(org: &OrgId, source: &Label, text: &str) -> EventId {
    match text.parse::<EventId>() {
        Ok(id) if matches!(id.0.get_version_num(), 7 | 8) => id,
        _ => EventId::from_foreign(org, source, text),
    }
}

async fn present_revision(session: &Session, org: &OrgId, event_id: EventId) -> Result<i32, CliError> {
    session.ledger().await?.charge_revision(org, event_id).await?.ok_or_else(|| {
        CliError::Refused(format!(
            "the ledger has charged org {org} for no event {event_id}; `credits transactions {org}` lists what it has, \
             and `credits quarantine list --org {org}` what it has set aside. To correct an event that is still to come, \
             name --revision 1: the correction then waits for it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CorrectArguments,
    }

    fn parse(line: &str) -> Result<CorrectArguments, clap::Error> {
        let words = format!("correct acme chatcmpl-1 --reason test {line}");
        Line::try_parse_from(words.split_whitespace()).map(|line| line.arguments)
    }

    #[test]
    fn a_correction_voids_or_replaces_and_never_both() {
        assert!(parse("--void").unwrap().void);
        let used = parse("--replace --input-tokens 10 --unit pages=2.5").unwrap().used;
        let quantities = used.quantities().unwrap();
        assert_eq!((quantities.tokens.input, quantities.units.len()), (10, 1));
        for wrong in
            ["", "--void --replace", "--void --input-tokens 10", "--file f --replace", "--unit pages=3"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_have_been_used_is_refused_before_it_is_published() {
        let used = parse("--replace --input-tokens 10 --cache-read-input-tokens 11").unwrap().used;
        assert!(used.quantities().unwrap_err().to_string().contains("input_tokens"));
    }

    #[test]
    fn an_event_is_named_by_its_id_or_by_the_text_that_it_was_sent_with() {
        let (org, source): (OrgId, Label) = ("acme".parse().unwrap(), "default".parse().unwrap());
        let foreign = event_id(&org, &source, "chatcmpl-1");
        assert_eq!(foreign, EventId::from_foreign(&org, &source, "chatcmpl-1"));
        assert_eq!(event_id(&org, &source, &foreign.to_string()), foreign);
        let native = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b";
        assert_eq!(event_id(&org, &source, native).to_string(), native);
    }
}
