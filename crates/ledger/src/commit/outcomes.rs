use super::{BatchWrite, Tx};
use crate::error::LedgerError;
use crate::rows::global::TierColumns;
use crate::rows::outcome::CommandColumns;
use crate::rows::{self, column, to_column};

pub(super) async fn insert_commands(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.changes.commands.is_empty() {
        return Ok(());
    }
    let rows: Vec<CommandColumns> =
        write.changes.commands.iter().map(|row| CommandColumns::of(row, write.partition)).collect();
    sqlx::query!(
        "INSERT INTO commands (org_id, command_id, log_partition, log_offset, kind, payload_digest, rejection,
             actor, reason, reference, recorded_at)
         SELECT unnest($1::text[]), unnest($2::uuid[]), $3, unnest($4::bigint[]), unnest($5::text[]),
             unnest($6::bytea[]), unnest($7::text[]), unnest($8::text[]), unnest($9::text[]), unnest($10::text[]),
             unnest($11::timestamptz[])",
        &column(&rows, |row| row.org_id.as_str()) as _,
        &column(&rows, |row| row.command_id),
        write.partition,
        &column(&rows, |row| row.log_offset),
        &column(&rows, |row| row.kind.as_str()) as _,
        &column(&rows, |row| row.payload_digest.as_slice()) as _,
        &column(&rows, |row| row.rejection.as_deref()) as _,
        &column(&rows, |row| row.actor.as_str()) as _,
        &column(&rows, |row| row.reason.as_str()) as _,
        &column(&rows, |row| row.reference.as_deref()) as _,
        &column(&rows, |row| row.recorded_at),
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// One by one: their values may be large, and an array of all of them larger than a parameter can be.
pub(super) async fn insert_quarantine(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for row in &write.changes.quarantine {
        let quarantined = &row.quarantined;
        // A detail may quote what a producer sent.
        let detail = rows::storable(&quarantined.detail);
        sqlx::query!(
            "INSERT INTO quarantine (org_id, log_partition, log_offset, reason, detail, event_id, billing_digest,
                 append_time, key, value)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            quarantined.org.as_ref().map_or("", |org| org.as_str()),
            write.partition,
            row.offset,
            quarantined.reason.as_str(),
            detail,
            quarantined.event.map(|(id, _)| id.0),
            quarantined.event.as_ref().map(|(_, digest)| digest.0.as_slice()),
            to_column(row.append_time),
            row.key.as_deref(),
            row.value.as_deref(),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

pub(super) async fn release(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.changes.released.is_empty() {
        return Ok(());
    }
    let released = &write.changes.released;
    sqlx::query!(
        "UPDATE quarantine AS q SET status = 'released'
         FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::uuid[]) AS event_id, unnest($3::bytea[]) AS digest) AS r
         WHERE q.org_id = r.org_id AND q.event_id = r.event_id AND q.billing_digest = r.digest",
        &column(released, |(org, ..)| org.as_str()) as _,
        &column(released, |(_, event, _)| event.0),
        &column(released, |(.., digest)| digest.0.as_slice()) as _,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// A record that was released stays so.
pub(super) async fn dismiss(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for (org, offset) in &write.changes.dismissed {
        sqlx::query!(
            "UPDATE quarantine SET status = 'dismissed'
             WHERE org_id = $1 AND log_partition = $2 AND log_offset = $3 AND status = 'waiting'",
            org.as_str(),
            write.partition,
            offset,
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

pub(super) async fn keep_corrections(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for (org, event, offset, value) in &write.changes.waiting_corrections {
        sqlx::query!(
            "INSERT INTO waiting_corrections (org_id, event_id, log_partition, log_offset, value)
             VALUES ($1, $2, $3, $4, $5)",
            org.as_str(),
            event.0,
            write.partition,
            offset,
            value.as_slice(),
        )
        .execute(&mut **transaction)
        .await?;
    }
    for (org, event) in &write.changes.corrected {
        sqlx::query!(
            "DELETE FROM waiting_corrections WHERE org_id = $1 AND event_id = $2",
            org.as_str(),
            event.0,
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

pub(super) async fn insert_globals(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    for record in &write.changes.globals {
        sqlx::query!(
            "INSERT INTO global_records (log_partition, log_offset, append_time, value) VALUES ($1, $2, $3, $4)",
            write.partition,
            record.offset,
            to_column(record.append_time),
            record.value.as_slice(),
        )
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

/// Every partition seals the same revision; the first one writes its tiers.
pub(super) async fn insert_tiers(transaction: &mut Tx, write: &BatchWrite) -> Result<(), LedgerError> {
    if write.changes.tiers.is_empty() {
        return Ok(());
    }
    let tiers = write.changes.tiers.iter().map(TierColumns::of).collect::<Result<Vec<_>, _>>()?;
    let tiers = serde_json::to_value(&tiers).map_err(|error| rows::unreadable("a price", error))?;
    sqlx::query!(
        "INSERT INTO credit_pricing_tiers SELECT * FROM jsonb_populate_recordset(NULL::credit_pricing_tiers, $1)
         ON CONFLICT DO NOTHING",
        tiers,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
