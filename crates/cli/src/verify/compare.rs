//! What the log folds to beside what Postgres holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fluxori_core::amount::{AmountError, Credits};
use fluxori_core::command::{OverdraftPolicy, Policy};
use fluxori_core::fold::{AllocationStatus, OrgRecord, OrgState, PartitionFold};
use fluxori_core::id::{GLOBAL_KEY, OrgId};
use fluxori_ledger::{ColumnDifference, Contents, Heads, Organization, PartitionCursor, RowKey, RowSums};
use serde::Serialize;

use super::fold::Folds;

/// One thing that is not equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// Where.
    pub(super) partition: Option<i32>,
    /// Whose; none for a difference of a whole partition.
    pub(super) org_id: Option<String>,
    /// What differs.
    pub(super) what: String,
    /// What the log says.
    pub(super) log: String,
    /// What Postgres holds.
    pub(super) ledger: String,
    /// Number of the first posting that differs, for the first org whose postings do.
    pub(super) first_posting: Option<i64>,
}

/// What differs until it is known which posting it is.
pub(super) const POSTINGS: &str = "the content of the postings";
const THERE: &str = "there";
const NOT_THERE: &str = "not there";

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.org_id, self.partition) {
            (Some(org), _) => write!(f, "org {org}: ")?,
            (None, Some(partition)) => write!(f, "partition {partition}: ")?,
            (None, None) => {}
        }
        write!(f, "{} is {} by the log and {} in Postgres", self.what, self.log, self.ledger)
    }
}

/// Collects what is not equal in one place.
struct Comparison<'a> {
    partition: Option<i32>,
    org: Option<&'a OrgId>,
    found: &'a mut Vec<Difference>,
}

impl Comparison<'_> {
    fn equal<T: PartialEq + fmt::Display>(&mut self, what: &'static str, log: T, ledger: T) {
        if log != ledger {
            self.differs(what, log.to_string(), ledger.to_string());
        }
    }

    fn differs(&mut self, what: &'static str, log: String, ledger: String) {
        let (partition, org_id) = (self.partition, self.org.map(ToString::to_string));
        let what = what.to_owned();
        self.found.push(Difference { partition, org_id, what, log, ledger, first_posting: None });
    }
}

/// Compares partitions, unless only one org was folded, then orgs by id, then their postings, then all other rows.
pub(super) fn compare(heads: &Heads, folds: &Folds, whole: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    for cursor in heads.cursors.iter().filter(|_| whole) {
        if let Some(fold) = folds.partitions.get(&cursor.partition) {
            compare_partition(cursor, fold, &mut found);
        }
    }
    let mut partitions = BTreeMap::new();
    let mut expected: BTreeMap<&OrgId, (i32, &OrgState)> = BTreeMap::new();
    for (partition, fold) in &folds.partitions {
        partitions.extend(fold.orgs().map(|state| (state.org().as_str(), *partition)));
        expected.extend(fold.orgs().map(|state| (state.org(), (*partition, state))));
    }
    for (row, sums) in &heads.organizations {
        let mut comparison =
            Comparison { partition: Some(row.partition), org: Some(&row.record.org), found: &mut found };
        let Some((partition, state)) = expected.remove(&row.record.org) else {
            comparison.differs("the organization", "not open".to_owned(), "open".to_owned());
            continue;
        };
        comparison.equal("the partition", partition, row.partition);
        if let Err(error) = compare_org(state, row, sums, &mut comparison) {
            comparison.differs("a sum", error.to_string(), row.balance.to_string());
        }
    }
    for (org, (partition, _)) in &expected {
        let mut comparison = Comparison { partition: Some(*partition), org: Some(org), found: &mut found };
        comparison.differs("the organization", "open".to_owned(), NOT_THERE.to_owned());
    }
    found.extend(compare_postings(&folds.contents, &heads.contents, &partitions));
    found.extend(compare_rows(&folds.contents, &heads.contents));
    found
}

/// Compares the content of each org's postings as a whole.
fn compare_postings(log: &Contents, ledger: &Contents, partitions: &BTreeMap<&str, i32>) -> Vec<Difference> {
    let digest = |contents: &Contents, org| {
        contents.postings.get(org).map_or_else(|| NOT_THERE.to_owned(), ToString::to_string)
    };
    let orgs: BTreeSet<&String> = log.postings.keys().chain(ledger.postings.keys()).collect();
    orgs.into_iter()
        .filter(|org| log.postings.get(*org) != ledger.postings.get(*org))
        .map(|org| Difference {
            partition: partitions.get(org.as_str()).copied(),
            org_id: Some(org.clone()),
            what: POSTINGS.to_owned(),
            log: digest(log, org),
            ledger: digest(ledger, org),
            first_posting: None,
        })
        .collect()
}

