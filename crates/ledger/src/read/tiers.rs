use fluxori_core::amount::Credits;
use fluxori_core::time::Timestamp;
use serde::Serialize;

use crate::rows::{self, unreadable};
use crate::{Ledger, LedgerError};

/// What an org's usage was charged by a pricing tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierUsage {
    /// The tier's name.
    pub tier: String,
    /// Whose usage.
    pub org_id: String,
    /// How many events.
    pub events: i64,
    /// What they were charged.
    pub credits: Credits,
}

/// How long [`Ledger::usage_of_tiers`] may look.
const AT_MOST: &str = "SET LOCAL statement_timeout = '10s'";

impl Ledger {
    /// Who used these pricing tiers since an instant of the log's time: at most `limit` orgs and tiers, those with the most
    /// credits first. None if that is not found in ten seconds: postings are many, and have no index by their tier.
    ///
    /// # Errors
    /// Postgres does not answer, or answers what cannot be.
    pub async fn usage_of_tiers(
        &self,
        tiers: &[String],
        since: Timestamp,
        limit: u32,
    ) -> Result<Option<Vec<TierUsage>>, LedgerError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::raw_sql(AT_MOST).execute(&mut *transaction).await?;
        let found = sqlx::query!(
            r#"SELECT split_part(charge, '"', 4) AS "tier!", org_id, count(*) AS "events!", sum(amount) AS "credits!"
               FROM credit_transactions
               WHERE kind = 'debit' AND recorded_at >= $1 AND split_part(charge, '"', 4) = ANY($2)
               GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2 LIMIT $3"#,
            rows::to_column(since),
            tiers,
            i64::from(limit),
        )
        .fetch_all(&mut *transaction)
        .await;
        let rows = match found {
            // The query was cancelled: it took too long.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57014") => return Ok(None),
            found => found?,
        };
        let usage = rows.into_iter().map(|row| {
            let credits = Credits::new(row.credits).map_err(|error| unreadable("a sum of credits", error))?;
            Ok(TierUsage { tier: row.tier, org_id: row.org_id, events: row.events, credits })
        });
        usage.collect::<Result<_, LedgerError>>().map(Some)
    }
}
