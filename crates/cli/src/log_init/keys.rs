//! The folder of keys: `root.key`, one for each issuer, and `genesis.record`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fluxori_core::command::{Command, CommandBody, CommandKind, Genesis, IssueKey};
use fluxori_core::digest::Digest;
use fluxori_core::fold::RULES_VERSION;
use fluxori_core::id::{CommandId, LogId};
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;
use fluxori_wire::Issuer;
use uuid::Uuid;

use crate::error::CliError;
use crate::keys::new_issuer;

const ACTOR: &str = "credits log init";
const GENESIS_FILE: &str = "genesis.record";

/// The issuers beside the root, and the kinds of command that each may give.
const ISSUERS: [(&str, &[CommandKind]); 3] = [
    (
        "cli",
        &[
            CommandKind::Rates,
            CommandKind::OpenOrg,
            CommandKind::Grant,
            CommandKind::Adjust,
            CommandKind::Transfer,
            CommandKind::Extend,
            CommandKind::Suspend,
            CommandKind::Resume,
            CommandKind::SetPolicy,
            CommandKind::SetPlan,
            CommandKind::Correct,
            CommandKind::Reprice,
            CommandKind::Release,
            CommandKind::Dismiss,
        ],
    ),
    ("edge", &[CommandKind::OpenOrg, CommandKind::Grant, CommandKind::Adjust, CommandKind::SetPolicy]),
    // It publishes the coming periods of plans.
    ("scheduler", &[CommandKind::Grant]),
];

