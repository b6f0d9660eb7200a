//! The shell against a real Postgres: who may commit, and what comes back.

use anyhow::{Context, Result};
use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, Grant, OverdraftPolicy, Policy, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, AllocationStatus, Counters, OrgState, OrgTotals, Quarantined};
use fluxori_core::id::{AllocationId, CommandId, EventId, OrgId};
use fluxori_core::posting::{Cause, Posting, PostingKind};
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{
    BatchWrite, CommandRow, Cursor, Ledger, LedgerError, Needed, PostingRow, QuarantineRow,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_micros(1_795_348_800_123_456);

/// A ledger of its own, in a new database.
async fn ledger() -> Result<Ledger> {
    let url = std::env::var("DATABASE_URL").context(
        "DATABASE_URL is not set: run `cargo xtask test`, or evaluate what `cargo xtask up` prints",
    )?;
    let (server, _) = url.rsplit_once('/').context("DATABASE_URL names no database")?;
    Ok(Ledger::prepare(&format!("{server}/ledger_{}", Uuid::now_v7().simple()), 4).await?)
}

fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

fn org(text: &str) -> OrgId {
    text.parse().unwrap()
}

fn write(epoch: i64, start_offset: i64, next_offset: i64) -> BatchWrite {
    BatchWrite {
        partition: 3,
        epoch,
        start_offset,
        cursor: Cursor {
            next_offset,
            log_time: NOW,
            last_append_time: NOW,
            last_record_digest: Digest::of(b"record"),
            outcomes: Digest::of(b"outcomes"),
            counters: Counters { records: next_offset, debited: 1, ..Counters::default() },
        },
        postings: Vec::new(),
        orgs: Vec::new(),
        allocations: Vec::new(),
        commands: Vec::new(),
        quarantine: Vec::new(),
        released: Vec::new(),
        globals: Vec::new(),
        tiers: Vec::new(),
    }
}

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

fn allocation() -> Allocation {
    Allocation {
        id: AllocationId(Uuid::from_u128(5)),
        account: Account::User("ann".parse().unwrap()),
        kind: AllocationKind::Subscription,
        purchased: true,
        priority: -3,
        scope: Scope { models: ["gpt-5".parse().unwrap()].into(), ..Scope::default() },
        effective_at: NOW,
        expires_at: Some(NOW.after(std::time::Duration::from_secs(60))),
        status: AllocationStatus::Open,
        granted: credits("10"),
        adjusted: credits("-1"),
        consumed: credits("2.000000000001"),
        repaid: credits("0"),
        expired: credits("0"),
        remaining: credits("6.999999999999"),
    }
}

fn state() -> OrgState {
    let policy = Policy { overdraft: OverdraftPolicy::Absorb, grace: std::time::Duration::from_millis(1500) };
    let totals = OrgTotals {
        granted: credits("10"),
        adjusted: credits("-1"),
        charged: credits("2.000000000001"),
        consumed: credits("2.000000000001"),
        ..OrgTotals::default()
    };
    OrgState::restore(org("acme"), 1, Digest::of(b"head"), policy, totals, vec![allocation()])
}

fn posting(number: i64) -> Posting {
    let grant = Grant {
        account: Account::Organization,
        kind: AllocationKind::Prepaid,
        amount: credits("10"),
        effective_at: NOW,
        expires_at: None,
        priority: 0,
        scope: Scope::default(),
        purchased: false,
    };
    let command = Command {
        command_id: CommandId(Uuid::from_u128(9)),
        issued_at: NOW,
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        reference: None,
        body: CommandBody::Grant(org("acme"), grant),
    };
    Posting {
        org: org("acme"),
        number,
        kind: PostingKind::Grant,
        effective_at: NOW,
        recorded_at: NOW,
        amount: credits("10"),
        entries: Vec::new(),
        cause: Cause::Command(Box::new(command), Digest::of(b"payload")),
        digest: Digest::of(b"head"),
    }
}

#[tokio::test]
async fn an_org_comes_back_as_it_was_written() -> Result<()> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let mut batch = write(epoch, 0, 10);
    batch.orgs.push(state());
    batch.allocations.push((org("acme"), allocation()));
    batch.postings.push(PostingRow { offset: 4, posting: posting(1) });
    batch.commands.push(CommandRow {
        org: Some(org("acme")),
        command_id: CommandId(Uuid::from_u128(9)),
        offset: 4,
        kind: "grant",
        payload_digest: Digest::of(b"payload"),
        rejection: None,
        recorded_at: NOW,
    });
    ledger.commit(&batch).await?;
    let needed = Needed {
        orgs: [org("acme"), org("other")].into(),
        events: vec![(org("acme"), EventId(Uuid::from_u128(1)))],
        commands: vec![
            (org("acme"), CommandId(Uuid::from_u128(9))),
            (org("other"), CommandId(Uuid::from_u128(9))),
        ],
    };
    let loaded = ledger.load(&needed).await?;
    assert_eq!(loaded.orgs, [state()]);
    assert_eq!(loaded.commands, [(org("acme"), CommandId(Uuid::from_u128(9)), Digest::of(b"payload"))]);
    assert!(loaded.events.is_empty());
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
        batch.quarantine.push(QuarantineRow {
            offset,
            append_time: NOW,
            key: Some(b"acme".to_vec()),
            value: Some(offset.to_string().into_bytes()),
            quarantined: Quarantined {
                reason,
                detail: "quotes \0 what came".to_owned(),
                org: Some(org("acme")),
                event_id: Some(EventId(Uuid::from_u128(u128::try_from(offset)?))),
            },
        });
    }
    ledger.commit(&batch).await?;
    let needed = || Needed { orgs: [org("acme")].into(), ..Needed::default() };
    let values = |records: Vec<fluxori_ledger::WaitingRecord>| -> Vec<Vec<u8>> {
        records.into_iter().filter_map(|record| record.value).collect()
    };
    assert_eq!(values(ledger.load(&needed()).await?.waiting), [b"2".to_vec(), b"7".to_vec()]);
    let mut batch = write(epoch, 10, 11);
    batch.released.push((org("acme"), EventId(Uuid::from_u128(2))));
    ledger.commit(&batch).await?;
    assert_eq!(values(ledger.load(&needed()).await?.waiting), [b"7".to_vec()]);
    Ok(())
}
