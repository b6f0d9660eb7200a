//! Plans of which a period is due, page by page.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use fluxori_core::command::Plan;
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;
use fluxori_ledger::Ledger;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{NOW, database, org};

const REVISION: Uuid = Uuid::from_u128(7);

/// Plans of `org-<number>`, all granted until one instant.
async fn insert(pool: &PgPool, numbers: std::ops::RangeInclusive<i32>, until: Timestamp) -> Result<()> {
    let plan =
        Plan { name: "team".parse()?, trial: false, seats: 0, users: BTreeSet::new(), items: Vec::new() };
    // Of one user the last period ends later.
    let granted_until = serde_json::json!([
        { "item": "base", "until": until },
        { "item": "base", "user": "ann", "until": until.after(Duration::from_hours(1)) },
    ]);
    sqlx::query(
        "INSERT INTO ledger.plans (org_id, revision, plan, granted_until)
         SELECT 'org-' || number, $1, $2, $3 FROM generate_series($4::int, $5::int) AS number",
    )
    .bind(REVISION)
    .bind(serde_json::to_value(&plan)?)
    .bind(granted_until)
    .bind(numbers.start())
    .bind(numbers.end())
    .execute(pool)
    .await?;
    Ok(())
}

/// The orgs that are due, and how many of them each page has.
async fn due(ledger: &Ledger, until: Timestamp) -> Result<(BTreeSet<OrgId>, Vec<usize>)> {
    let (mut orgs, mut pages, mut last) = (BTreeSet::new(), Vec::new(), None);
    loop {
        let (plans, next) = ledger.plans_due(until, last.as_ref()).await?;
        pages.push(plans.len());
        for (org, state) in plans {
            assert_eq!((state.revision.0, state.granted_until.len()), (REVISION, 2));
            assert!(orgs.insert(org), "twice");
        }
        if next.is_none() {
            return Ok((orgs, pages));
        }
        last = next;
    }
}

#[tokio::test]
async fn every_plan_that_is_due_is_found_once_on_whichever_page_it_is() -> Result<()> {
    let url = database()?;
    let ledger = Ledger::prepare(&url, 4).await?;
    let pool = PgPool::connect(&url).await?;
    let later = NOW.after(Duration::from_millis(1));
    assert_eq!(due(&ledger, later).await?, (BTreeSet::new(), vec![0]));
    // Two full pages, and then one plan more.
    insert(&pool, 1..=2_000, NOW).await?;
    let mut all: BTreeSet<_> = (1..=2_000).map(|number| org(&format!("org-{number}"))).collect();
    assert_eq!(due(&ledger, later).await?, (all.clone(), vec![1_000, 1_000, 0]));
    insert(&pool, 2_001..=2_001, NOW).await?;
    all.insert(org("org-2001"));
    assert_eq!(due(&ledger, later).await?, (all, vec![1_000, 1_000, 1, 0]));
    Ok(())
}

#[tokio::test]
async fn a_page_on_which_nothing_is_due_is_not_the_last() -> Result<()> {
    let url = database()?;
    let ledger = Ledger::prepare(&url, 4).await?;
    let pool = PgPool::connect(&url).await?;
    // In any collation org-10000 to org-11499 come before org-2.
    insert(&pool, 10_000..=11_499, NOW.after(Duration::from_secs(60))).await?;
    insert(&pool, 2..=2, NOW).await?;
    let expected = BTreeSet::from([org("org-2")]);
    assert_eq!(due(&ledger, NOW.after(Duration::from_secs(60))).await?, (expected, vec![0, 1, 0]));
    // Whoever was granted until then is not due.
    assert_eq!(due(&ledger, NOW).await?.0, BTreeSet::new());
    Ok(())
}
