//! `credits org open` and `credits policy set`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use fluxori_core::command::{CommandBody, CommandKind, OverdraftPolicy, Policy};
use fluxori_core::id::OrgId;

use crate::command::{Asked, GivingArguments, give};
use crate::error::CliError;
use crate::session::Session;

/// What happens to usage that no allocation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overdraft {
    /// It is owed; the next unscoped allocation of the org pays it off
    Carry,
    /// It is recorded as an expense and not owed
    Absorb,
    /// Carry, or absorb while the org's plan is a trial
    Default,
}

impl Overdraft {
    const fn policy(self) -> Option<OverdraftPolicy> {
        match self {
            Self::Carry => Some(OverdraftPolicy::Carry),
            Self::Absorb => Some(OverdraftPolicy::Absorb),
            Self::Default => None,
        }
    }
}

/// The name of an overdraft policy, as `--overdraft` takes it.
pub(crate) const fn overdraft_name(policy: &Policy) -> &'static str {
    match policy.overdraft {
        Some(overdraft) => overdraft.as_str(),
        None => "default",
    }
}

#[derive(Debug, Args)]
pub(crate) struct OpenArguments {
    /// The organization
    org: OrgId,
    /// What happens to usage that no allocation covers
    #[arg(long, value_enum, default_value_t = Overdraft::Default)]
    overdraft: Overdraft,
    /// How long after its expiry an allocation still pays for usage from before it
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = crate::duration::parse)]
    grace: Duration,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

pub(crate) async fn open(session: &Session, arguments: &OpenArguments) -> Result<(), CliError> {
    let OpenArguments { org, overdraft, grace, reason, giving } = arguments;
    let asked = Asked { org, kind: CommandKind::OpenOrg, reason, giving };
    let body = CommandBody::OpenOrg(org.clone(), Policy { overdraft: overdraft.policy(), grace: *grace });
    let done = |_: &CommandBody| format!("Organization {org} is open.");
    give(session, asked, async || Ok(body.clone()), |earlier| *earlier == body, done).await
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    /// The organization
    org: OrgId,
    /// What happens to usage that no allocation covers [default: as it is]
    #[arg(long, value_enum, required_unless_present = "grace")]
    overdraft: Option<Overdraft>,
    /// How long after its expiry an allocation still pays for usage from before it [default: as it is]
    #[arg(long, value_name = "SPAN", value_parser = crate::duration::parse)]
    grace: Option<Duration>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

impl PolicyArguments {
    /// The policy, where it was `present` before: what is not named stays.
    fn policy(&self, present: Policy) -> Policy {
        Policy {
            overdraft: self.overdraft.map_or(present.overdraft, Overdraft::policy),
            grace: self.grace.unwrap_or(present.grace),
        }
    }

    /// What was not named was as the ledger had it then.
    fn is_asked(&self, earlier: &CommandBody) -> bool {
        matches!(earlier, CommandBody::SetPolicy(_, earlier) if *earlier == self.policy(*earlier))
    }
}

pub(crate) async fn set_policy(session: &Session, arguments: &PolicyArguments) -> Result<(), CliError> {
    let PolicyArguments { org, reason, giving, .. } = arguments;
    let asked = Asked { org, kind: CommandKind::SetPolicy, reason, giving };
    let make = async || {
        let present = match (arguments.overdraft, arguments.grace) {
            (Some(_), Some(_)) => Policy::default(),
            _ => present(session, org).await?,
        };
        Ok(CommandBody::SetPolicy(org.clone(), arguments.policy(present)))
    };
    let done = |_: &CommandBody| format!("The policy of {org} is set.");
    give(session, asked, make, |earlier| arguments.is_asked(earlier), done).await
}

async fn present(session: &Session, org: &OrgId) -> Result<Policy, CliError> {
    let found = session.ledger().await?.organization(org).await?;
    Ok(found.ok_or_else(|| CliError::not_open(org))?.record.policy)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: PolicyArguments,
    }

    fn parse(line: &str) -> Result<PolicyArguments, clap::Error> {
        let words = format!("set acme {line}");
        Line::try_parse_from(words.split_whitespace()).map(|line| line.arguments)
    }

    #[test]
    fn what_is_not_named_of_a_policy_stays_as_it_is() {
        let present = Policy { overdraft: Some(OverdraftPolicy::Absorb), grace: Duration::from_hours(2) };
        let grace = parse("--grace 1h").unwrap().policy(present);
        assert_eq!(grace, Policy { grace: Duration::from_hours(1), ..present });
        let carry = parse("--overdraft carry").unwrap().policy(present);
        assert_eq!(carry, Policy { overdraft: Some(OverdraftPolicy::Carry), ..present });
        let default = parse("--overdraft default").unwrap().policy(present);
        assert_eq!(default, Policy { overdraft: None, ..present });
        assert!(parse("").is_err(), "nothing is named");
    }

    #[test]
    fn a_policy_set_before_is_the_one_asked_for_if_what_is_named_is_the_same() {
        let of = |overdraft, hours| {
            let policy = Policy { overdraft, grace: Duration::from_hours(hours) };
            CommandBody::SetPolicy("acme".parse().unwrap(), policy)
        };
        let asked = parse("--grace 1h").unwrap();
        assert!(asked.is_asked(&of(None, 1)) && asked.is_asked(&of(Some(OverdraftPolicy::Absorb), 1)));
        assert!(!asked.is_asked(&of(None, 2)));
        assert!(!parse("--overdraft default").unwrap().is_asked(&of(Some(OverdraftPolicy::Carry), 1)));
    }
}