/// Compares all other rows one by one: of each that differs the first column that does.
fn compare_rows(log: &Contents, ledger: &Contents) -> Vec<Difference> {
    let keys: BTreeSet<&RowKey> = log.rows.keys().chain(ledger.rows.keys()).collect();
    let difference = |key: &RowKey, what: String, log: &str, ledger: &str| Difference {
        partition: key.partition,
        org_id: Some(key.org_id.clone()).filter(|org| !org.is_empty() && org != GLOBAL_KEY),
        what,
        log: log.to_owned(),
        ledger: ledger.to_owned(),
        first_posting: None,
    };
    keys.into_iter()
        .filter_map(|key| match (log.rows.get(key), ledger.rows.get(key)) {
            (Some(expected), Some(found)) => {
                let ColumnDifference { column, log, ledger } = expected.first_difference(found)?;
                Some(difference(key, format!("{column} of {}", key.row), &log, &ledger))
            }
            (Some(_), None) => Some(difference(key, key.row.clone(), THERE, NOT_THERE)),
            (None, _) => Some(difference(key, key.row.clone(), NOT_THERE, THERE)),
        })
        .collect()
}

fn compare_partition(cursor: &PartitionCursor, fold: &PartitionFold, found: &mut Vec<Difference>) {
    let mut comparison = Comparison { partition: Some(cursor.partition), org: None, found };
    let (log, ledger) = (fold.counters(), &cursor.cursor.counters);
    comparison.equal("the count of records", log.records, ledger.records);
    comparison.equal("the count of debits", log.debited, ledger.debited);
    comparison.equal("the count of commands", log.commands, ledger.commands);
    comparison.equal("the count of rejections", log.rejected, ledger.rejected);
    comparison.equal("the count of duplicates", log.duplicates, ledger.duplicates);
    comparison.equal("the count of quarantined records", log.quarantined, ledger.quarantined);
    comparison.equal("the count of released events", log.released, ledger.released);
    comparison.equal("the count of superseded events", log.superseded, ledger.superseded);
    comparison.equal("the digest of outcomes", fold.outcomes(), cursor.cursor.outcomes);
    comparison.equal("the log's time", fold.context().now(), cursor.cursor.log_time);
}

