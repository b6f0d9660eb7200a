//! `credits quarantine release` and `dismiss`.

use clap::Args;
use fluxori_core::command::{CommandBody, CommandKind, Dismiss, Release};
use fluxori_core::id::OrgId;
use fluxori_core::record::Body;

use super::Place;
use super::show::{Found, find};
use crate::command::{Asked, GivingArguments, give};
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

impl DecideArguments {
    const fn asked(&self, kind: CommandKind) -> Asked<'_> {
        Asked { org: &self.org, kind, reason: self.reason.as_str(), giving: &self.giving }
    }
}

pub(crate) async fn release(session: &Session, arguments: &DecideArguments) -> Result<(), CliError> {
    let place = arguments.place;
    let found = find_of(session, arguments).await?;
    let Body::Usage(event) = found.body() else {
        return Err(CliError::Refused(format!(
            "the record at {place} is no usage that can be read, and only usage can be released; dismiss it with \
             `credits quarantine dismiss` and have it sent anew"
        )));
    };
    let release = Release { event_id: event.event_id, billing_digest: event.billing_digest() };
    let done = |_: &CommandBody| format!("Event {} is applied.", event.event_id);
    let body = CommandBody::Release(arguments.org.clone(), release);
    let asked = arguments.asked(CommandKind::Release);
    give(session, asked, async || Ok(body.clone()), |earlier| *earlier == body, done).await
}

pub(crate) async fn dismiss(session: &Session, arguments: &DecideArguments) -> Result<(), CliError> {
    let place = arguments.place;
    let found = find_of(session, arguments).await?;
    let body = CommandBody::Dismiss(arguments.org.clone(), Dismiss { offset: place.offset });
    let make = async || {
        check_waiting(place, &found.why.status)?;
        Ok(body.clone())
    };
    let done = |_: &CommandBody| format!("The record at {place} is dismissed.");
    give(session, arguments.asked(CommandKind::Dismiss), make, |earlier| *earlier == body, done).await
}

/// Refuses a record that something was decided about: the ledger marks those that wait, and no others.
fn check_waiting(place: Place, status: &str) -> Result<(), CliError> {
    match status {
        "waiting" => Ok(()),
        "released" => Err(CliError::Refused(format!(
            "the record at {place} was released: its usage is charged, and there is nothing left to dismiss; give the \
             charge back with `credits correct --void`"
        ))),
        status => Err(CliError::Refused(format!("the record at {place} is {status} as it is"))),
    }
}

/// The record, if it is the org's.
async fn find_of(session: &Session, arguments: &DecideArguments) -> Result<Found, CliError> {
    let DecideArguments { org, place, .. } = arguments;
    let found = find(&session.ledger().await?, *place).await?;
    match &found.bytes.org {
        Some(of) if of == org.as_str() => Ok(found),
        Some(of) => Err(CliError::Refused(format!(
            "the record at {place} is {of}'s and not {org}'s; name the org whose it is"
        ))),
        None => Err(CliError::Refused(format!(
            "the record at {place} is nobody's: no org could be read from it, so there is none in whose name something \
             could be decided about it; it stays in the quarantine, where it changes no balance"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_that_waits_is_dismissed() {
        let place: Place = "3-1042".parse().unwrap();
        assert!(check_waiting(place, "waiting").is_ok());
        let released = check_waiting(place, "released").unwrap_err().to_string();
        assert!(released.contains("credits correct --void"), "{released}");
        let dismissed = check_waiting(place, "dismissed").unwrap_err().to_string();
        assert!(dismissed.contains("3-1042 is dismissed as it is"), "{dismissed}");
    }
}
