//! `credits plan`: the recurring allocations of an org.
//!
//! All changes of a plan are one command, which names the whole new plan: `seats` and `users` read the present one, change
//! it, and set it.

mod file;
mod show;

use std::path::PathBuf;

use clap::Args;
use fluxori_core::command::{CommandBody, CommandKind, Plan, SetPlan};
use fluxori_core::fold::PlanState;
use fluxori_core::id::{OrgId, UserId};
use fluxori_core::record::partition_of;
use fluxori_core::time::Timestamp;
use fluxori_ledger::Needed;
use fluxori_runtime::clock;

use crate::command::{Asked, GivingArguments, give};
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
    /// Gives the command that puts `org` on what `plan` makes of the time from which on it holds; `is_asked` judges an
    /// earlier command that held from a time that is asked for.
    async fn give(
        &self,
        session: &Session,
        org: &OrgId,
        plan: impl AsyncFn(Timestamp) -> Result<Option<Plan>, CliError>,
        is_asked: impl Fn(&SetPlan) -> bool,
        done: impl Fn(Option<&Plan>) -> String,
    ) -> Result<(), CliError> {
        let asked = Asked { org, kind: CommandKind::SetPlan, reason: &self.reason, giving: &self.giving };
        let make = async || {
            let effective_at = self.effective_at.unwrap_or_else(|| whole_second(clock::now().into()));
            let plan = plan(effective_at).await?;
            if let Some(plan) = &plan {
                plan.check(effective_at)
                    .map_err(|problem| CliError::Refused(format!("the plan: {problem}")))?;
            }
            Ok(CommandBody::SetPlan(org.clone(), SetPlan { effective_at, plan }))
        };
        let is_asked = |earlier: &CommandBody| match earlier {
            CommandBody::SetPlan(_, earlier) => {
                self.effective_at.is_none_or(|at| at == earlier.effective_at) && is_asked(earlier)
            }
            _ => false,
        };
        let done = |body: &CommandBody| match body {
            CommandBody::SetPlan(_, set) => done(set.plan.as_ref()),
            _ => done(None),
        };
        give(session, asked, make, is_asked, done).await
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
    let SetArguments { org, file, change } = arguments;
    let definition = Definition::read(file)?;
    let plan = async |effective_at| {
        let present = in_force(session, org).await?.plan;
        definition.plan(effective_at, present.as_ref().map(|present| &present.plan)).map(Some)
    };
    let done = |plan: Option<&Plan>| {
        format!("{org} is on plan {}.", plan.map(|plan| plan.name.to_string()).unwrap_or_default())
    };
    change.give(session, org, plan, |earlier| definition.is_of(earlier), done).await
}

#[derive(Debug, Args)]
pub(crate) struct CancelArguments {
    /// The organization
    org: OrgId,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) async fn cancel(session: &Session, arguments: &CancelArguments) -> Result<(), CliError> {
    let CancelArguments { org, change } = arguments;
    let plan = async |_| present(session, org).await.map(|_| None);
    let done = |_: Option<&Plan>| format!("{org} is on no plan any more.");
    change.give(session, org, plan, |earlier| earlier.plan.is_none(), done).await
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
    let SeatsArguments { org, seats, change } = arguments;
    let plan = async |effective_at| {
        let present = file::at(present(session, org).await?.plan, effective_at)?;
        Ok(Some(Plan { seats: *seats, ..present }))
    };
    let is_asked = |earlier: &SetPlan| earlier.plan.as_ref().is_some_and(|plan| plan.seats == *seats);
    let done = |plan: Option<&Plan>| {
        let name = plan.map(|plan| plan.name.to_string()).unwrap_or_default();
        format!("Plan {name} of {org} has {seats} seats.")
    };
    change.give(session, org, plan, is_asked, done).await
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
    let UsersArguments { org, change, .. } = arguments;
    let plan = async |effective_at| {
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
        Ok(Some(plan))
    };
    let done = |plan: Option<&Plan>| {
        let (name, users) = plan.map(|plan| (plan.name.to_string(), plan.users.len())).unwrap_or_default();
        format!("Plan {name} of {org} has {users} users.")
    };
    change.give(session, org, plan, |earlier| arguments.is_asked(earlier), done).await
}

impl UsersArguments {
    /// Who else was in the plan was as the ledger had it then. Who is removed and added is in it.
    fn is_asked(&self, earlier: &SetPlan) -> bool {
        earlier.plan.as_ref().is_some_and(|plan| {
            let is_in = |user: &UserId| plan.users.contains(user);
            self.add.iter().all(is_in)
                && !self.remove.iter().any(|user| is_in(user) && !self.add.contains(user))
        })
    }
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
        return Err(CliError::not_open(org));
    };
    Ok(InForce { plan: state.record.plan.clone(), as_of })
}

/// The plan that is to be changed.
async fn present(session: &Session, org: &OrgId) -> Result<PlanState, CliError> {
    in_force(session, org).await?.plan.ok_or_else(|| {
        CliError::Refused(format!("{org} is on no plan; set one with `credits plan set {org} --file FILE`"))
    })
}
