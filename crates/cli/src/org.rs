//! `credits org open`, `credits policy set`, `credits adjust`: short commands of an org.

use std::time::Duration;

use clap::{Args, ValueEnum};
use fluxori_core::amount::Credits;
use fluxori_core::command::{Adjust, CommandBody, OverdraftPolicy, Policy};
use fluxori_core::id::{AllocationId, OrgId};

use crate::command::{GivingArguments, give};
use crate::error::CliError;
use crate::session::Session;

/// What happens to usage that no allocation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overdraft {
    /// It is owed; the next unscoped allocation of the org pays it off
    Carry,
    /// It is recorded as an expense and not owed; for trials
    Absorb,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    /// The organization
    org: OrgId,
    /// What happens to usage that no allocation covers; if not said: it is carried, or absorbed during a trial
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
    let given = give(session, body, &arguments.reason, &arguments.giving).await?;
    session.output.print(&given, |given| given.text(&format!("Organization {} is open.", given.org_id)))
}

pub(crate) async fn set_policy(session: &Session, arguments: &PolicyArguments) -> Result<(), CliError> {
    let body = CommandBody::SetPolicy(arguments.org.clone(), arguments.policy());
    let given = give(session, body, &arguments.reason, &arguments.giving).await?;
    session.output.print(&given, |given| given.text(&format!("The policy of {} is set.", given.org_id)))
}

#[derive(Debug, Args)]
pub(crate) struct AdjustArguments {
    /// The organization
    org: OrgId,
    /// The allocation, which must not have ended
    allocation: AllocationId,
    /// Credits to add, or to take if negative; never more than are left
    #[arg(allow_negative_numbers = true)]
    amount: Credits,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

pub(crate) async fn adjust(session: &Session, arguments: &AdjustArguments) -> Result<(), CliError> {
    let adjust = Adjust { allocation_id: arguments.allocation, amount: arguments.amount };
    let body = CommandBody::Adjust(arguments.org.clone(), adjust);
    let given = give(session, body, &arguments.reason, &arguments.giving).await?;
    session.output.print(&given, |given| {
        given.text(&format!(
            "Allocation {} is adjusted by {} credits.",
            arguments.allocation, arguments.amount
        ))
    })
}
