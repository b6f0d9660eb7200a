//! What the rows hold, beside what a fold of the log says they hold.

use anyhow::{Context, Result};
use fluxori_core::digest::Digest;
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::record::QuarantineReason;
use fluxori_ledger::{BatchWrite, Contents, Ledger, PostingRow, posting_text};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{allocation, command, database, debit, org, org_row, posting, quarantined, write};

/// A grant and a debit, the grant's command and allocation, a record that waits and one that was released.
fn batch(epoch: i64) -> BatchWrite {
    let mut batch = write(epoch, 0, 10);
    batch.orgs.push(org_row());
    batch.changes.allocations.push((org("acme"), allocation()));
    batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
    batch.changes.postings.push(PostingRow { offset: 5, posting: debit(2) });
    batch.changes.commands.push(command());
    batch.changes.quarantine.push(quarantined(2, QuarantineReason::OrgNotOpen));
    batch.changes.quarantine.push(quarantined(3, QuarantineReason::OrgNotOpen));
    batch.changes.released.push((org("acme"), EventId(Uuid::from_u128(2)), Digest::of(b"billing")));
    batch
}

fn by_the_log(batch: &BatchWrite) -> Result<Contents> {
    let mut contents = Contents::default();
    contents.add(batch.partition, &batch.changes)?;
    Ok(contents)
}

async fn written() -> Result<(Ledger, PgPool, BatchWrite)> {
    let url = database()?;
    let ledger = Ledger::prepare(&url, 4).await?;
    let batch = batch(ledger.take_over(3, "test").await?.epoch);
    ledger.commit(&batch).await?;
    Ok((ledger, PgPool::connect(&url).await?, batch))
}

#[tokio::test]
async fn what_was_written_is_what_the_log_says() -> Result<()> {
    let (ledger, _, batch) = written().await?;
    let (log, heads) = (by_the_log(&batch)?, ledger.heads().await?);
    assert_eq!((log.postings, log.rows), (heads.contents.postings, heads.contents.rows));
    let texts = ledger.posting_texts(&org("acme"), 1, 9).await?;
    for row in &batch.changes.postings {
        assert_eq!(texts.get(&row.posting.number), Some(&posting_text(3, row)?));
    }
    Ok(())
}

#[tokio::test]
async fn every_column_of_a_posting_is_compared() -> Result<()> {
    let (ledger, pool, batch) = written().await?;
    let log = by_the_log(&batch)?;
    let row = batch.changes.postings.get(1).context("the debit")?;
    for (column, tampering) in [
        ("kind", "UPDATE ledger.credit_transactions SET kind = 'correct' WHERE number = 2"),
        ("effective_at", "UPDATE ledger.credit_transactions SET effective_at = now() WHERE number = 2"),
        ("amount", "UPDATE ledger.credit_transactions SET amount = 2.000000000001 WHERE number = 2"),
        (
            "entries",
            "UPDATE ledger.credit_transactions SET entries = replace(entries, '-2', '-3') WHERE number = 2",
        ),
        ("entries", "UPDATE ledger.credit_transactions SET entries = '{}' WHERE number = 2"),
        ("event_id", "UPDATE ledger.credit_transactions SET event_id = gen_random_uuid() WHERE number = 2"),
        (
            "command_id",
            "UPDATE ledger.credit_transactions SET command_id = gen_random_uuid() WHERE number = 2",
        ),
        ("user_id", "UPDATE ledger.credit_transactions SET user_id = 'eve' WHERE number = 2"),
        ("feature", "UPDATE ledger.credit_transactions SET feature = NULL WHERE number = 2"),
        ("certainty", "UPDATE ledger.credit_transactions SET certainty = 'exact' WHERE number = 2"),
        (
            "charge",
            "UPDATE ledger.credit_transactions SET charge = replace(charge, '1600', '1') WHERE number = 2",
        ),
        ("digest", "UPDATE ledger.credit_transactions SET digest = sha256('x') WHERE number = 2"),
        ("log_offset", "UPDATE ledger.credit_transactions SET log_offset = 6 WHERE number = 2"),
    ] {
        let mut tampered = pool.begin().await?;
        sqlx::query("CREATE TABLE before AS TABLE ledger.credit_transactions")
            .execute(&mut *tampered)
            .await?;
        sqlx::query(tampering).execute(&mut *tampered).await?;
        tampered.commit().await?;
        let heads = ledger.heads().await?;
        assert_ne!(heads.contents.postings, log.postings, "{tampering}");
        let stored = ledger.posting_texts(&org("acme"), 2, 2).await?;
        let found = posting_text(3, row)?.first_difference(stored.get(&2).context("the debit")?);
        assert_eq!(found.map(|found| found.column), Some(column), "{tampering}");
        let mut restored = pool.begin().await?;
        sqlx::query("TRUNCATE ledger.credit_transactions").execute(&mut *restored).await?;
        sqlx::query("INSERT INTO ledger.credit_transactions TABLE before").execute(&mut *restored).await?;
        sqlx::query("DROP TABLE before").execute(&mut *restored).await?;
        restored.commit().await?;
    }
    assert_eq!(ledger.heads().await?.contents.postings, log.postings);
    Ok(())
}

#[tokio::test]
async fn postings_that_are_missing_or_an_unknown_orgs_are_seen() -> Result<()> {
    let (ledger, pool, batch) = written().await?;
    let log = by_the_log(&batch)?;
    sqlx::query("UPDATE ledger.credit_transactions SET org_id = 'other' WHERE number = 2")
        .execute(&pool)
        .await?;
    let heads = ledger.heads().await?;
    assert_ne!(heads.contents.postings.get("acme"), log.postings.get("acme"));
    assert!(heads.contents.postings.contains_key("other"));
    assert!(ledger.posting_texts(&OrgId::new("acme")?, 2, 2).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn allocations_commands_and_the_quarantine_are_compared_row_by_row() -> Result<()> {
    let (ledger, pool, batch) = written().await?;
    let log = by_the_log(&batch)?;
    for (named, tampering) in [
        ("priority", "UPDATE ledger.credit_allocations SET priority = 0"),
        ("scope", "UPDATE ledger.credit_allocations SET scope = '{}'"),
        ("remaining", "UPDATE ledger.credit_allocations SET remaining = 7"),
        ("rejected", "UPDATE ledger.commands SET rejection = 'no'"),
        ("actor", "UPDATE ledger.commands SET actor = 'eve'"),
        ("payload_digest", "UPDATE ledger.commands SET payload_digest = sha256('x')"),
        ("reason", "UPDATE ledger.quarantine SET reason = 'conflict' WHERE log_offset = 3"),
        ("status", "UPDATE ledger.quarantine SET status = 'waiting' WHERE log_offset = 2"),
        ("digest of the value", "UPDATE ledger.quarantine SET value = 'x' WHERE log_offset = 3"),
    ] {
        let before = ledger.heads().await?.contents.rows;
        sqlx::query(tampering).execute(&pool).await?;
        let rows = ledger.heads().await?.contents.rows;
        let changed: Vec<_> = before
            .iter()
            .filter_map(|(key, row)| row.first_difference(rows.get(key)?))
            .map(|difference| difference.column)
            .collect();
        assert_eq!(changed, [named], "{tampering}");
    }
    sqlx::query("DELETE FROM ledger.credit_allocations").execute(&pool).await?;
    let rows = ledger.heads().await?.contents.rows;
    let missing: Vec<_> = log.rows.keys().filter(|key| !rows.contains_key(key)).collect();
    assert!(matches!(&*missing, [key] if key.row.starts_with("allocation ")), "{missing:?}");
    Ok(())
}
