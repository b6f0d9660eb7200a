//! Sums by org, on three ways: from the usage log and from both rollups.

use clickhouse::Row;
use fluxori_core::amount::Credits;
use fluxori_core::id::OrgId;
use serde::Deserialize;

use crate::{Analytics, AnalyticsError};

/// What an org used, as each table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgSums {
    /// Whose.
    pub org: OrgId,
    /// Events in the usage log.
    pub events: i64,
    /// Events in the hourly rollup.
    pub events_rollup_hourly: i64,
    /// Events in the daily rollup.
    pub events_rollup_daily: i64,
    /// Credits in the usage log.
    pub credits_raw: Credits,
    /// Credits in the hourly rollup.
    pub credits_rollup_hourly: Credits,
    /// Credits in the daily rollup.
    pub credits_rollup_daily: Credits,
}

impl OrgSums {
    /// Whether log and rollups agree to the last digit.
    #[must_use]
    pub fn agree(&self) -> bool {
        self.events == self.events_rollup_hourly
            && self.events == self.events_rollup_daily
            && self.credits_raw == self.credits_rollup_hourly
            && self.credits_raw == self.credits_rollup_daily
    }
}

#[derive(Row, Deserialize)]
struct SumsRow {
    org_id: String,
    events: i64,
    events_hourly: i64,
    events_daily: i64,
    credits: i128,
    credits_hourly: i128,
    credits_daily: i128,
}

const SUMS: &str = "
SELECT org_id,
    sumIf(n, way = 'log') AS events, sumIf(n, way = 'hourly') AS events_hourly, sumIf(n, way = 'daily') AS events_daily,
    sumIf(c, way = 'log') AS credits, sumIf(c, way = 'hourly') AS credits_hourly, sumIf(c, way = 'daily') AS credits_daily
FROM
(
    SELECT 'log' AS way, org_id, sum(toInt64(row_sign)) AS n, sum(credits * row_sign) AS c FROM credit_usage_log GROUP BY org_id
    UNION ALL
    SELECT 'hourly' AS way, org_id, sum(events) AS n, sum(credits) AS c FROM credit_usage_hourly GROUP BY org_id
    UNION ALL
    SELECT 'daily' AS way, org_id, sum(events) AS n, sum(credits) AS c FROM credit_usage_daily GROUP BY org_id
)
GROUP BY org_id
ORDER BY org_id";

impl Analytics {
    /// Events and credits of every org, from the usage log and from the rollups, in the order of the orgs' ids. The
    /// ways are read in one statement, but an insert may be under way between them.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn sums_by_org(&self) -> Result<Vec<OrgSums>, AnalyticsError> {
        let rows: Vec<SumsRow> = self.answer("sum by org", self.client.query_raw(SUMS).fetch_all()).await?;
        rows.into_iter().map(OrgSums::try_from).collect()
    }
}

impl TryFrom<SumsRow> for OrgSums {
    type Error = AnalyticsError;

    fn try_from(row: SumsRow) -> Result<Self, AnalyticsError> {
        let bad = |reason: String| AnalyticsError::BadRow { table: "credit_usage_log", reason };
        let credits = |units: i128| {
            Credits::from_scaled(units).map_err(|error| bad(format!("credits of {}: {error}", row.org_id)))
        };
        Ok(Self {
            org: OrgId::new(&row.org_id).map_err(|error| bad(error.to_string()))?,
            events: row.events,
            events_rollup_hourly: row.events_hourly,
            events_rollup_daily: row.events_daily,
            credits_raw: credits(row.credits)?,
            credits_rollup_hourly: credits(row.credits_hourly)?,
            credits_rollup_daily: credits(row.credits_daily)?,
        })
    }
}
