//! Who may commit, and what comes back.

use std::time::Duration;

use anyhow::{Context, Result};
use fluxori_core::digest::Digest;
use fluxori_core::id::{CommandId, EventId};
use fluxori_core::record::QuarantineReason;
use fluxori_ledger::{Ledger, LedgerError, Needed, PostingRow};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{
    allocation, command, database, debit, ledger, org, org_row, posting, quarantined, state, write,
};

#[tokio::test]
async fn a_commit_with_an_old_epoch_is_refused_and_writes_nothing() -> Result<()> {
    let ledger = ledger().await?;
    let zombie = ledger.take_over(3, "zombie").await?;
    ledger.commit(&write(zombie.epoch, 0, 10)).await?;
    let successor = ledger.take_over(3, "successor").await?;
    assert_eq!(successor.epoch, zombie.epoch + 1);
    assert_eq!(successor.cursor.as_ref().map(|cursor| cursor.next_offset), Some(10));
    let refused = ledger.commit(&write(zombie.epoch, 10, 20)).await;
    assert!(matches!(refused, Err(LedgerError::Fenced { partition: 3, .. })), "{refused:?}");
    ledger.commit(&write(successor.epoch, 10, 15)).await?;
    assert_eq!(ledger.take_over(3, "next").await?.cursor, Some(write(0, 10, 15).cursor));
    Ok(())
}

/// What a consumer leaves behind that is stopped while it sends its rows.
#[tokio::test]
async fn a_commit_that_froze_in_the_middle_of_its_rows_is_ended_by_the_successor() -> Result<()> {
    let url = database()?;
    let ledger = Ledger::prepare(&url, 4).await?;
    let epoch = ledger.take_over(3, "zombie").await?.epoch;
    let mut frozen = PgPool::connect(&url).await?.begin().await?;
    sqlx::query("SELECT FROM control.partition_epochs WHERE log_partition = 3 FOR SHARE")
        .execute(&mut *frozen)
        .await?;
    let mut copy = frozen.copy_in_raw("COPY ledger.credit_transactions FROM STDIN").await?;
    copy.send(b"acme".as_slice()).await?;
    let successor = tokio::time::timeout(Duration::from_secs(20), ledger.take_over(3, "successor")).await??;
    assert_eq!(successor.epoch, epoch + 1);
    assert!(copy.finish().await.is_err(), "the frozen commit is gone");
    Ok(())
}