/// What a log begins with: its genesis and the keys of its issuers.
#[derive(Debug)]
pub(super) struct Beginning {
    folder: PathBuf,
    root: Issuer,
    others: Vec<(Issuer, &'static [CommandKind])>,
    /// The genesis record's value, as saved.
    pub(super) record: Vec<u8>,
    pub(super) genesis: Genesis,
    /// The digest of its payload.
    pub(super) digest: Digest,
    issued_at: Timestamp,
}

impl Beginning {
    /// The saved beginning, if the folder has one that was completed.
    pub(super) fn find(folder: &Path) -> Result<Option<Self>, CliError> {
        let path = folder.join(GENESIS_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let record = fs::read(&path).map_err(|source| file("cannot read", &path, source))?;
        let no_genesis = || CliError::Refused(format!("{} holds no genesis record", path.display()));
        let decoded = fluxori_wire::decode(None, Some(&record), Timestamp::default());
        let Body::Command(signed) = decoded.body else { return Err(no_genesis()) };
        let CommandBody::Genesis(genesis) = signed.command.body else { return Err(no_genesis()) };
        let read = |name: &str| {
            let path = key_path(folder, name);
            let issuer = Issuer::read(&path)?;
            if issuer.log_id() == genesis.log_id {
                return Ok(issuer);
            }
            Err(CliError::Refused(format!(
                "{} is for log {}, the genesis beside it for log {}; keep the keys of each log in a folder of their own",
                path.display(),
                issuer.log_id(),
                genesis.log_id
            )))
        };
        let others = ISSUERS.into_iter().map(|(name, kinds)| Ok((read(name)?, kinds)));
        let others: Vec<_> = others.collect::<Result<_, CliError>>()?;
        Ok(Some(Self {
            folder: folder.to_owned(),
            root: read("root")?,
            others,
            digest: Digest::of(&signed.payload),
            issued_at: signed.command.issued_at,
            record,
            genesis,
        }))
    }

    /// The saved beginning, or a new one, saved.
    pub(super) fn find_or_make(folder: &Path, partitions: i32) -> Result<Self, CliError> {
        if let Some(found) = Self::find(folder)? {
            if found.genesis.partitions == partitions {
                return Ok(found);
            }
            return Err(CliError::Refused(format!(
                "the genesis in {} is of a log with {} partitions, wanted {partitions}; choose another folder with \
                 --keys to begin another log",
                folder.display(),
                found.genesis.partitions
            )));
        }
        make(folder, partitions)?;
        Self::find(folder)?
            .ok_or_else(|| CliError::Refused(format!("{GENESIS_FILE} is gone from {}", folder.display())))
    }

    /// All issuers with their key files, the root first.
    pub(super) fn issuers(&self) -> impl Iterator<Item = (&Issuer, PathBuf)> {
        let others = self.others.iter().map(|(issuer, _)| issuer);
        std::iter::once(&self.root)
            .chain(others)
            .map(|issuer| (issuer, key_path(&self.folder, issuer.name())))
    }

    /// The records that let the issuers give commands: the same bytes every time, because their ids and times follow
    /// from the log and Ed25519 signs without randomness.
    pub(super) fn key_records(&self) -> Result<Vec<Vec<u8>>, CliError> {
        let record = |(issuer, kinds): &(Issuer, &'static [CommandKind])| {
            let name = format!("issue_key/{}", issuer.key_id());
            let command = Command {
                command_id: CommandId(Uuid::new_v5(&self.genesis.log_id.0, name.as_bytes())),
                issued_at: self.issued_at,
                actor: ACTOR.to_owned(),
                reason: format!("the key of {}", issuer.name()),
                reference: None,
                body: CommandBody::IssueKey(IssueKey {
                    issuer: issuer.name().to_owned(),
                    public_key: issuer.public_key(),
                    kinds: kinds.iter().copied().collect::<BTreeSet<_>>(),
                }),
            };
            Ok(self.root.sign(&command)?)
        };
        self.others.iter().map(record).collect()
    }
}

/// Makes keys and genesis. Keys that a run before left behind are used, and the genesis comes last and whole.
fn make(folder: &Path, partitions: i32) -> Result<(), CliError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(|source| file("cannot create", folder, source))?;
    let root = key(folder, "root", LogId(Uuid::now_v7()))?;
    for (name, _) in ISSUERS {
        key(folder, name, root.log_id())?;
    }
    let command = Command {
        command_id: CommandId(Uuid::new_v5(&root.log_id().0, b"genesis")),
        issued_at: clock::now().into(),
        actor: ACTOR.to_owned(),
        reason: "the log begins".to_owned(),
        reference: None,
        body: CommandBody::Genesis(Genesis {
            log_id: root.log_id(),
            root_key: root.public_key(),
            rules_version: RULES_VERSION,
            partitions,
        }),
    };
    let (path, draft) = (folder.join(GENESIS_FILE), folder.join("genesis.record.new"));
    let written = fs::File::create(&draft).and_then(|mut out| {
        out.write_all(&root.sign(&command).map_err(std::io::Error::other)?)?;
        out.sync_all()
    });
    written.map_err(|source| file("cannot write", &draft, source))?;
    fs::rename(&draft, &path)
        .and_then(|()| fs::File::open(folder)?.sync_all())
        .map_err(|source| file("cannot write", &path, source))
}

fn key(folder: &Path, name: &str, log_id: LogId) -> Result<Issuer, CliError> {
    let path = key_path(folder, name);
    if path.exists() {
        return Ok(Issuer::read(&path)?);
    }
    let issuer = new_issuer(log_id, name)?;
    issuer.write_new(&path)?;
    Ok(issuer)
}

fn key_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.key"))
}

fn file(action: &'static str, path: &Path, source: std::io::Error) -> CliError {
    CliError::File { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_same_folder_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let first = Beginning::find_or_make(&keys, 8).unwrap();
        let second = Beginning::find_or_make(&keys, 8).unwrap();
        assert_eq!((&first.record, first.digest), (&second.record, second.digest));
        assert_eq!(first.key_records().unwrap(), second.key_records().unwrap());
        assert!(Beginning::find_or_make(&keys, 9).is_err());
    }

    #[test]
    fn a_run_that_died_before_the_genesis_is_gone_on_with_the_same_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = key(folder.path(), "root", LogId(Uuid::now_v7())).unwrap();
        let beginning = Beginning::find_or_make(folder.path(), 8).unwrap();
        assert_eq!(beginning.genesis.root_key, root.public_key());
        assert_eq!(beginning.genesis.log_id, root.log_id());
    }

    #[test]
    fn only_the_owner_can_read_keys() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        Beginning::find_or_make(&keys, 1).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(keys.clone()), mode(keys.join("root.key"))), (0o700, 0o600));
    }
}
