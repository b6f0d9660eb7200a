//! `credits plan`: the recurring allocations of an org.
//!
//! All changes of a plan are one command, which names the whole new plan: `seats` and `users` read the present one, change
//! it, and set it.

mod file;
mod show;

use std::path::PathBuf;

use clap::Args;
use fluxori_core::command::{CommandBody, Plan, SetPlan};
use fluxori_core::fold::PlanState;
use fluxori_core::id::{OrgId, UserId};
use fluxori_core::record::partition_of;
use fluxori_core::time::Timestamp;
use fluxori_ledger::Needed;
use fluxori_runtime::clock;

use crate::command::{GivingArguments, give};
use crate::error::CliError;
use crate::session::{Session, whole_second};
use crate::snapshot::{AsOf, Snapshot};
use file::Definition;

pub(crate) use show::{ShowArguments, show};

/// From when on a change of plan holds, and why it is made.
#[derive(Debug, Args)]
struct ChangeArguments {
    /// From when on; at most 5 minutes ahead [default: now]
    #[arg(long, value_name = "TIME")]
    effective_at: Option<Timestamp>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

impl ChangeArguments {
    fn effective_at(&self) -> Timestamp {
        self.effective_at.unwrap_or_else(|| whole_second(clock::now().into()))
    }

    async fn give(
        &self,
        session: &Session,
        org: &OrgId,
        effective_at: Timestamp,
        plan: Option<Plan>,
        done: &str,
    ) -> Result<(), CliError> {
        if let Some(plan) = &plan {
            plan.check(effective_at).map_err(|problem| CliError::Refused(format!("the plan: {problem}")))?;
        }
        let body = CommandBody::SetPlan(org.clone(), SetPlan { effective_at, plan });
        give(session, body, &self.reason, &self.giving, done).await
    }
}

#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// The organization
    org: OrgId,
    /// The plan: TOML, or JSON if the name ends with .json
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) async fn set(session: &Session, arguments: &SetArguments) -> Result<(), CliError> {
    let definition = Definition::read(&arguments.file)?;
    let effective_at = arguments.change.effective_at();
    let present = in_force(session, &arguments.org).await?.plan;
    let plan = definition.plan(effective_at, present.as_ref().map(|present| &present.plan))?;
    let done = format!("{} is on plan {}.", arguments.org, plan.name);
    arguments.change.give(session, &arguments.org, effective_at, Some(plan), &done).await
}

#[derive(Debug, Args)]
pub(crate) struct CancelArguments {
    /// The organization
    org: OrgId,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) async fn cancel(session: &Session, arguments: &CancelArguments) -> Result<(), CliError> {
    let org = &arguments.org;
    let present = present(session, org).await?;
    let done = format!("{org} is not on plan {} any more.", present.plan.name);
    arguments.change.give(session, org, arguments.change.effective_at(), None, &done).await
}

#[derive(Debug, Args)]
pub(crate) struct SeatsArguments {
    /// The organization
    org: OrgId,
    /// How many seats there shall be
    seats: u32,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) async fn seats(session: &Session, arguments: &SeatsArguments) -> Result<(), CliError> {
    let org = &arguments.org;
    let effective_at = arguments.change.effective_at();
    let mut plan = file::at(present(session, org).await?.plan, effective_at)?;
    let done = format!("Plan {} of {org} has {} seats; it had {}.", plan.name, arguments.seats, plan.seats);
    plan.seats = arguments.seats;
    arguments.change.give(session, org, effective_at, Some(plan), &done).await
}

#[derive(Debug, Args)]
pub(crate) struct UsersArguments {
    /// The organization
    org: OrgId,
    /// A user who shall have allocations of their own; may be given several times
    #[arg(long, value_name = "USER", required_unless_present = "remove")]
    add: Vec<UserId>,
    /// A user who shall have none any more; may be given several times
    #[arg(long, value_name = "USER")]
    remove: Vec<UserId>,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) async fn users(session: &Session, arguments: &UsersArguments) -> Result<(), CliError> {
    let org = &arguments.org;
    let effective_at = arguments.change.effective_at();
    let mut plan = file::at(present(session, org).await?.plan, effective_at)?;
    for user in &arguments.remove {
        if !plan.users.remove(user) {
            return Err(CliError::Refused(format!(
                "user {user} is not in plan {} of {org}; `credits plan show {org}` lists its users",
                plan.name
            )));
        }
    }
    plan.users.extend(arguments.add.iter().cloned());
    let done = format!("Plan {} of {org} has {} users.", plan.name, plan.users.len());
    arguments.change.give(session, org, effective_at, Some(plan), &done).await
}

/// The plan of an org, if it is on one, at one moment.
struct InForce {
    plan: Option<PlanState>,
    as_of: AsOf,
}

async fn in_force(session: &Session, org: &OrgId) -> Result<InForce, CliError> {
    let log = session.log(&session.reader()?).await?;
    let partition = partition_of(org.as_str().as_bytes(), log.genesis.partitions);
    let needed = Needed { orgs: [org.clone()].into(), ..Needed::default() };
    let Snapshot { fold, as_of, .. } =
        Snapshot::read(session, &session.ledger().await?, partition, &needed).await?;
    let Some(state) = fold.orgs().find(|state| state.org() == org) else {
        return Err(CliError::Refused(format!(
            "org {org} is not open in the ledger; open it with `credits grant` or `credits org open`"
        )));
    };
    Ok(InForce { plan: state.record.plan.clone(), as_of })
}

/// The plan that is to be changed.
async fn present(session: &Session, org: &OrgId) -> Result<PlanState, CliError> {
    in_force(session, org).await?.plan.ok_or_else(|| {
        CliError::Refused(format!("{org} is on no plan; set one with `credits plan set {org} --file FILE`"))
    })
}
