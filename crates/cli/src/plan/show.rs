//! `credits plan show`.

use clap::Args;
use fluxori_core::command::{Plan, PlanItem, Share};
use fluxori_core::fold::PlanState;
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;
use serde::Serialize;

use super::in_force;
use crate::error::CliError;
use crate::output::{table, time};
use crate::session::Session;
use crate::snapshot::AsOf;

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The organization
    org: OrgId,
}

#[derive(Debug, Serialize)]
struct Answer {
    org_id: OrgId,
    /// The command that put the plan in force.
    revision: Option<String>,
    plan: Option<Plan>,
    /// How far its periods have been granted.
    granted_until: Vec<Granted>,
    as_of: AsOf,
}

#[derive(Debug, Serialize)]
struct Granted {
    item: String,
    user_id: Option<String>,
    until: Timestamp,
}

pub(crate) async fn show(session: &Session, arguments: &ShowArguments) -> Result<(), CliError> {
    let found = in_force(session, &arguments.org).await?;
    let (mut revision, mut plan, mut granted_until) = (None, None, Vec::new());
    if let Some(PlanState { revision: command, plan: present, granted_until: granted }) = found.plan {
        revision = Some(command.to_string());
        plan = Some(present);
        granted_until = granted
            .into_iter()
            .map(|((item, account), until)| Granted {
                item: item.to_string(),
                user_id: account.user().map(ToString::to_string),
                until,
            })
            .collect();
    }
    let answer = Answer { org_id: arguments.org.clone(), revision, plan, granted_until, as_of: found.as_of };
    session.output.print(&answer, text)
}

fn text(answer: &Answer) -> String {
    let (Some(plan), Some(revision)) = (&answer.plan, &answer.revision) else {
        return format!("{} is on no plan.", answer.org_id);
    };
    let trial = if plan.trial { ", a trial" } else { "" };
    let rows = plan.items.iter().map(|item| {
        let own = answer.granted_until.iter().filter(|granted| granted.item == item.id.as_str());
        [
            item.id.to_string(),
            item.kind.as_str().to_owned(),
            format!("{}{}", item.amount, share(item)),
            item.max_rollover.to_string(),
            recurrence(item),
            time(own.map(|granted| granted.until).min()),
        ]
    });
    let header = ["item", "kind", "credits", "rolls over", "every", "granted until"];
    let users: Vec<String> = plan.users.iter().map(ToString::to_string).collect();
    let users = if users.is_empty() { "none".to_owned() } else { users.join(", ") };
    format!(
        "{} is on plan {}{trial}, revision {revision}\n{} seats; users: {users}\n\n{}",
        answer.org_id,
        plan.name,
        plan.seats,
        table(header, &[2, 3], rows)
    )
}

fn share(item: &PlanItem) -> &'static str {
    match item.share {
        Share::Organization => "",
        Share::Seat => " a seat",
        Share::User => " a user",
    }
}

fn recurrence(item: &PlanItem) -> String {
    let recurrence = &item.recurrence;
    let every = match recurrence.every {
        1 => recurrence.unit.as_str().to_owned(),
        every => format!("{every} {}s", recurrence.unit.as_str()),
    };
    format!("{every} from {} {}", recurrence.anchor, recurrence.time_zone)
}