fn compare_org(
    state: &OrgState,
    row: &Organization,
    sums: &RowSums,
    comparison: &mut Comparison<'_>,
) -> Result<(), AmountError> {
    if let Err(broken) = state.check_invariants() {
        comparison.differs("an invariant", broken, "not checked".to_owned());
    }
    comparison.equal("the head", state.record.head, row.record.head);
    comparison.equal("the number of the last posting", state.record.number, row.record.number);
    comparison.equal("the count of postings", state.record.number, sums.postings);
    comparison.equal("the last posting's digest", state.record.head, sums.last_digest.unwrap_or_default());
    let (log, ledger) = (&state.record.totals, &row.record.totals);
    comparison.equal("granted", log.granted, ledger.granted);
    comparison.equal("adjusted", log.adjusted, ledger.adjusted);
    comparison.equal("charged", log.charged, ledger.charged);
    comparison.equal("the sum of debits", log.charged, sums.debited);
    comparison.equal("consumed", log.consumed, ledger.consumed);
    comparison.equal("the sum consumed from allocations", log.consumed, sums.consumed);
    comparison.equal("overdraft incurred", log.overdraft_incurred, ledger.overdraft_incurred);
    comparison.equal("absorbed", log.absorbed, ledger.absorbed);
    comparison.equal("repaid", log.repaid, ledger.repaid);
    comparison.equal("expired", log.expired, ledger.expired);
    comparison.equal("the sum expired in allocations", log.expired, sums.expired);
    comparison.equal("due", log.due, ledger.due);
    comparison.equal("overdraft", state.overdraft()?, row.overdraft);
    comparison.equal("the balance", state.balance()?, row.balance);
    let live = state.allocations().filter(|allocation| allocation.status != AllocationStatus::Closed);
    let left = live.map(|allocation| allocation.remaining).try_fold(Credits::ZERO, Credits::plus)?;
    comparison.equal("the sum left in allocations", left, sums.remaining);
    let boundary = |at: Option<_>| {
        at.map_or_else(|| "none".to_owned(), |at: fluxori_core::time::Timestamp| at.to_string())
    };
    comparison.equal("the next boundary", boundary(state.next_boundary()), boundary(row.next_boundary));
    let (log, ledger) = (&state.record, &row.record);
    let overdraft = |policy: &Policy| policy.overdraft.map_or("by default", OverdraftPolicy::as_str);
    comparison.equal("the overdraft policy", overdraft(&log.policy), overdraft(&ledger.policy));
    comparison.equal("the grace in seconds", log.policy.grace.as_secs(), ledger.policy.grace.as_secs());
    if log.plan_changed_at != ledger.plan_changed_at {
        let text = |record: &OrgRecord| format!("{:?}", record.plan_changed_at);
        comparison.differs("when the plan was last set", text(log), text(ledger));
    }
    if log.suspended != ledger.suspended {
        let text = |record: &OrgRecord| format!("{:?}", record.suspended);
        comparison.differs("the suspended accounts", text(log), text(ledger));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fluxori_core::digest::Digest;
    use fluxori_core::fold::Quarantined;
    use fluxori_core::id::{CommandId, EventId};
    use fluxori_core::record::QuarantineReason;
    use fluxori_core::time::Timestamp;
    use fluxori_ledger::{CommandRow, QuarantineRow};

    use super::*;

    fn command(rejection: Option<&str>) -> CommandRow {
        CommandRow {
            org: Some("acme".parse().unwrap()),
            command_id: CommandId(uuid::Uuid::from_u128(1)),
            offset: 4,
            kind: "grant",
            payload_digest: Digest::of(b"payload"),
            rejection: rejection.map(str::to_owned),
            actor: "ann".to_owned(),
            reason: "a trial".to_owned(),
            reference: None,
            recorded_at: Timestamp::from_micros(7),
        }
    }

    fn waiting() -> QuarantineRow {
        QuarantineRow {
            offset: 3,
            append_time: Timestamp::from_micros(7),
            key: Some(b"acme".to_vec()),
            value: Some(b"usage".to_vec()),
            quarantined: Quarantined {
                reason: QuarantineReason::OrgNotOpen,
                detail: "waits".to_owned(),
                org: Some("acme".parse().unwrap()),
                event: Some((EventId(uuid::Uuid::from_u128(2)), Digest::of(b"billing"))),
            },
        }
    }

    fn contents(rows: &[CommandRow]) -> Contents {
        let mut contents = Contents::default();
        rows.iter().for_each(|row| contents.put_command(3, row));
        contents
    }

    #[test]
    fn a_changed_missing_or_added_row_is_named_in_words() {
        let words =
            |log: &Contents, ledger: &Contents| compare_rows(log, ledger).first().map(ToString::to_string);
        let (carried_out, rejected) = (contents(&[command(None)]), contents(&[command(Some("closed"))]));
        assert_eq!(words(&carried_out, &contents(&[command(None)])), None);
        let name = "command 00000000-0000-0000-0000-000000000001";
        let expected = format!("org acme: rejected of {name} is false by the log and true in Postgres");
        assert_eq!(words(&carried_out, &rejected), Some(expected));
        let expected = format!("org acme: {name} is there by the log and not there in Postgres");
        assert_eq!(words(&carried_out, &contents(&[])), Some(expected));
        let expected = format!("org acme: {name} is not there by the log and there in Postgres");
        assert_eq!(words(&contents(&[]), &carried_out), Some(expected));
    }

    #[test]
    fn a_release_that_was_not_written_is_a_difference() {
        let (mut log, mut ledger) = (Contents::default(), Contents::default());
        log.put_quarantined(3, &waiting());
        ledger.put_quarantined(3, &waiting());
        assert!(compare_rows(&log, &ledger).is_empty());
        log.release(&"acme".parse().unwrap(), EventId(uuid::Uuid::from_u128(2)), Digest::of(b"billing"));
        let found: Vec<String> = compare_rows(&log, &ledger).iter().map(ToString::to_string).collect();
        let what = "status of the quarantined record at offset 3";
        assert_eq!(found, [format!("org acme: {what} is released by the log and waiting in Postgres")]);
    }

    #[test]
    fn postings_of_an_org_that_only_one_side_has_are_a_difference() {
        let (log, mut ledger) = (Contents::default(), Contents::default());
        ledger.postings.insert("acme".to_owned(), Digest::of(b"rows"));
        let found = compare_postings(&log, &ledger, &BTreeMap::new());
        assert!(matches!(&*found, [only] if only.what == POSTINGS && only.log == NOT_THERE), "{found:?}");
        assert_eq!(compare_postings(&ledger, &log, &BTreeMap::from([("acme", 3)]))[0].partition, Some(3));
        assert!(compare_postings(&ledger, &ledger, &BTreeMap::new()).is_empty());
    }
}
