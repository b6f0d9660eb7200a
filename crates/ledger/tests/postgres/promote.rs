//! A rebuilt ledger takes the live one's place.

use std::time::Duration;

use anyhow::{Context, Result};
use fluxori_ledger::{LEDGER_ROLE, Ledger, LedgerError, PostingRow, Promotion, RebuildLock, Schema};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::support::{database, org_row, posting, write};

struct Ledgers {
    url: String,
    live: Ledger,
    rebuilt: Ledger,
    /// With which the rebuilt ledger's partition was taken over.
    epoch: i64,
}

impl Ledgers {
    /// Both at offset 10 of partition 3, with one org; the live one's under the epoch returned, too.
    async fn equal() -> Result<(Self, i64)> {
        let url = database()?;
        let live = Ledger::prepare(&url, 2).await?;
        let schema = Schema::new("ledger_rebuild")?;
        Ledger::migrate(&url, &schema).await?;
        let rebuilt = Ledger::connect_to(&url, &schema, 2).await?;
        let fill = async |ledger: &Ledger| -> Result<i64> {
            let epoch = ledger.take_over(3, "test").await?.epoch;
            let mut batch = write(epoch, 0, 10);
            batch.orgs.push(org_row());
            batch.changes.postings.push(PostingRow { offset: 4, posting: posting(1) });
            ledger.commit(&batch).await?;
            Ok(epoch)
        };
        let (of_live, epoch) = (fill(&live).await?, fill(&rebuilt).await?);
        Ok((Self { url, live, rebuilt, epoch }, of_live))
    }

    async fn promotion(&self) -> Result<Promotion> {
        Ok(Promotion::begin(&self.url, self.rebuilt.schema()).await?)
    }
}

