use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::id::OrgId;
use rust_decimal::Decimal;
use sqlx::PgExecutor;

use super::cursors::{PartitionCursor, cursors};
use super::snapshot::{Organization, organizations};
use crate::{Ledger, LedgerError, rows};

/// All cursors and open orgs at one moment: what a fold of the log up to these cursors must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// By partition.
    pub cursors: Vec<PartitionCursor>,
    /// By id, each with what the rows of its allocations and postings add up to.
    pub organizations: Vec<(Organization, RowSums)>,
}

/// What the rows of an org's allocations and postings add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSums {
    /// How many allocations there are.
    pub allocations: i64,
    /// Credits left in scheduled and open ones.
    pub remaining: Credits,
    /// Credits spent out of all of them.
    pub consumed: Credits,
    /// Credits that expired in all of them.
    pub expired: Credits,
    /// How many postings there are.
    pub postings: i64,
    /// Credits of all debits.
    pub debited: Credits,
    /// The digest in the last posting's row.
    pub last_digest: Option<Digest>,
    /// The first eight bytes of the digests of all postings, exclusive-or; see [`digest_word`].
    pub digest_words: i64,
}

/// The first eight bytes of a digest as a big-endian number, for [`RowSums::digest_words`].
#[must_use]
pub fn digest_word(digest: Digest) -> i64 {
    digest.0.first_chunk().copied().map_or(0, i64::from_be_bytes)
}

impl Ledger {
    /// All cursors and open orgs in one snapshot. Reads every allocation and posting.
    pub async fn heads(&self) -> Result<Heads, LedgerError> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let cursors = cursors(&mut *transaction).await?;
        let organizations = organizations(&mut *transaction).await?;
        let sums = row_sums(&mut *transaction).await?;
        transaction.commit().await?;
        // Both are by id, of the same orgs.
        Ok(Heads { cursors, organizations: organizations.into_iter().zip(sums).collect() })
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

async fn row_sums<'c>(executor: impl PgExecutor<'c>) -> Result<Vec<RowSums>, LedgerError> {
    let rows = sqlx::query!(
        r#"SELECT coalesce(a.allocations, 0) AS "allocations!", a.remaining AS "remaining?",
                  a.consumed AS "consumed?", a.expired AS "expired?",
                  coalesce(t.postings, 0) AS "postings!", t.debited AS "debited?",
                  coalesce(t.digest_words, 0) AS "digest_words!", last.digest AS "last_digest?"
           FROM ledger.organizations o
           LEFT JOIN (SELECT org_id, count(*) AS allocations, sum(remaining) AS remaining, sum(consumed) AS consumed,
                             sum(expired) AS expired
                      FROM ledger.credit_allocations GROUP BY org_id) AS a ON a.org_id = o.org_id
           LEFT JOIN (SELECT org_id, count(*) AS postings, sum(amount) FILTER (WHERE kind = 'debit') AS debited,
                             bit_xor(('x' || encode(substring(digest, 1, 8), 'hex'))::bit(64)::bigint) AS digest_words
                      FROM ledger.credit_transactions GROUP BY org_id) AS t ON t.org_id = o.org_id
           LEFT JOIN ledger.credit_transactions last ON last.org_id = o.org_id AND last.number = o.posting_number
           ORDER BY o.org_id"#,
    )
    .fetch_all(executor)
    .await?;
    let credits = |sum: Option<Decimal>| rows::credits(sum.unwrap_or_default());
    rows.into_iter()
        .map(|row| {
            Ok(RowSums {
                allocations: row.allocations,
                remaining: credits(row.remaining)?,
                consumed: credits(row.consumed)?,
                expired: credits(row.expired)?,
                postings: row.postings,
                debited: credits(row.debited)?,
                last_digest: row.last_digest.map(|digest| rows::digest(&digest)).transpose()?,
                digest_words: row.digest_words,
            })
        })
        .collect()
}
