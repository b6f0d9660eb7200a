//! Charges of usage events as they are now: page by page, to be repriced, and how many have no full price.

use std::collections::HashMap;

use fluxori_core::id::{EventId, OrgId};
use fluxori_core::rates::NamePattern;
use fluxori_core::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::load::StoredCharge;
use crate::{Ledger, LedgerError, rows};

/// Which charges are asked for. What is found may be more than that where names are patterns and times those of
/// corrections: the reader looks again.
#[derive(Debug, Clone)]
pub struct ChargeFilter {
    /// Only of these orgs; none named: of all.
    pub orgs: Vec<OrgId>,
    /// Only where the model that answered, or the one that was asked for, has one of these names.
    pub models: Option<ModelNames>,
    /// Only usage from then on.
    pub since: Timestamp,
    /// Only usage from before then.
    pub until: Option<Timestamp>,
    /// Only charges that are not of a full price as they are now: unpriced, provisional or partial.
    pub incomplete: bool,
}

/// Names of models: any of them.
#[derive(Debug, Clone, Default)]
pub struct ModelNames {
    /// These, alone or followed by `-` and whatever.
    pub names: Vec<String>,
    /// What these fit.
    pub patterns: Vec<NamePattern>,
}

impl ModelNames {
    /// For `LIKE`.
    fn likes(&self) -> Vec<String> {
        let literal = |text: &str| text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let names = self.names.iter().flat_map(|name| [literal(name), format!("{}-%", literal(name))]);
        let patterns = self.patterns.iter().map(|pattern| literal(&pattern.to_string()).replace('*', "%"));
        names.chain(patterns).collect()
    }
}

/// Where a page of charges ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargePlace {
    org: String,
    number: i64,
}

/// Usage of one model by one name, whose charges have no full price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncompleteUsage {
    /// Who served it.
    pub provider: String,
    /// The model that answered, where it is known; else the one that was asked for.
    pub model: String,
    /// `unpriced`, `provisional` or `partial`.
    pub status: String,
    /// How many events.
    pub events: i64,
    /// Of how many orgs.
    pub orgs: i64,
    /// When the first one was booked.
    pub first_at: Timestamp,
    /// When the last one was booked.
    pub last_at: Timestamp,
}

impl Ledger {
    /// The next page of charges after a place, by org and in the order in which they came: at most `limit`. Beside it the
    /// place where it ends; none where nothing follows.
    pub async fn charges(
        &self,
        filter: &ChargeFilter,
        after: Option<&ChargePlace>,
        limit: u32,
    ) -> Result<(Vec<StoredCharge>, Option<ChargePlace>), LedgerError> {
        let orgs: Option<Vec<String>> =
            (!filter.orgs.is_empty()).then(|| filter.orgs.iter().map(ToString::to_string).collect());
        let likes = filter.models.as_ref().map(ModelNames::likes);
        let (after_org, after_number) = after.map_or(("", 0), |place| (&*place.org, place.number));
        let found = if filter.incomplete {
            self.incomplete(orgs.as_deref(), likes.as_deref(), (after_org, after_number), limit).await?
        } else {
            sqlx::query_as!(
                Found,
                r#"SELECT org_id, number, event_id AS "event_id!" FROM credit_transactions
                   WHERE (org_id, number) > ($1, $2) AND kind = 'debit' AND effective_at >= $3
                     AND ($4::timestamptz IS NULL OR effective_at < $4)
                     AND ($5::text[] IS NULL OR org_id = ANY($5))
                     AND ($6::text[] IS NULL OR model LIKE ANY($6) OR request_model LIKE ANY($6))
                   ORDER BY org_id, number LIMIT $7"#,
                after_org,
                after_number,
                rows::to_column(filter.since),
                filter.until.map(rows::to_column),
                orgs.as_deref() as _,
                likes.as_deref() as _,
                i64::from(limit),
            )
            .fetch_all(&self.pool)
            .await?
        };
        let full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let last = found.last().filter(|_| full);
        let place = last.map(|last| ChargePlace { org: last.org_id.clone(), number: last.number });
        let events = found.iter().map(|found| Ok((rows::org_id(&found.org_id)?, EventId(found.event_id))));
        let events = events.collect::<Result<Vec<_>, LedgerError>>()?;
        let charges = self.load_charges(&events).await?;
        let mut charges: HashMap<_, _> =
            charges.into_iter().map(|charge| ((charge.org.clone(), charge.event), charge)).collect();
        Ok((events.iter().filter_map(|event| charges.remove(event)).collect(), place))
    }

    /// As they are now: a charge that was corrected has a posting with a later revision.
    async fn incomplete(
        &self,
        orgs: Option<&[String]>,
        likes: Option<&[String]>,
        (after_org, after_number): (&str, i64),
        limit: u32,
    ) -> Result<Vec<Found>, LedgerError> {
        let found = sqlx::query_as!(
            Found,
            r#"SELECT org_id, number, event_id AS "event_id!" FROM credit_transactions t
               WHERE (org_id, number) > ($1, $2)
                 AND split_part(charge, '"', 2) IN ('unpriced', 'provisional', 'partial')
                 AND ($3::text[] IS NULL OR org_id = ANY($3))
                 AND ($4::text[] IS NULL OR model LIKE ANY($4) OR request_model LIKE ANY($4))
                 AND NOT EXISTS (SELECT FROM credit_transactions later WHERE later.event_id = t.event_id
                                 AND later.org_id = t.org_id AND later.revision > t.revision)
               ORDER BY org_id, number LIMIT $5"#,
            after_org,
            after_number,
            orgs as _,
            likes as _,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(found)
    }

    /// Usage whose charges have no full price as they are now, by model: at most `limit`, those with the most events
    /// first.
    pub async fn incomplete_usage(&self, limit: u32) -> Result<Vec<IncompleteUsage>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT provider AS "provider!", model AS "model!", split_part(charge, '"', 2) AS "status!",
                   count(*) AS "events!", count(DISTINCT org_id) AS "orgs!", min(recorded_at) AS "first_at!",
                   max(recorded_at) AS "last_at!"
               FROM credit_transactions t
               WHERE split_part(charge, '"', 2) IN ('unpriced', 'provisional', 'partial')
                 AND NOT EXISTS (SELECT FROM credit_transactions later WHERE later.event_id = t.event_id
                                 AND later.org_id = t.org_id AND later.revision > t.revision)
               GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT $1"#,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        let usage = rows.into_iter().map(|row| IncompleteUsage {
            provider: row.provider,
            model: row.model,
            status: row.status,
            events: row.events,
            orgs: row.orgs,
            first_at: row.first_at.into(),
            last_at: row.last_at.into(),
        });
        Ok(usage.collect())
    }
}

/// The posting that a charge is found by.
struct Found {
    org_id: String,
    number: i64,
    event_id: Uuid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_itself_and_what_follows_it_after_a_dash() {
        let names = ModelNames {
            names: vec!["o3_mini%".to_owned()],
            patterns: vec!["claude-*".parse().unwrap(), "*g*".parse().unwrap()],
        };
        assert_eq!(names.likes(), ["o3\\_mini\\%", "o3\\_mini\\%-%", "claude-%", "%g%"]);
    }
}
