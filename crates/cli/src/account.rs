//! `credits account suspend` and `resume`.

use clap::Args;
use fluxori_core::command::{Account, CommandBody, CommandKind};
use fluxori_core::id::{OrgId, UserId};

use crate::command::{Asked, GivingArguments, give};
use crate::error::CliError;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct AccountArguments {
    /// The organization
    org: OrgId,
    /// Only this user of it
    #[arg(long)]
    user: Option<UserId>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

impl AccountArguments {
    const fn asked(&self, kind: CommandKind) -> Asked<'_> {
        Asked { org: &self.org, kind, reason: self.reason.as_str(), giving: &self.giving }
    }

    fn whose(&self) -> String {
        let org = &self.org;
        self.user.as_ref().map_or_else(|| org.to_string(), |user| format!("user {user} of {org}"))
    }
}

pub(crate) async fn suspend(session: &Session, arguments: &AccountArguments) -> Result<(), CliError> {
    let body = CommandBody::Suspend(arguments.org.clone(), Account::from(arguments.user.clone()));
    let done = |_: &CommandBody| format!("The account of {} is suspended.", arguments.whose());
    let asked = arguments.asked(CommandKind::Suspend);
    give(session, asked, async || Ok(body.clone()), |earlier| *earlier == body, done).await
}

pub(crate) async fn resume(session: &Session, arguments: &AccountArguments) -> Result<(), CliError> {
    let body = CommandBody::Resume(arguments.org.clone(), Account::from(arguments.user.clone()));
    let done = |_: &CommandBody| format!("The account of {} goes on.", arguments.whose());
    let asked = arguments.asked(CommandKind::Resume);
    give(session, asked, async || Ok(body.clone()), |earlier| *earlier == body, done).await
}
