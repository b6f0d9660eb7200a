//! A plan as operators write it, in TOML or JSON: like a plan of the ledger, without the period in course, which is calculated.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::NaiveDateTime;
use fluxori_core::amount::Credits;
use fluxori_core::command::{AllocationKind, Plan, PlanItem, Scope, SetPlan, Share};
use fluxori_core::id::{ItemId, Label, UserId};
use fluxori_core::period::{IntervalUnit, Recurrence, local_midnight};
use fluxori_core::time::Timestamp;
use serde::Deserialize;

use crate::error::CliError;

/// A plan's definition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    name: Label,
    #[serde(default)]
    trial: bool,
    #[serde(default)]
    seats: u32,
    #[serde(default)]
    users: BTreeSet<UserId>,
    items: Vec<ItemDefinition>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemDefinition {
    id: ItemId,
    kind: AllocationKind,
    amount: Credits,
    share: Share,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    purchased: bool,
    #[serde(default)]
    max_rollover: Credits,
    recurrence: RecurrenceDefinition,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecurrenceDefinition {
    #[serde(default = "one")]
    every: u32,
    unit: IntervalUnit,
    anchor: Option<NaiveDateTime>,
    time_zone: Label,
}

const fn one() -> u32 {
    1
}

impl Definition {
    /// Reads a file: JSON if its name ends so, else TOML.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| CliError::File {
            action: "cannot read",
            path: shown.clone(),
            source,
        })?;
        let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        Self::parse(&text, json)
            .map_err(|problem| CliError::Refused(format!("{shown} is no plan that can be set: {problem}")))
    }

    fn parse(text: &str, json: bool) -> Result<Self, String> {
        if json {
            serde_json::from_str(text).map_err(|error| error.to_string())
        } else {
            toml::from_str(text).map_err(|error| error.to_string())
        }
    }

    /// The plan from `effective_at` on. An item without an anchor keeps that of the present plan's item of the same id and
    /// recurrence, so that its periods go on; a new one begins at midnight.
    pub(super) fn plan(&self, effective_at: Timestamp, present: Option<&Plan>) -> Result<Plan, CliError> {
        let items = self.items.iter().map(|item| item.item(effective_at, present));
        let items = items.collect::<Result<_, _>>()?;
        let Self { name, trial, seats, users, .. } = self.clone();
        Ok(Plan { name, trial, seats, users, items })
    }

    /// Whether an earlier command set what is defined here; anchors that are left out were chosen then.
    pub(super) fn is_of(&self, earlier: &SetPlan) -> bool {
        earlier.plan.as_ref().is_some_and(|plan| {
            self.plan(earlier.effective_at, Some(plan)).is_ok_and(|defined| defined == *plan)
        })
    }
}

impl ItemDefinition {
    fn item(&self, effective_at: Timestamp, present: Option<&Plan>) -> Result<PlanItem, CliError> {
        let refused = |problem: String| CliError::Refused(format!("item {} of the plan: {problem}", self.id));
        let RecurrenceDefinition { every, unit, anchor, time_zone } = self.recurrence.clone();
        let present = present.and_then(|plan| plan.item(&self.id)).map(|item| &item.recurrence);
        let kept = present
            .filter(|kept| kept.every == every && kept.unit == unit && kept.time_zone == time_zone)
            .map(|kept| kept.anchor);
        let anchor = match anchor.or(kept) {
            Some(anchor) => anchor,
            None => local_midnight(effective_at, &time_zone).map_err(|error| refused(error.to_string()))?,
        };
        let recurrence = Recurrence { every, unit, anchor, time_zone };
        recurrence.check().map_err(refused)?;
        let (period_start, period_end) =
            recurrence.period_at(effective_at).map_err(|error| refused(error.to_string()))?;
        Ok(PlanItem {
            id: self.id.clone(),
            kind: self.kind,
            amount: self.amount,
            share: self.share,
            priority: self.priority,
            scope: self.scope.clone(),
            purchased: self.purchased,
            max_rollover: self.max_rollover,
            recurrence,
            period_start,
            period_end,
        })
    }
}

