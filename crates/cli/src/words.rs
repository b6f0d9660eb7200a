//! The words under `account`, `plan`, `quarantine`, `keys` and `rules`, and their help.

use clap::Subcommand;

use crate::{account, keys, plan, quarantine, rules};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountWord {
    /// Stop an account: checks refuse its calls; usage that happens all the same is charged
    ///
    ///   credits account suspend acme --reason 'unpaid invoice 1042'
    ///   credits account suspend acme --user jo
    #[command(verbatim_doc_comment)]
    Suspend(account::AccountArguments),
    /// Let an account go on
    ///
    ///   credits account resume acme --user jo
    #[command(verbatim_doc_comment)]
    Resume(account::AccountArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanWord {
    /// Put an organization on a plan, or change its plan
    ///
    /// The file names the plan and its items. What an item gives for a whole period is prorated for the rest of the
    /// period in course; an item of the same id goes on. An anchor that is left out is that of the item before, or the
    /// midnight of the day on which the plan takes effect.
    ///
    ///   credits plan set acme --file team.toml --dry-run
    ///
    /// team.toml:
    ///
    ///   name = "team"
    ///   seats = 5                  # for items with share = "seat"
    ///   users = ["jo"]             # for items with share = "user"
    ///   trial = false              # true: what no allocation covers is absorbed
    ///
    ///   [[items]]
    ///   id = "monthly"
    ///   kind = "subscription"      # or quota, payg
    ///   amount = "1000"            # credits of a whole period
    ///   share = "seat"             # or organization, user
    ///   max_rollover = "200"       # subscriptions only
    ///   priority = 0               # lower burns first
    ///   purchased = true
    ///   scope = { models = ["gpt-5"] }
    ///   recurrence = { every = 1, unit = "month", anchor = "2026-11-01T00:00:00", time_zone = "Europe/Berlin" }
    #[command(verbatim_doc_comment)]
    Set(plan::SetArguments),
    /// Show an organization's plan
    Show(plan::ShowArguments),
    /// Take an organization off its plan
    ///
    /// What the rest of the period in course would give is taken; what its elapsed part gave stays until its end.
    Cancel(plan::CancelArguments),
    /// Change the number of seats of an organization's plan
    ///
    ///   credits plan seats acme 12 --dry-run
    #[command(verbatim_doc_comment)]
    Seats(plan::SeatsArguments),
    /// Change who has allocations of their own in an organization's plan
    ///
    ///   credits plan users acme --add jo --add kim --remove lee
    #[command(verbatim_doc_comment)]
    Users(plan::UsersArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineWord {
    /// List them with their reasons, latest first
    ///
    ///   credits quarantine list --org acme --reason conflict
    #[command(verbatim_doc_comment)]
    List(quarantine::ListArguments),
    /// Show a record: why it is there, and what it says
    ///
    ///   credits quarantine show 3-1042
    #[command(verbatim_doc_comment)]
    Show(quarantine::ShowArguments),
    /// Apply usage after all; its time is not judged again, everything else is
    ///
    ///   credits quarantine release acme 3-1042 --reason 'clock of the call site was wrong' --dry-run
    #[command(verbatim_doc_comment)]
    Release(quarantine::DecideArguments),
    /// Mark a record as done with; it stays where it is
    ///
    ///   credits quarantine dismiss acme 3-1042 --reason 'a load test'
    #[command(verbatim_doc_comment)]
    Dismiss(quarantine::DecideArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysWord {
    /// Let a key give some kinds of command; needs the root's key
    ///
    /// Makes the key's file if it is not there. The same key again replaces what it may do. A run that died half-way is
    /// finished by the next.
    ///
    ///   credits keys issue edge-eu --kind grant --kind adjust --root-key keys/root.key
    #[command(verbatim_doc_comment)]
    Issue(keys::IssueArguments),
    /// Take a key out of force; needs the root's key
    ///
    /// What it signed before stays. A run that died half-way is finished by the next.
    ///
    ///   credits keys revoke 3f1f0c8b2d110198 --root-key keys/root.key --reason 'laptop lost'
    #[command(verbatim_doc_comment)]
    Revoke(keys::RevokeArguments),
    /// Show the keys in force and what they may do
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesWord {
    /// Put a newer version of the rules in force; needs the root's key
    ///
    /// Consumers that do not know it stop: upgrade them first.
    Set(rules::SetArguments),
}
