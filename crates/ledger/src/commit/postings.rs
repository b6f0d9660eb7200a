use std::collections::HashMap;

use fluxori_core::id::{Feature, Model, Module, OrgId, Provider, UserId};

use super::copy::CopyRows;
use super::states::Touched;
use super::{BatchWrite, PostingRow, Tx};
use crate::error::LedgerError;
use crate::rows::posting::{UsageColumns, certainty, charge_column};
use crate::rows::{to_column, unreadable};

const COLUMNS: i16 = 25;
const STATEMENT: &str = "COPY credit_transactions (org_id, number, kind, effective_at, recorded_at, amount, entries,
     event_id, billing_digest, command_id, user_id, module, feature, provider, request_model, model, certainty,
     revision, reservation_id, charge, split, subject_digest, digest, log_partition, log_offset) FROM STDIN (FORMAT binary)";
/// About how many bytes a row has.
const ROW: usize = 700;

/// All postings of a batch, by org, so that what belongs together in the indexes is written together; and what they did
/// to each org of the batch.
pub(super) fn encode(
    write: &BatchWrite,
    spare: Option<CopyRows>,
) -> Result<(CopyRows, Vec<Touched>), LedgerError> {
    let places: HashMap<&OrgId, usize> =
        write.orgs.iter().enumerate().map(|(place, row)| (&row.org, place)).collect();
    let mut touched = vec![Touched::default(); write.orgs.len()];
    let mut sorted: Vec<(usize, &PostingRow)> = Vec::with_capacity(write.changes.postings.len());
    for row in &write.changes.postings {
        let place = places.get(&row.posting.org).copied();
        let Some((place, touched)) = place.and_then(|place| Some((place, touched.get_mut(place)?))) else {
            return Err(unreadable("a posting of an org that is not in the batch,", &row.posting.org));
        };
        touched.add(&row.posting);
        sorted.push((place, row));
    }
    // Within an org the postings are in order already, and the sort keeps that.
    sorted.sort_by_key(|(place, _)| *place);
    let mut rows = spare.unwrap_or_else(|| CopyRows::new(COLUMNS));
    rows.begin(sorted.len() * ROW);
    for (_, row) in sorted {
        put(&mut rows, row, write.partition)?;
    }
    Ok((rows, touched))
}

/// Writes them all in one binary COPY.
pub(super) async fn insert(transaction: &mut Tx, rows: &CopyRows) -> Result<(), LedgerError> {
    if rows.len() == 0 { Ok(()) } else { rows.send(transaction, STATEMENT).await }
}

fn put(rows: &mut CopyRows, row: &PostingRow, partition: i32) -> Result<(), LedgerError> {
    let posting = &row.posting;
    rows.row()
        .put(posting.org.as_str())?
        .put(posting.number)?
        .put(posting.kind.as_str())?
        .put(to_column(posting.effective_at))?
        .put(to_column(posting.recorded_at))?
        .put(posting.amount.decimal())?
        .put_json(&posting.entries)?
        .put(posting.event_id().map(|id| id.0))?;
    let usage = UsageColumns::of(&posting.cause);
    rows.put(usage.billing_digest.as_ref().map(|digest| digest.0.as_slice()))?
        .put(posting.command_id().map(|id| id.0))?
        .put(usage.user_id.map(UserId::as_str))?
        .put(usage.module.map(Module::as_str))?
        .put(usage.feature.map(Feature::as_str))?
        .put(usage.provider.map(Provider::as_str))?
        .put(usage.request_model.map(Model::as_str))?
        .put(usage.model.map(Model::as_str))?
        .put(usage.certainty.map(certainty))?
        .put(usage.revision)?
        .put(usage.reservation_id.map(|id| id.0))?
        .put_some_json(usage.charge.map(charge_column).as_ref())?
        .put_some_json(usage.split.as_ref())?
        .put(usage.subject_digest.as_ref().map(|digest| digest.0.as_slice()))?
        .put(posting.digest.0.as_slice())?
        .put(partition)?
        .put(row.offset)?;
    Ok(())
}
