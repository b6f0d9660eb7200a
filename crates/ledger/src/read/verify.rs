use fluxori_core::digest::Digest;
use fluxori_core::id::OrgId;

use super::cursors::{PartitionCursor, cursors};
use super::snapshot::{Organization, organizations};
use crate::{Ledger, LedgerError, rows};

/// All cursors and open orgs at one moment: what a fold of the log up to these cursors must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// By partition.
    pub cursors: Vec<PartitionCursor>,
    /// By id.
    pub organizations: Vec<Organization>,
}

impl Ledger {
    /// All cursors and open orgs in one snapshot.
    pub async fn heads(&self) -> Result<Heads, LedgerError> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let cursors = cursors(&mut *transaction).await?;
        let organizations = organizations(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Heads { cursors, organizations })
    }

    /// The numbers and running digests of an org's postings above `after`, in order, at most `limit`.
    pub async fn posting_digests(
        &self,
        org: &OrgId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Digest)>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT number, digest FROM ledger.credit_transactions WHERE org_id = $1 AND number > $2
             ORDER BY number LIMIT $3",
            org.as_str(),
            after,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok((row.number, rows::digest(&row.digest)?))).collect()
    }
}
