//! `credits balance`.

use clap::Args;
use fluxori_core::amount::Credits;
use fluxori_core::command::{Account, Policy, Scope};
use fluxori_core::fold::Allocation;
use fluxori_core::id::{OrgId, UserId};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{OrgSnapshot, Organization};
use fluxori_runtime::clock;
use serde::Serialize;

use crate::duration;
use crate::error::CliError;
use crate::org::overdraft_name;
use crate::output::{table, time};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct BalanceArguments {
    /// The organization
    org: OrgId,
    /// Count this user's own allocations, too
    #[arg(long)]
    user: Option<UserId>,
}

#[derive(Debug, Serialize)]
struct Answer {
    org_id: OrgId,
    user_id: Option<UserId>,
    balance: Credits,
    overdraft: Credits,
    available: Credits,
    granted: Credits,
    charged: Credits,
    absorbed: Credits,
    expired: Credits,
    /// What credit limits lent until their end, and is to be paid.
    due: Credits,
    suspended: bool,
    suspended_users: Vec<UserId>,
    plan: Option<String>,
    policy: PolicyLine,
    as_of: Option<Timestamp>,
    allocations: Vec<Line>,
}

/// What the org has chosen, in the words of `credits policy set`.
#[derive(Debug, Serialize)]
struct PolicyLine {
    /// `carry`, `absorb`, or `default`: carry, or absorb while its plan is a trial.
    overdraft: &'static str,
    grace: String,
}

impl PolicyLine {
    fn of(policy: &Policy) -> Self {
        Self { overdraft: overdraft_name(policy), grace: duration::text(policy.grace) }
    }

    fn text(&self) -> String {
        let overdraft = match self.overdraft {
            "default" => "carry by default, absorb while its plan is a trial",
            chosen => chosen,
        };
        format!("policy: overdraft {overdraft}; grace {}", self.grace)
    }
}

#[derive(Debug, Serialize)]
struct Line {
    allocation_id: String,
    user_id: Option<UserId>,
    kind: &'static str,
    status: &'static str,
    purchased: bool,
    priority: i32,
    scope: Scope,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
    granted: Credits,
    remaining: Credits,
}

pub(crate) async fn run(session: &Session, arguments: &BalanceArguments) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let org = &arguments.org;
    let not_open = || CliError::not_open(org);
    let partition = ledger.organization(org).await?.ok_or_else(not_open)?.partition;
    let snapshot = ledger.snapshot(org, partition).await?;
    let row = snapshot.org.clone().ok_or_else(not_open)?;
    let available = snapshot.available_for_anything(clock::now().into(), arguments.user.as_ref())?;
    session.output.print(&answer(row, snapshot, available, arguments.user.clone()), text)
}

fn answer(org: Organization, snapshot: OrgSnapshot, available: Credits, user_id: Option<UserId>) -> Answer {
    let mut allocations: Vec<Line> = snapshot.allocations.into_iter().map(line).collect();
    allocations.sort_by_key(|line| line.effective_at);
    let record = org.record;
    let suspended = record.suspended.contains(&Account::Organization);
    let suspended_users = record.suspended.iter().filter_map(|account| account.user().cloned()).collect();
    Answer {
        org_id: record.org,
        user_id,
        balance: org.balance,
        overdraft: org.overdraft,
        available,
        granted: record.totals.granted,
        charged: record.totals.charged,
        absorbed: record.totals.absorbed,
        expired: record.totals.expired,
        due: record.totals.due,
        suspended,
        suspended_users,
        policy: PolicyLine::of(&record.policy),
        plan: record.plan.map(|plan| plan.plan.name.to_string()),
        as_of: snapshot.log_time,
        allocations,
    }
}

fn line(allocation: Allocation) -> Line {
    Line {
        allocation_id: allocation.id.to_string(),
        user_id: allocation.account.user().cloned(),
        kind: allocation.kind.as_str(),
        status: allocation.status.as_str(),
        purchased: allocation.purchased,
        priority: allocation.priority,
        scope: allocation.scope,
        effective_at: allocation.effective_at,
        expires_at: allocation.expires_at,
        granted: allocation.granted,
        remaining: allocation.remaining,
    }
}

fn text(answer: &Answer) -> String {
    let of = answer.user_id.as_ref().map_or_else(String::new, |user| format!(" for user {user}"));
    let sums = table(
        ["", "credits"],
        &[1],
        [
            [format!("available for anything{of}"), answer.available.to_string()],
            ["balance".to_owned(), answer.balance.to_string()],
            ["overdraft".to_owned(), answer.overdraft.to_string()],
            ["granted".to_owned(), answer.granted.to_string()],
            ["charged".to_owned(), answer.charged.to_string()],
            ["absorbed".to_owned(), answer.absorbed.to_string()],
            ["expired".to_owned(), answer.expired.to_string()],
            ["due".to_owned(), answer.due.to_string()],
        ],
    );
    let lines = answer.allocations.iter().map(|line| {
        [
            line.allocation_id.clone(),
            line.user_id.as_ref().map_or_else(|| "(organization)".to_owned(), ToString::to_string),
            line.kind.to_owned(),
            line.status.to_owned(),
            line.remaining.to_string(),
            line.granted.to_string(),
            time(Some(line.effective_at)),
            time(line.expires_at),
            scope(&line.scope),
        ]
    });
    let allocations = table(
        ["allocation", "account", "kind", "status", "left", "granted", "from", "until", "only for"],
        &[4, 5],
        lines,
    );
    let as_of = time(answer.as_of);
    let plan = answer.plan.as_ref().map_or_else(String::new, |plan| format!("\non plan {plan}"));
    let users: Vec<&str> = answer.suspended_users.iter().map(UserId::as_str).collect();
    let suspended = match (answer.suspended, users.is_empty()) {
        (true, _) => "\nsuspended: all calls are refused".to_owned(),
        (false, false) => format!("\nsuspended users: {}", users.join(", ")),
        (false, true) => String::new(),
    };
    let policy = answer.policy.text();
    format!(
        "{} as of {as_of} UTC, the log's time{plan}\n{policy}{suspended}\n\n{sums}\n\n{allocations}",
        answer.org_id
    )
}

fn scope(scope: &Scope) -> String {
    let names = |names: Vec<&str>| names.join(" | ");
    let parts = [
        names(scope.modules.iter().map(|name| name.as_str()).collect()),
        names(scope.features.iter().map(|name| name.as_str()).collect()),
        names(scope.models.iter().map(|name| name.as_str()).collect()),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use fluxori_core::command::OverdraftPolicy;

    use super::*;

    #[test]
    fn a_policy_is_shown_in_the_words_that_set_it() {
        let default = PolicyLine::of(&Policy::default()).text();
        assert!(default.contains("carry by default") && default.ends_with("grace 5m"), "{default}");
        let absorb = Policy { overdraft: Some(OverdraftPolicy::Absorb), ..Policy::default() };
        assert_eq!(PolicyLine::of(&absorb).text(), "policy: overdraft absorb; grace 5m");
    }
}
