//! `credits keys`: who may give commands.

mod list;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use fluxori_core::command::{CommandBody, CommandKind, IssueKey};
use fluxori_core::fold::LogIdentity;
use fluxori_core::id::{KeyId, LogId};
use fluxori_wire::Issuer;
use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::error::CliError;
use crate::everywhere::{self, Order, RootArguments};
use crate::session::Session;

pub(crate) use list::list;

#[derive(Debug, Args)]
pub(crate) struct IssueArguments {
    /// Who holds the key, such as edge-eu
    issuer: String,
    /// A kind of command that it may give, such as grant or rates; may be given several times
    #[arg(long = "kind", value_name = "KIND", required = true, value_parser = kind)]
    kinds: Vec<CommandKind>,
    /// Its private key; made if the file is not there [default: ISSUER.key beside the root's]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    root: RootArguments,
}

fn kind(text: &str) -> Result<CommandKind, String> {
    let found: Result<CommandKind, _> = serde_json::from_value(serde_json::Value::from(text));
    let kind =
        found.map_err(|_| format!("`{text}` is no kind of command such as grant, adjust or set_plan"))?;
    match kind {
        CommandKind::Genesis | CommandKind::IssueKey | CommandKind::RevokeKey | CommandKind::SetRules => {
            Err(format!("only the root may give {kind}"))
        }
        kind => Ok(kind),
    }
}

pub(crate) async fn issue(session: &Session, arguments: &IssueArguments) -> Result<(), CliError> {
    let log = session.log(&session.reader()?).await?;
    // Nothing is made before the root is known to be there.
    arguments.root.root(session, &log)?;
    let path = arguments.key_path();
    let is_new = !path.exists();
    let issuer = issuer(session, &log, arguments, &path)?;
    let key = if is_new && arguments.root.dry_run {
        format!("a new key in {}", path.display())
    } else {
        format!("key {}", issuer.key_id())
    };
    let kinds: BTreeSet<CommandKind> = arguments.kinds.iter().copied().collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let order = Order {
        name: format!("issue-{}", issuer.key_id()),
        what: format!("{key} of {}, which may give {}", issuer.name(), names.join(", ")),
        body: CommandBody::IssueKey(IssueKey {
            issuer: issuer.name().to_owned(),
            public_key: issuer.public_key(),
            kinds,
        }),
    };
    everywhere::give(session, &log, order, &arguments.root).await
}

impl IssueArguments {
    fn key_path(&self) -> PathBuf {
        let beside = || self.root.folder().join(format!("{}.key", self.issuer));
        self.key_file.clone().unwrap_or_else(beside)
    }
}

/// The issuer of the key file; a new one where there is none, written unless this is a dry run.
fn issuer(
    session: &Session,
    log: &LogIdentity,
    arguments: &IssueArguments,
    path: &Path,
) -> Result<Issuer, CliError> {
    let name = &arguments.issuer;
    if !path.exists() {
        let issuer = new_issuer(log.genesis.log_id, name)?;
        if !arguments.root.dry_run {
            issuer.write_new(path)?;
        }
        return Ok(issuer);
    }
    let issuer = session.issuer_in(path, log, "--key-file")?;
    if issuer.name() == name {
        return Ok(issuer);
    }
    Err(CliError::Refused(format!(
        "{} is the key of {}, not of {name}; name another file with --key-file",
        path.display(),
        issuer.name()
    )))
}

/// An issuer with a new private key.
pub(crate) fn new_issuer(log_id: LogId, name: &str) -> Result<Issuer, CliError> {
    let mut secret = [0_u8; 32];
    SysRng
        .try_fill_bytes(&mut secret)
        .map_err(|error| CliError::Refused(format!("the system gives no random bytes: {error}")))?;
    Ok(Issuer::new(log_id, name, secret))
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// The key, as `credits keys list` names it
    key_id: KeyId,
    #[command(flatten)]
    root: RootArguments,
}

pub(crate) async fn revoke(session: &Session, arguments: &RevokeArguments) -> Result<(), CliError> {
    let log = session.log(&session.reader()?).await?;
    let key_id = &arguments.key_id;
    let name = format!("revoke-{key_id}");
    if !arguments.root.is_pending(&name) && !list::is_in_force(session, &log, key_id).await? {
        return Err(CliError::Refused(format!(
            "no key {key_id} is in force in any partition; `credits keys list` shows those that are"
        )));
    }
    let order = Order {
        name,
        body: CommandBody::RevokeKey(key_id.clone()),
        what: format!("the end of key {key_id}"),
    };
    everywhere::give(session, &log, order, &arguments.root).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_give_every_kind_but_those_of_the_root() {
        assert_eq!(kind("set_plan"), Ok(CommandKind::SetPlan));
        for wrong in ["genesis", "issue_key", "revoke_key", "set_rules", "plan", ""] {
            assert!(kind(wrong).is_err(), "{wrong}");
        }
    }
}
