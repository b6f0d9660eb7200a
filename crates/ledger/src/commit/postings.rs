use fluxori_core::id::{Feature, Model, Module, Provider, UserId};

use super::copy::CopyRows;
use super::{BatchWrite, PostingRow, Tx};
use crate::error::LedgerError;
use crate::rows::posting::{UsageColumns, certainty, charge, entries};
use crate::rows::to_column;

const COLUMNS: i16 = 25;
const STATEMENT: &str = "COPY credit_transactions (org_id, number, kind, effective_at, recorded_at, amount, entries,
     event_id, billing_digest, command_id, user_id, module, feature, provider, request_model, model, certainty,
     revision, reservation_id, charge, split, subject_digest, digest, log_partition, log_offset) FROM STDIN (FORMAT binary)";
/// About how many bytes a row has.
const ROW: usize = 700;

/// All postings of a batch, by org, so that what belongs together in the indexes is written together.
pub(super) fn rows(write: &BatchWrite) -> Result<CopyRows, LedgerError> {
    let mut sorted: Vec<&PostingRow> = write.changes.postings.iter().collect();
    // Within an org the postings are in order already, and the sort keeps that.
    sorted.sort_by(|a, b| a.posting.org.cmp(&b.posting.org));
    let mut rows = CopyRows::new(COLUMNS, sorted.len() * ROW);
    for row in sorted {
        encode(&mut rows, row, write.partition)?;
    }
    Ok(rows)
}

/// Writes them all in one binary COPY.
pub(super) async fn insert(transaction: &mut Tx, rows: &CopyRows) -> Result<(), LedgerError> {
    if rows.len() == 0 { Ok(()) } else { rows.send(transaction, STATEMENT).await }
}

fn encode(rows: &mut CopyRows, row: &PostingRow, partition: i32) -> Result<(), LedgerError> {
    let posting = &row.posting;
    rows.row()
        .put(posting.org.as_str())?
        .put(posting.number)?
        .put(posting.kind.as_str())?
        .put(to_column(posting.effective_at))?
        .put(to_column(posting.recorded_at))?
        .put(posting.amount.decimal())?
        .put(entries(&posting.entries)?.as_str())?
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
        .put(usage.charge.map(charge).transpose()?.as_deref())?
        .put(usage.split.map(entries).transpose()?.as_deref())?
        .put(usage.subject_digest.as_ref().map(|digest| digest.0.as_slice()))?
        .put(posting.digest.0.as_slice())?
        .put(partition)?
        .put(row.offset)?;
    Ok(())
}
