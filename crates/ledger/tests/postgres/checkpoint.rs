//! A ledger goes into files and comes back as it was.

use std::path::PathBuf;

use anyhow::Result;
use fluxori_core::record::QuarantineReason;
use fluxori_ledger::{Checkpoint, GlobalRecord, Ledger, PostingRow, Schema};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{NOW, allocation, command, database, debit, org, org_row, posting, quarantined, write};

/// A ledger with rows that hold what text formats stumble over, and an empty one beside it.
async fn ledgers() -> Result<(String, Ledger, Ledger)> {
    let url = database()?;
    let live = Ledger::prepare(&url, 2).await?;
    let mut batch = write(live.take_over(3, "test").await?.epoch, 0, 10);
    batch.orgs.push(org_row());
    batch.changes.allocations.push((org("acme"), allocation()));
    batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
    batch.changes.postings.push(PostingRow { offset: 5, posting: debit(2) });
    batch.changes.commands.push(command());
    let value = b"\0\\\n\t\xff".to_vec();
    batch.changes.globals.push(GlobalRecord { offset: 0, append_time: NOW, value });
    let mut awkward = quarantined(3, QuarantineReason::OrgNotOpen);
    awkward.quarantined.detail = "a tab \t, a line \n, \\N, \\., \"quotes\" and ü".to_owned();
    awkward.key = None;
    batch.changes.quarantine.push(awkward);
    live.commit(&batch).await?;
    let schema = Schema::new("ledger_rebuild")?;
    Ledger::migrate(&url, &schema).await?;
    let rebuilt = Ledger::connect_to(&url, &schema, 2).await?;
    Ok((url, live, rebuilt))
}

/// A folder that is not there yet.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("checkpoint-{}", Uuid::now_v7().simple()))
}

#[tokio::test]
async fn a_restored_checkpoint_is_the_ledger_that_was() -> Result<()> {
    let (url, live, rebuilt) = ledgers().await?;
    // A table that nobody has told it of.
    let pool = PgPool::connect(&url).await?;
    for schema in ["ledger", "ledger_rebuild"] {
        let table =
            format!("CREATE TABLE {schema}.added (org_id text PRIMARY KEY, \"Amount\" numeric NOT NULL)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(table)).execute(&pool).await?;
    }
    sqlx::raw_sql("INSERT INTO ledger.added VALUES ('acme', 1.000000000001)").execute(&pool).await?;
    let (one, other) = (folder(), folder());
    let (mut checkpoint, heads) = live.checkpoint(&one, true, |_| {}).await?;
    assert_eq!(checkpoint.cursors().get(&3), Some(&10));
    assert!(checkpoint.tables().any(|table| table == ("credit_transactions", 2)));
    assert!(checkpoint.tables().any(|table| table == ("added", 1)));
    assert!(!checkpoint.is_verified());
    checkpoint.mark_verified()?;
    let read = Checkpoint::open(&one)?;
    assert!(read == checkpoint && read.is_verified());
    rebuilt.restore(&read, |_| {}).await?;
    let restored = rebuilt.heads().await?;
    let heads = heads.ok_or_else(|| anyhow::anyhow!("no heads"))?;
    assert_eq!(restored.contents.rows, heads.contents.rows);
    assert_eq!(restored.contents.postings, heads.contents.postings);
    assert_eq!((restored.cursors, restored.organizations), (heads.cursors, heads.organizations));
    let (again, _) = rebuilt.checkpoint(&other, false, |_| {}).await?;
    assert_eq!(again.digests(), checkpoint.digests());
    // And it goes on from there.
    let epoch = rebuilt.take_over(3, "rebuild").await?.epoch;
    rebuilt.commit(&write(epoch, 10, 20)).await?;
    let refused = rebuilt.restore(&read, |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("which is not empty"), "{refused}");
    let refused = live.checkpoint(&one, false, |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("it is not empty; name a new folder"), "{refused}");
    for folder in [one, other] {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_that_was_changed_or_never_completed_restores_nothing() -> Result<()> {
    let (_, live, rebuilt) = ledgers().await?;
    let folder = folder();
    let (checkpoint, _) = live.checkpoint(&folder, false, |_| {}).await?;
    let file = folder.join("credit_transactions.copy");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replacen("grant", "debit", 1))?;
    let refused = rebuilt.restore(&checkpoint, |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("credit_transactions.copy is not as it was written"), "{refused}");
    let heads = rebuilt.heads().await?;
    assert!(heads.cursors.is_empty() && heads.contents.rows.is_empty());
    std::fs::write(&file, text)?;
    std::fs::remove_file(folder.join("checkpoint.json"))?;
    let refused = Checkpoint::open(&folder).unwrap_err().to_string();
    assert!(refused.contains("was it completed?"), "{refused}");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
