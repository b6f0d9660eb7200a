use fluxori_core::fold::PlanState;
use fluxori_core::id::OrgId;
use fluxori_core::time::Timestamp;

use crate::rows::organization::PlanRow;
use crate::{Ledger, LedgerError, rows};

/// Plans that one statement reads.
const PAGE: i64 = 1_000;

impl Ledger {
    /// Of the page of plans after org `last` (from the first on if none), by org, those of which an item's last granted
    /// period ends before `until` for some account; and the last org of the page, none if it is
    /// empty: it was the last one. Each plan is as of one moment, several pages are not.
    pub async fn plans_due(
        &self,
        until: Timestamp,
        last: Option<&OrgId>,
    ) -> Result<(Vec<(OrgId, PlanState)>, Option<OrgId>), LedgerError> {
        let rows = sqlx::query_as!(
            PlanRow,
            "SELECT org_id, revision, plan, granted_until FROM plans WHERE org_id > $1 ORDER BY org_id LIMIT $2",
            last.map_or("", OrgId::as_str),
            PAGE,
        )
        .fetch_all(&self.pool)
        .await?;
        let last = rows.last().map(|row| rows::org_id(&row.org_id)).transpose()?;
        let mut due = Vec::new();
        for row in rows {
            let org = rows::org_id(&row.org_id)?;
            let state = row.read()?;
            if state.granted_until.values().any(|granted_until| *granted_until < until) {
                due.push((org, state));
            }
        }
        Ok((due, last))
    }
}
