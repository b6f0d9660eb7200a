//! `credits keys list`.

use std::collections::BTreeMap;

use fluxori_core::command::CommandKind;
use fluxori_core::fold::{IssuerKey, LogIdentity};
use fluxori_core::id::KeyId;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    keys: Vec<Line>,
    partitions: i32,
}

#[derive(Debug, Serialize)]
struct Line {
    key_id: KeyId,
    issuer: String,
    kinds: Vec<CommandKind>,
    /// In how many partitions it is in force with these kinds.
    partitions: i32,
}

type InForce = BTreeMap<(String, KeyId, Vec<CommandKind>), i32>;

pub(crate) async fn list(session: &Session) -> Result<(), CliError> {
    let log = session.log(&session.reader()?).await?;
    let line = |((issuer, key_id, kinds), partitions)| Line { key_id, issuer, kinds, partitions };
    let keys = in_force(session, &log).await?.into_iter().map(line).collect();
    session.output.print(&Answer { keys, partitions: log.genesis.partitions }, text)
}

/// Whether a key is in force anywhere.
pub(super) async fn is_in_force(session: &Session, log: &LogIdentity, key: &KeyId) -> Result<bool, CliError> {
    Ok(in_force(session, log).await?.keys().any(|(_, key_id, _)| key_id == key))
}

/// The keys in force, as the ledger has come to them, and in how many partitions.
async fn in_force(session: &Session, log: &LogIdentity) -> Result<InForce, CliError> {
    let ledger = session.ledger().await?;
    let mut found = InForce::new();
    for partition in 0..log.genesis.partitions {
        let context = session.context(partition, &ledger.global_records(partition).await?)?;
        for (key_id, IssuerKey { issuer, kinds, .. }) in context.keys() {
            let key = (issuer.clone(), key_id.clone(), kinds.iter().copied().collect());
            *found.entry(key).or_default() += 1;
        }
    }
    Ok(found)
}

fn text(answer: &Answer) -> String {
    if answer.keys.is_empty() {
        return "The ledger has not come to the log's genesis yet; start ledger-consumer.".to_owned();
    }
    let rows = answer.keys.iter().map(|line| {
        let kinds: Vec<&str> = line.kinds.iter().map(|kind| kind.as_str()).collect();
        let partitions = format!("{} of {}", line.partitions, answer.partitions);
        [line.key_id.to_string(), line.issuer.clone(), kinds.join(", "), partitions]
    });
    let table = table(["key", "issuer", "may give", "in force in partitions"], &[3], rows);
    if answer.keys.iter().all(|line| line.partitions == answer.partitions) {
        return table;
    }
    format!("{table}\n\nA key that is not in force everywhere was not completed: issue or revoke it again.")
}
