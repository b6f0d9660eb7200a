//! `credits adjust`, `credits transfer`, `credits extend`: changes of an allocation that has not ended.

use std::time::Duration;

use clap::Args;
use fluxori_core::amount::Credits;
use fluxori_core::command::{Account, Adjust, CommandBody, CommandKind, Extend, Transfer};
use fluxori_core::fold::AllocationStatus;
use fluxori_core::id::{AllocationId, OrgId, UserId};
use fluxori_core::time::Timestamp;

use crate::command::{Asked, GivingArguments, give};
use crate::error::CliError;
use crate::output::time;
use crate::session::Session;

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
    let AdjustArguments { org, allocation, amount, reason, giving } = arguments;
    let asked = Asked { org, kind: CommandKind::Adjust, reason, giving };
    let adjust = Adjust { allocation_id: *allocation, amount: *amount };
    let body = CommandBody::Adjust(org.clone(), adjust);
    let make = async || {
        check(session, org, *allocation, giving).await?;
        Ok(body.clone())
    };
    let done = |_: &CommandBody| format!("Allocation {allocation} is adjusted by {amount} credits.");
    give(session, asked, make, |earlier| *earlier == body, done).await
}

#[derive(Debug, Args)]
pub(crate) struct TransferArguments {
    /// The organization
    org: OrgId,
    /// The allocation to take from, which must not have ended, nor be payg
    #[arg(long)]
    allocation: AllocationId,
    /// To this user of the organization
    #[arg(long, value_name = "USER", required_unless_present = "to_org")]
    to_user: Option<UserId>,
    /// To the organization, for all of its users
    #[arg(long, conflicts_with = "to_user")]
    to_org: bool,
    /// How many credits; never more than are left
    #[arg(long, value_name = "CREDITS")]
    amount: Credits,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

pub(crate) async fn transfer(session: &Session, arguments: &TransferArguments) -> Result<(), CliError> {
    let TransferArguments { org, allocation, amount, reason, giving, .. } = arguments;
    let asked = Asked { org, kind: CommandKind::Transfer, reason, giving };
    let to = Account::from(arguments.to_user.clone());
    let whom = to.user().map_or_else(|| "the organization".to_owned(), |user| format!("user {user}"));
    let body =
        CommandBody::Transfer(org.clone(), Transfer { allocation_id: *allocation, to, amount: *amount });
    let make = async || {
        check(session, org, *allocation, giving).await?;
        Ok(body.clone())
    };
    let done = |_: &CommandBody| {
        format!(
            "{amount} credits of allocation {allocation} belong to {whom} now, in an allocation with the command's id."
        )
    };
    give(session, asked, make, |earlier| *earlier == body, done).await
}

#[derive(Debug, Args)]
pub(crate) struct ExtendArguments {
    /// The organization
    org: OrgId,
    /// The allocation, which must not have ended
    #[arg(long)]
    allocation: AllocationId,
    /// Its new expiry, later than the one it has, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", required_unless_present_any = ["by", "never"])]
    expires_at: Option<Timestamp>,
    /// So much later than the expiry it has, such as 30d
    #[arg(long, value_name = "SPAN", conflicts_with = "expires_at", value_parser = crate::duration::parse)]
    by: Option<Duration>,
    /// It shall never expire; prepaid only
    #[arg(long, conflicts_with_all = ["expires_at", "by"])]
    never: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

pub(crate) async fn extend(session: &Session, arguments: &ExtendArguments) -> Result<(), CliError> {
    let ExtendArguments { org, allocation, reason, giving, .. } = arguments;
    let asked = Asked { org, kind: CommandKind::Extend, reason, giving };
    let make = async || {
        check(session, org, *allocation, giving).await?;
        let expires_at = match arguments.by {
            Some(span) => Some(present_expiry(session, org, *allocation).await?.after(span)),
            None => arguments.expires_at,
        };
        Ok(CommandBody::Extend(org.clone(), Extend { allocation_id: *allocation, expires_at }))
    };
    let done = |body: &CommandBody| match body {
        CommandBody::Extend(_, Extend { expires_at: Some(at), .. }) => {
            format!("Allocation {allocation} expires at {} UTC.", time(Some(*at)))
        }
        _ => format!("Allocation {allocation} never expires."),
    };
    give(session, asked, make, |earlier| arguments.is_asked(earlier), done).await
}

impl ExtendArguments {
    /// What `--by` has come to depends on the expiry that the allocation had.
    fn is_asked(&self, earlier: &CommandBody) -> bool {
        let CommandBody::Extend(_, Extend { allocation_id, expires_at }) = earlier else { return false };
        let at = if self.by.is_some() { expires_at.is_some() } else { *expires_at == self.expires_at };
        *allocation_id == self.allocation && at
    }
}

async fn present_expiry(session: &Session, org: &OrgId, id: AllocationId) -> Result<Timestamp, CliError> {
    let allocation = session.ledger().await?.allocation(org, id).await?;
    allocation
        .and_then(|allocation| allocation.expires_at)
        .ok_or_else(|| CliError::Refused(format!("allocation {id} has no expiry: it never expires as it is")))
}

/// Refuses an allocation that the ledger does not have or that has ended, before a command about it is given.
async fn check(
    session: &Session,
    org: &OrgId,
    id: AllocationId,
    giving: &GivingArguments,
) -> Result<(), CliError> {
    if !giving.asks_the_ledger() {
        return Ok(());
    }
    match session.ledger().await?.allocation(org, id).await? {
        None => Err(CliError::Refused(format!(
            "the ledger has no allocation {id} of org {org}; `credits balance {org}` lists those that have not ended \
             (if it was granted just now, wait until the ledger has come to it)"
        ))),
        Some(allocation) if allocation.status == AllocationStatus::Closed => Err(CliError::Refused(format!(
            "allocation {id} of org {org} has ended at {} UTC and what was left in it has expired; grant the credits \
             anew with `credits grant`",
            time(allocation.expires_at)
        ))),
        Some(_) => Ok(()),
    }
}
