//! `credits quarantine release` and `dismiss`.

use clap::Args;
use fluxori_core::command::{CommandBody, Dismiss, Release};
use fluxori_core::id::OrgId;
use fluxori_core::record::Body;

use super::Place;
use super::show::{Found, find};
use crate::command::{GivingArguments, give};
use crate::error::CliError;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct DecideArguments {
    /// The organization
    org: OrgId,
    /// Where the record lies, such as 3-1042
    place: Place,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

pub(crate) async fn release(session: &Session, arguments: &DecideArguments) -> Result<(), CliError> {
    let place = arguments.place;
    let Body::Usage(event) = find_of(session, arguments).await?.body() else {
        return Err(CliError::Refused(format!(
            "the record at {place} is no usage that can be read, and only usage can be released; dismiss it with \
             `credits quarantine dismiss` and have it sent anew"
        )));
    };
    let release = Release { event_id: event.event_id, billing_digest: event.billing_digest() };
    let done = format!("Event {} is applied.", release.event_id);
    let body = CommandBody::Release(arguments.org.clone(), release);
    give(session, body, &arguments.reason, &arguments.giving, &done).await
}

pub(crate) async fn dismiss(session: &Session, arguments: &DecideArguments) -> Result<(), CliError> {
    let place = arguments.place;
    find_of(session, arguments).await?;
    let body = CommandBody::Dismiss(arguments.org.clone(), Dismiss { offset: place.offset });
    let done = format!("The record at {place} is dismissed.");
    give(session, body, &arguments.reason, &arguments.giving, &done).await
}

/// The record, if it is the org's.
async fn find_of(session: &Session, arguments: &DecideArguments) -> Result<Found, CliError> {
    let DecideArguments { org, place, .. } = arguments;
    let found = find(&session.ledger().await?, *place).await?;
    match &found.bytes.org {
        Some(of) if of == org.as_str() => Ok(found),
        of => Err(CliError::Refused(format!(
            "the record at {place} is {} and not {org}'s; name the org whose it is",
            of.as_ref().map_or_else(|| "nobody's".to_owned(), |of| format!("{of}'s"))
        ))),
    }
}
