//! `credits org open` and `credits policy set`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use fluxori_core::command::{CommandBody, OverdraftPolicy, Policy};
use fluxori_core::id::OrgId;

use crate::command::{GivingArguments, give};
use crate::error::CliError;
use crate::session::Session;

/// What happens to usage that no allocation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overdraft {
    /// It is owed; the next unscoped allocation of the org pays it off
    Carry,
    /// It is recorded as an expense and not owed
    Absorb,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    /// The organization
    org: OrgId,
    /// What happens to usage that no allocation covers [default: carry, or absorb while its plan is a trial]
    #[arg(long, value_enum)]
    overdraft: Option<Overdraft>,
    /// How long after its expiry an allocation still pays for usage from before it
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = crate::duration::parse)]
    grace: Duration,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

impl PolicyArguments {
    fn policy(&self) -> Policy {
        let overdraft = self.overdraft.map(|overdraft| match overdraft {
            Overdraft::Carry => OverdraftPolicy::Carry,
            Overdraft::Absorb => OverdraftPolicy::Absorb,
        });
        Policy { overdraft, grace: self.grace }
    }
}

pub(crate) async fn open(session: &Session, arguments: &PolicyArguments) -> Result<(), CliError> {
    let body = CommandBody::OpenOrg(arguments.org.clone(), arguments.policy());
    let done = format!("Organization {} is open.", arguments.org);
    give(session, body, &arguments.reason, &arguments.giving, &done).await
}

pub(crate) async fn set_policy(session: &Session, arguments: &PolicyArguments) -> Result<(), CliError> {
    let body = CommandBody::SetPolicy(arguments.org.clone(), arguments.policy());
    let done = format!("The policy of {} is set.", arguments.org);
    give(session, body, &arguments.reason, &arguments.giving, &done).await
}