#[tokio::test]
async fn writers_of_the_former_ledger_are_fenced_and_go_on_in_the_promoted_one() -> Result<()> {
    let (ledgers, epoch) = Ledgers::equal().await?;
    let mut promotion = ledgers.promotion().await?;
    assert_eq!(promotion.cursors(), ledgers.live.cursors().await?);
    assert_eq!(promotion.compare().await?, fluxori_ledger::Comparison::default());
    // A commit and a take-over come in the middle: both wait.
    let (live, other) = (ledgers.live.clone(), ledgers.live.clone());
    let commit = tokio::spawn(async move { live.commit(&write(epoch, 10, 20)).await });
    let take_over = tokio::spawn(async move { other.take_over(3, "successor").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!commit.is_finished() && !take_over.is_finished());
    let promoted = promotion.finish(false).await?;
    assert_eq!(promoted.fenced, 1);
    let fenced = commit.await?;
    assert!(matches!(fenced, Err(LedgerError::Fenced { partition: 3, .. })), "{fenced:?}");
    let taken = take_over.await??;
    assert_eq!(taken.cursor.map(|cursor| cursor.next_offset), Some(10));
    ledgers.live.commit(&write(taken.epoch, 10, 20)).await?;
    let former = Ledger::connect_to(&ledgers.url, &promoted.former, 1).await?;
    let offsets = async |ledger: &Ledger| -> Result<_> {
        Ok(ledger.cursors().await?.iter().map(|cursor| cursor.cursor.next_offset).collect::<Vec<_>>())
    };
    assert_eq!((offsets(&former).await?, offsets(&ledgers.live).await?), (vec![10], vec![20]));
    assert!(promoted.former.as_str().starts_with("ledger_before_2"), "{}", promoted.former);
    // The way back: the former ledger catches up and is promoted.
    let epoch = former.take_over(3, "rebuild").await?.epoch;
    former.commit(&write(epoch, 10, 20)).await?;
    Promotion::begin(&ledgers.url, &promoted.former).await?.finish(false).await?;
    assert_eq!(offsets(&ledgers.live).await?, [20]);
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_lags_or_differs_is_not_promoted_and_holds_nobody_up() -> Result<()> {
    let (ledgers, epoch) = Ledgers::equal().await?;
    ledgers.live.commit(&write(epoch, 10, 25)).await?;
    let mut promotion = ledgers.promotion().await?;
    assert_eq!(promotion.compare().await?.lags, [(3, 15)].into());
    let behind = ledgers.promotion_error(promotion).await?;
    assert!(behind.contains("partition 3 of ledger_rebuild is 15 records behind ledger"), "{behind}");
    // What is missing may be applied while the live ledger is held up.
    let mut promotion = ledgers.promotion().await?;
    ledgers.rebuilt.commit(&write(ledgers.epoch, 10, 30)).await?;
    assert_eq!(promotion.compare().await?.lags, [(3, -5)].into());
    let ahead = ledgers.promotion_error(promotion).await?;
    assert!(ahead.contains("partition 3 of ledger_rebuild is 5 records ahead of ledger"), "{ahead}");
    ledgers.live.commit(&write(epoch, 25, 30)).await?;
    assert_eq!(ledgers.promotion_error(ledgers.promotion().await?).await?, "");
    Ok(())
}

#[tokio::test]
async fn a_commit_that_does_not_end_keeps_a_promotion_out_and_not_for_good() -> Result<()> {
    let (ledgers, _) = Ledgers::equal().await?;
    let mut frozen = PgPool::connect(&ledgers.url).await?.begin().await?;
    sqlx::query("SELECT FROM control.partition_epochs WHERE ledger = 'ledger' FOR SHARE")
        .execute(&mut *frozen)
        .await?;
    let kept_out = ledgers.promotion().await.err().context("it got through")?.to_string();
    assert!(kept_out.contains("a commit of the live ledger has been under way"), "{kept_out}");
    frozen.rollback().await?;
    ledgers.promotion().await?.finish(false).await?;
    Ok(())
}

impl Ledgers {
    async fn promotion_error(&self, promotion: Promotion) -> Result<String> {
        Ok(promotion.finish(false).await.err().map(|error| error.to_string()).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_ledger_that_says_otherwise_is_promoted_only_on_request() -> Result<()> {
    let (ledgers, epoch) = Ledgers::equal().await?;
    let pool = PgPool::connect(&ledgers.url).await?;
    sqlx::query("UPDATE ledger.organizations SET balance = balance + 1").execute(&pool).await?;
    let refused = ledgers.promotion_error(ledgers.promotion().await?).await?;
    assert_eq!(refused, "not promoted: org acme: head, balance or overdraft differ in both ledgers");
    sqlx::query("UPDATE ledger.partition_cursors SET outcomes_digest = sha256('x')").execute(&pool).await?;
    let refused = ledgers.promotion_error(ledgers.promotion().await?).await?;
    assert_eq!(refused, "not promoted: partition 3: the outcomes of records differ in both ledgers");
    // Nothing has changed, and nobody is held up.
    ledgers.live.commit(&write(epoch, 10, 11)).await?;
    ledgers.rebuilt.commit(&write(ledgers.epoch, 10, 11)).await?;
    ledgers.promotion().await?.finish(true).await?;
    Ok(())
}

#[tokio::test]
async fn the_consumers_role_writes_the_promoted_ledger_and_the_former_no_more() -> Result<()> {
    let (ledgers, _) = Ledgers::equal().await?;
    let pool = PgPool::connect(&ledgers.url).await?;
    let role = format!("consumer_{}", Uuid::now_v7().simple());
    let make = format!("CREATE ROLE {role} LOGIN IN ROLE {LEDGER_ROLE}");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&pool).await?;
    let promoted = ledgers.promotion().await?.finish(false).await?;
    let (scheme, rest) = ledgers.url.split_once("://").context("an address")?;
    let (_, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let url = format!("{scheme}://{role}@{place}");
    let consumer = Ledger::connect(&url, 1).await?;
    consumer.check_schema().await?;
    let epoch = consumer.take_over(3, "consumer").await?.epoch;
    consumer.commit(&write(epoch, 10, 20)).await?;
    let former = Ledger::connect_to(&url, &promoted.former, 1).await?;
    let epoch = former.take_over(3, "consumer").await?.epoch;
    let refused = former.commit(&write(epoch, 10, 20)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(former.cursors().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn two_rebuilds_into_one_schema_are_refused() -> Result<()> {
    let url = database()?;
    Ledger::prepare(&url, 1).await?;
    let (one, other) = (Schema::new("ledger_rebuild")?, Schema::new("ledger_other")?);
    let lock = RebuildLock::take(&url, &one).await?;
    assert!(matches!(RebuildLock::take(&url, &one).await, Err(LedgerError::RebuildUnderWay { .. })));
    RebuildLock::take(&url, &other).await?;
    drop(lock);
    for _ in 0..50 {
        if RebuildLock::take(&url, &one).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the lock outlived its holder")
}
