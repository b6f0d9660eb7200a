use fluxori_core::fold::PlanState;
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;

use crate::rows::organization::PlanRow;
use crate::{Ledger, LedgerError, rows};

/// Plans that one statement reads.
const PAGE: i64 = 1_000;

impl Ledger {
    /// The plans of which an item's last granted period ends before `until` for some account, by org. Read in pages:
    /// each plan is as of one moment, all of them together are not.
    pub async fn plans_due(&self, until: Timestamp) -> Result<Vec<(OrgId, PlanState)>, LedgerError> {
        let mut due = Vec::new();
        let mut last = String::new();
        loop {
            let rows = sqlx::query_as!(
                PlanRow,
                "SELECT org_id, revision, plan, granted_until FROM plans WHERE org_id > $1 ORDER BY org_id LIMIT $2",
                last,
                PAGE,
            )
            .fetch_all(&self.pool)
            .await?;
            let Some(row) = rows.last() else { return Ok(due) };
            last.clone_from(&row.org_id);
            for row in rows {
                let org = rows::org_id(&row.org_id)?;
                let state = row.read()?;
                if state.granted_until.values().any(|granted_until| *granted_until < until) {
                    due.push((org, state));
                }
            }
        }
    }
}
