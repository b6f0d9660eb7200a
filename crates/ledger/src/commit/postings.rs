use super::{BatchWrite, Tx};
use crate::error::LedgerError;
use crate::rows::column;
use crate::rows::posting::TransactionRow;

/// All in one statement, an array per column.
pub(super) async fn insert(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.postings.is_empty() {
        return Ok(());
    }
    let rows = write
        .postings
        .iter()
        .map(|row| TransactionRow::of(row, write.partition))
        .collect::<Result<Vec<_>, LedgerError>>()?;
    sqlx::query!(
        "INSERT INTO credit_transactions (org_id, number, kind, effective_at, recorded_at, amount, entries,
             event_id, billing_digest, command_id, user_id, module, feature, provider, request_model, model, certainty,
             revision, reservation_id, charge, digest, log_partition, log_offset, split, subject_digest)
         SELECT unnest($1::text[]), unnest($2::bigint[]), unnest($3::text[]), unnest($4::timestamptz[]),
             unnest($5::timestamptz[]), unnest($6::numeric[]), unnest($7::jsonb[]), unnest($8::uuid[]),
             unnest($9::bytea[]), unnest($10::uuid[]), unnest($11::text[]), unnest($12::text[]), unnest($13::text[]),
             unnest($14::text[]), unnest($15::text[]), unnest($16::text[]), unnest($17::text[]),
             unnest($18::integer[]), unnest($19::uuid[]), unnest($20::jsonb[]), unnest($21::bytea[]), $22,
             unnest($23::bigint[]), unnest($24::jsonb[]), unnest($25::bytea[])",
        &column(&rows, |row| row.org_id.as_str()) as _,
        &column(&rows, |row| row.number),
        &column(&rows, |row| row.kind.as_str()) as _,
        &column(&rows, |row| row.effective_at),
        &column(&rows, |row| row.recorded_at),
        &column(&rows, |row| row.amount),
        &column(&rows, |row| &row.entries) as _,
        &column(&rows, |row| row.event_id) as _,
        &column(&rows, |row| row.billing_digest.as_deref()) as _,
        &column(&rows, |row| row.command_id) as _,
        &column(&rows, |row| row.user_id.as_deref()) as _,
        &column(&rows, |row| row.module.as_deref()) as _,
        &column(&rows, |row| row.feature.as_deref()) as _,
        &column(&rows, |row| row.provider.as_deref()) as _,
        &column(&rows, |row| row.request_model.as_deref()) as _,
        &column(&rows, |row| row.model.as_deref()) as _,
        &column(&rows, |row| row.certainty.as_deref()) as _,
        &column(&rows, |row| row.revision) as _,
        &column(&rows, |row| row.reservation_id) as _,
        &column(&rows, |row| row.charge.as_ref()) as _,
        &column(&rows, |row| row.digest.as_slice()) as _,
        write.partition,
        &column(&rows, |row| row.log_offset),
        &column(&rows, |row| row.split.as_ref()) as _,
        &column(&rows, |row| row.subject_digest.as_deref()) as _,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