#[tokio::test]
async fn a_batch_that_does_not_begin_at_the_cursor_is_refused() -> Result<()> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let gap = ledger.commit(&write(epoch, 5, 10)).await;
    assert!(matches!(gap, Err(LedgerError::UnexpectedCursor { expected: 5, .. })), "{gap:?}");
    ledger.commit(&write(epoch, 0, 10)).await?;
    for start in [0, 9, 11] {
        let refused = ledger.commit(&write(epoch, start, 20)).await;
        assert!(matches!(refused, Err(LedgerError::UnexpectedCursor { .. })), "{start}: {refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_org_comes_back_as_it_was_written() -> Result<()> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let mut batch = write(epoch, 0, 10);
    batch.orgs.push(org_row());
    batch.changes.allocations.push((org("acme"), allocation()));
    batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
    batch.changes.commands.push(command());
    ledger.commit(&batch).await?;
    let needed = Needed {
        orgs: [org("acme"), org("other")].into(),
        events: vec![(org("acme"), EventId(Uuid::from_u128(1)))],
        commands: vec![
            (org("acme"), CommandId(Uuid::from_u128(9))),
            (org("other"), CommandId(Uuid::from_u128(9))),
        ],
        watched: Vec::new(),
        released: Vec::new(),
    };
    let loaded = ledger.load(&needed).await?;
    assert_eq!(loaded.orgs, [state()]);
    assert_eq!(loaded.commands, [(org("acme"), CommandId(Uuid::from_u128(9)), Digest::of(b"payload"))]);
    assert!(loaded.events.is_empty());
    let outcome = ledger.command_outcome(&org("acme"), CommandId(Uuid::from_u128(9))).await?;
    let outcome = outcome.context("an outcome")?;
    assert_eq!((&*outcome.actor, outcome.reference.as_deref()), ("ann \u{fffd}", Some("invoice 7")));
    let boundaries = ledger.take_over(3, "next").await?.boundaries;
    assert_eq!(boundaries, [(state().next_boundary().context("a boundary")?, org("acme"))]);
    Ok(())
}

#[tokio::test]
async fn waiting_usage_comes_back_in_order_until_it_is_released() -> Result<()> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let mut batch = write(epoch, 0, 10);
    for (offset, reason) in [
        (7, QuarantineReason::OrgNotOpen),
        (2, QuarantineReason::OrgNotOpen),
        (5, QuarantineReason::Conflict),
    ] {
        batch.changes.quarantine.push(quarantined(offset, reason));
    }
    ledger.commit(&batch).await?;
    let needed = || Needed { orgs: [org("acme")].into(), ..Needed::default() };
    let values = |records: Vec<fluxori_ledger::WaitingRecord>| -> Vec<Vec<u8>> {
        records.into_iter().filter_map(|record| record.value).collect()
    };
    assert_eq!(values(ledger.load(&needed()).await?.waiting), [b"2".to_vec(), b"7".to_vec()]);
    let mut batch = write(epoch, 10, 11);
    batch.changes.released.push((org("acme"), EventId(Uuid::from_u128(2)), Digest::of(b"billing")));
    ledger.commit(&batch).await?;
    assert_eq!(values(ledger.load(&needed()).await?.waiting), [b"7".to_vec()]);
    let named = |id| (org("acme"), EventId(Uuid::from_u128(id)), Digest::of(b"billing"));
    let other_content = (org("acme"), EventId(Uuid::from_u128(5)), Digest::of(b"other"));
    let needed = || Needed { released: [2, 5, 7].map(named).into(), ..needed() };
    let of_another = Needed { released: vec![other_content], ..Needed::default() };
    assert!(ledger.load(&of_another).await?.quarantined.is_empty());
    assert_eq!(values(ledger.load(&needed()).await?.quarantined), [b"5".to_vec()]);
    // Once the org is open, what is still there could not be priced: nothing waits, and it may be released by name.
    let mut batch = write(epoch, 11, 12);
    batch.orgs.push(org_row());
    batch.changes.postings.push(PostingRow { offset: 11, posting: posting(1) });
    ledger.commit(&batch).await?;
    let loaded = ledger.load(&needed()).await?;
    assert_eq!(
        (values(loaded.waiting), values(loaded.quarantined)),
        (vec![], vec![b"5".to_vec(), b"7".to_vec()])
    );
    Ok(())
}

#[tokio::test]
async fn what_postgres_refuses_for_ever_is_told_from_what_may_pass() -> Result<()> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let mut batch = write(epoch, 0, 10);
    batch.orgs.push(org_row());
    batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
    ledger.commit(&batch).await?;
    let mut again = write(epoch, 10, 20);
    again.orgs.push(org_row());
    again.changes.postings.push(PostingRow { offset: 14, posting: posting(1) });
    let refused = ledger.commit(&again).await.err().context("the same number twice")?;
    assert!(refused.is_permanent() && !refused.is_unavailable(), "{refused}");
    let fenced = ledger.commit(&write(epoch + 1, 10, 20)).await.err().context("another epoch")?;
    assert!(!fenced.is_permanent(), "{fenced}");
    Ok(())
}

#[tokio::test]
async fn a_debit_comes_back_with_all_that_it_was_for() -> Result<()> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let mut batch = write(epoch, 0, 10);
    batch.orgs.push(org_row());
    batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
    batch.changes.postings.push(PostingRow { offset: 5, posting: debit(2) });
    ledger.commit(&batch).await?;
    let found = ledger.transactions(&org("acme"), None, 10).await?;
    let [debit, grant] = &*found else { anyhow::bail!("{found:?}") };
    assert_eq!((debit.feature.as_deref(), debit.revision), (Some("search"), Some(1)));
    assert_eq!(
        (debit.request_model.as_deref(), debit.model.as_deref()),
        (Some("gpt-5"), Some("gpt-5-2025-08-07"))
    );
    assert_eq!(debit.certainty.as_deref(), Some("at_least"));
    assert_eq!(debit.reservation_id.map(|id| id.0), Some(Uuid::from_u128(78)));
    assert_eq!((&grant.certainty, grant.revision, grant.reservation_id), (&None, None, None));
    Ok(())
}
