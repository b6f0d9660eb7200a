//! Which posting of an org differs: a second pass over its own records, with the rows of each batch beside it.

use fluxori_archive::Source;
use fluxori_core::id::OrgId;
use fluxori_ledger::{ColumnDifference, Heads, Ledger, PostingRow, RowText, posting_text};

use super::compare::Difference;
use super::fold::Folding;
use crate::error::CliError;
use crate::session::Session;

/// The first posting that differs in the org and partition of `difference`; none if it is one that the log knows
/// nothing of, with a number that no posting of the org has.
pub(super) async fn first_posting(
    session: &Session,
    ledger: &Ledger,
    source: &Source,
    heads: &Heads,
    difference: &Difference,
) -> Result<Option<Difference>, CliError> {
    let Some(org) = difference.org_id.as_deref().and_then(|org| OrgId::new(org).ok()) else {
        return Ok(None);
    };
    let Some(partition) = difference.partition else { return Ok(None) };
    let cursors: Vec<_> =
        heads.cursors.iter().filter(|cursor| cursor.partition == partition).cloned().collect();
    let mut folding = Folding::begin(source, session.pinned(), &cursors, Some(&org)).await?;
    while let Some((_, changes)) = folding.next().await? {
        let expected: Vec<_> = changes.postings.into_iter().filter(|row| row.posting.org == org).collect();
        let (Some(first), Some(last)) = (expected.first(), expected.last()) else { continue };
        let stored = ledger.posting_texts(&org, first.posting.number, last.posting.number).await?;
        for row in &expected {
            let number = row.posting.number;
            if let Some((what, log, ledger)) = differs(partition, row, stored.get(&number))? {
                let (org_id, partition) = (difference.org_id.clone(), difference.partition);
                return Ok(Some(Difference {
                    partition,
                    org_id,
                    what,
                    log,
                    ledger,
                    first_posting: Some(number),
                }));
            }
        }
    }
    Ok(None)
}

/// How a posting's row differs from what the log says, if it does: what, by the log, in Postgres.
fn differs(
    partition: i32,
    row: &PostingRow,
    stored: Option<&RowText>,
) -> Result<Option<(String, String, String)>, CliError> {
    let number = row.posting.number;
    let Some(stored) = stored else {
        return Ok(Some((format!("posting {number}"), "there".to_owned(), "not there".to_owned())));
    };
    let found = posting_text(partition, row)?.first_difference(stored);
    Ok(found.map(|ColumnDifference { column, log, ledger }| {
        (format!("{column} of posting {number}"), log, ledger)
    }))
}
