//! `credits grant`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use fluxori_core::amount::Credits;
use fluxori_core::command::{Account, AllocationKind, CommandBody, CommandKind, Grant, Scope};
use fluxori_core::id::{Feature, Model, Module, OrgId, UserId};
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;

use crate::command::{Asked, GivingArguments, give};
use crate::error::CliError;
use crate::session::{Session, whole_second};

/// The kinds of allocation that can be granted by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Granted once; may never expire
    Prepaid,
    /// For one period of a plan
    Subscription,
    /// For one period, use it or lose it
    Quota,
    /// For one period: a credit limit; what was used is due at its end
    Payg,
}

#[derive(Debug, Args)]
pub(crate) struct GrantArguments {
    /// The organization; opened if it is not
    org: OrgId,
    /// How many credits; of payg: the credit limit
    #[arg(allow_negative_numbers = true)]
    amount: Credits,
    /// Only for this user of the organization
    #[arg(long)]
    user: Option<UserId>,
    /// What makes and ends it
    #[arg(long, value_enum, default_value_t = Kind::Prepaid)]
    kind: Kind,
    /// First instant at which it may be spent, such as 2026-12-01T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    effective_at: Option<Timestamp>,
    /// First instant at which it may no longer be spent [default: never, which only prepaid may]
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
    expires_at: Option<Timestamp>,
    /// The same as a span from its beginning, such as 30d
    #[arg(long, value_name = "SPAN", value_parser = crate::duration::parse)]
    expires_in: Option<Duration>,
    /// Lower burns first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Only for this module; may be given several times
    #[arg(long = "module", value_name = "MODULE")]
    modules: Vec<Module>,
    /// Only for this feature; may be given several times
    #[arg(long = "feature", value_name = "FEATURE")]
    features: Vec<Feature>,
    /// Only for this model; may be given several times
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<Model>,
    /// Paid for, rather than free
    #[arg(long)]
    purchased: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    giving: GivingArguments,
}

impl GrantArguments {
    fn grant(&self, now: Timestamp) -> Grant {
        let effective_at = self.effective_at.unwrap_or(now);
        let scope = Scope {
            modules: self.modules.iter().cloned().collect(),
            features: self.features.iter().cloned().collect(),
            models: self.models.iter().cloned().collect(),
        };
        Grant {
            account: self.user.clone().map_or(Account::Organization, Account::User),
            kind: match self.kind {
                Kind::Prepaid => AllocationKind::Prepaid,
                Kind::Subscription => AllocationKind::Subscription,
                Kind::Quota => AllocationKind::Quota,
                Kind::Payg => AllocationKind::Payg,
            },
            amount: self.amount,
            effective_at,
            expires_at: self.expires_at.or_else(|| self.expires_in.map(|span| effective_at.after(span))),
            priority: self.priority,
            scope,
            purchased: self.purchased,
            period: None,
        }
    }

    /// A beginning that was not asked for was the clock's then.
    fn is_asked(&self, earlier: &CommandBody) -> bool {
        matches!(earlier, CommandBody::Grant(_, earlier) if *earlier == self.grant(earlier.effective_at))
    }
}

pub(crate) async fn run(session: &Session, arguments: &GrantArguments) -> Result<(), CliError> {
    let GrantArguments { org, amount, user, reason, giving, .. } = arguments;
    let asked = Asked { org, kind: CommandKind::Grant, reason, giving };
    let make = async || {
        let grant = arguments.grant(whole_second(clock::now().into()));
        Ok(CommandBody::Grant(org.clone(), grant))
    };
    let to = user.as_ref().map_or_else(String::new, |user| format!(", user {user}"));
    let done = |_: &CommandBody| format!("Granted {amount} credits to {org}{to}.");
    give(session, asked, make, |earlier| arguments.is_asked(earlier), done).await
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: GrantArguments,
    }

    fn parse(line: &str) -> Result<GrantArguments, clap::Error> {
        Line::try_parse_from(format!("grant acme {line}").split(' ')).map(|line| line.arguments)
    }

    #[test]
    fn a_grant_is_known_again_by_all_that_was_asked_for_and_not_by_the_clock() {
        let then: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let made = |line: &str| CommandBody::Grant("acme".parse().unwrap(), parse(line).unwrap().grant(then));
        let is_asked = |line: &str, made: &CommandBody| parse(line).unwrap().is_asked(made);
        let earlier = made("10 --expires-in 30d --module rag");
        assert!(is_asked("10 --expires-in 30d --module rag", &earlier));
        for other in
            ["11 --expires-in 30d --module rag", "10 --expires-in 31d --module rag", "10 --expires-in 30d"]
        {
            assert!(!is_asked(other, &earlier), "{other}");
        }
        let at = "10 --effective-at 2026-11-02T00:00:00Z";
        assert!(is_asked(at, &made(at)) && is_asked("10", &made(at)));
        assert!(!is_asked(at, &made("10")), "another beginning was asked for");
    }

    #[test]
    fn an_empty_idempotency_key_is_refused() {
        assert!(parse("10 --idempotency-key k").is_ok());
        let refused = parse("10 --idempotency-key ").unwrap_err();
        assert!(refused.to_string().contains("--idempotency-key"), "{refused}");
    }
}