/// The same plan from `effective_at` on: the periods in course are those of that time.
pub(super) fn at(mut plan: Plan, effective_at: Timestamp) -> Result<Plan, CliError> {
    for item in &mut plan.items {
        let period = item.recurrence.period_at(effective_at);
        (item.period_start, item.period_end) = period
            .map_err(|error| CliError::Refused(format!("item {} of the present plan: {error}", item.id)))?;
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"
name = "team"
seats = 5

[[items]]
id = "monthly"
kind = "subscription"
amount = "1000"
share = "seat"
max_rollover = "200"
recurrence = { unit = "month", time_zone = "Europe/Berlin" }

[[items]]
id = "fair-use"
kind = "quota"
amount = "50"
share = "user"
scope = { models = ["gpt-5"] }
recurrence = { every = 1, unit = "day", anchor = "2026-01-01T00:00:00", time_zone = "UTC" }
"#;

    fn plan(text: &str, at: &str, present: Option<&Plan>) -> Plan {
        Definition::parse(text, false).unwrap().plan(at.parse().unwrap(), present).unwrap()
    }

    fn period(plan: &Plan, index: usize) -> (String, String) {
        let item = &plan.items[index];
        (item.period_start.to_string(), item.period_end.to_string())
    }

    #[test]
    fn periods_in_course_are_calculated_and_begin_at_the_local_midnight_unless_anchored() {
        let plan = plan(PLAN, "2026-11-22T15:00:00Z", None);
        assert_eq!(plan.check("2026-11-22T15:00:00Z".parse().unwrap()), Ok(()));
        let monthly = ("2026-11-21T23:00:00Z".to_owned(), "2026-12-21T23:00:00Z".to_owned());
        assert_eq!(period(&plan, 0), monthly);
        let daily = ("2026-11-22T00:00:00Z".to_owned(), "2026-11-23T00:00:00Z".to_owned());
        assert_eq!(period(&plan, 1), daily);
    }

    #[test]
    fn an_item_that_goes_on_keeps_its_anchor_and_one_of_another_recurrence_does_not() {
        let before = plan(PLAN, "2026-11-22T15:00:00Z", None);
        let after = plan(PLAN, "2026-12-05T08:00:00Z", Some(&before));
        assert_eq!(period(&after, 0), period(&before, 0));
        let yearly = PLAN.replacen("month\"", "year\"", 1);
        let other = plan(&yearly, "2026-12-05T08:00:00Z", Some(&before));
        assert_eq!(period(&other, 0).0, "2026-12-04T23:00:00Z");
    }

    #[test]
    fn a_plan_that_was_set_before_is_known_again_at_its_own_time_and_another_is_not() {
        let effective_at = "2026-11-22T15:00:00Z".parse().unwrap();
        let of = |text: &str| Definition::parse(text, false).unwrap();
        let earlier = SetPlan { effective_at, plan: Some(of(PLAN).plan(effective_at, None).unwrap()) };
        assert!(of(PLAN).is_of(&earlier));
        for (what, other) in [("seats = 5", "seats = 6"), ("\"1000\"", "\"1001\""), ("\"month\"", "\"year\"")]
        {
            assert!(!of(&PLAN.replacen(what, other, 1)).is_of(&earlier), "{other}");
        }
        assert!(!of(PLAN).is_of(&SetPlan { plan: None, ..earlier }), "the org was taken off its plan");
    }

    #[test]
    fn the_same_plan_at_another_time_has_the_periods_of_that_time() {
        let before = plan(PLAN, "2026-11-22T15:00:00Z", None);
        let after = at(before, "2027-01-05T08:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(period(&after, 0).0, "2026-12-21T23:00:00Z");
    }

    #[test]
    fn json_says_the_same_and_what_is_wrong_is_named() {
        let json = r#"{"name": "solo", "items": [{"id": "m", "kind": "payg", "amount": "10", "share": "organization",
                       "recurrence": {"unit": "month", "time_zone": "UTC"}}]}"#;
        assert!(Definition::parse(json, true).is_ok());
        let unknown = Definition::parse(&PLAN.replacen("seats", "seat_count", 1), false).unwrap_err();
        assert!(unknown.contains("seat_count") && unknown.contains("seats"), "{unknown}");
        let zone = PLAN.replacen("Europe/Berlin", "Europe/Atlantis", 1);
        let zone = Definition::parse(&zone, false).unwrap().plan(Timestamp::default(), None).unwrap_err();
        assert!(zone.to_string().contains("item monthly") && zone.to_string().contains("Atlantis"), "{zone}");
        let never = PLAN.replacen("every = 1", "every = 0", 1);
        let never = Definition::parse(&never, false).unwrap().plan(Timestamp::default(), None).unwrap_err();
        assert!(never.to_string().contains("item fair-use"), "{never}");
    }
}
