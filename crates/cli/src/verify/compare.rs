//! What the log folds to beside what Postgres holds.

use std::collections::BTreeMap;
use std::fmt;

use fluxori_core::amount::{AmountError, Credits};
use fluxori_core::fold::{AllocationStatus, OrgState};
use fluxori_core::id::OrgId;
use fluxori_ledger::{Heads, Organization, PartitionCursor, RowSums};
use serde::Serialize;

use super::fold::Folded;

/// One thing that is not equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// Where.
    pub(super) partition: Option<i32>,
    /// Whose; none for a difference of a whole partition.
    pub(super) org_id: Option<String>,
    /// What differs.
    pub(super) what: &'static str,
    /// What the log says.
    pub(super) log: String,
    /// What Postgres holds.
    pub(super) ledger: String,
    /// Number of the first posting that differs, for the first org.
    pub(super) first_posting: Option<i64>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.org_id, self.partition) {
            (Some(org), _) => write!(f, "org {org}: ")?,
            (None, Some(partition)) => write!(f, "partition {partition}: ")?,
            (None, None) => {}
        }
        write!(f, "{} is {} by the log and {} in Postgres", self.what, self.log, self.ledger)?;
        match self.first_posting {
            Some(number) => write!(f, "; the first posting that differs is number {number}"),
            None => Ok(()),
        }
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
        self.found.push(Difference { partition, org_id, what, log, ledger, first_posting: None });
    }
}

/// Compares partitions, then orgs by id.
pub(super) fn compare(heads: &Heads, folds: &BTreeMap<i32, Folded>) -> Vec<Difference> {
    let mut found = Vec::new();
    for cursor in &heads.cursors {
        if let Some(folded) = folds.get(&cursor.partition) {
            compare_partition(cursor, folded, &mut found);
        }
    }
    let mut expected: BTreeMap<OrgId, (i32, &OrgState)> = BTreeMap::new();
    for (partition, folded) in folds {
        expected.extend(folded.fold.orgs().map(|state| (state.org.clone(), (*partition, state))));
    }
    for (row, sums) in &heads.organizations {
        let mut comparison =
            Comparison { partition: Some(row.partition), org: Some(&row.org), found: &mut found };
        let Some((partition, state)) = expected.remove(&row.org) else {
            comparison.differs("the organization", "not open".to_owned(), "open".to_owned());
            continue;
        };
        comparison.equal("the partition", partition, row.partition);
        let words = folds.get(&partition).and_then(|folded| folded.digest_words.get(&row.org)).copied();
        let words = words.unwrap_or_default();
        if let Err(error) = compare_org(state, words, row, sums, &mut comparison) {
            comparison.differs("a sum", error.to_string(), row.balance.to_string());
        }
    }
    for (org, (partition, _)) in &expected {
        let mut comparison = Comparison { partition: Some(*partition), org: Some(org), found: &mut found };
        comparison.differs("the organization", "open".to_owned(), "not there".to_owned());
    }
    found
}

fn compare_partition(cursor: &PartitionCursor, folded: &Folded, found: &mut Vec<Difference>) {
    let mut comparison = Comparison { partition: Some(cursor.partition), org: None, found };
    let (log, ledger) = (folded.fold.counters(), &cursor.cursor.counters);
    comparison.equal("the count of records", log.records, ledger.records);
    comparison.equal("the count of debits", log.debited, ledger.debited);
    comparison.equal("the count of commands", log.commands, ledger.commands);
    comparison.equal("the count of rejections", log.rejected, ledger.rejected);
    comparison.equal("the count of duplicates", log.duplicates, ledger.duplicates);
    comparison.equal("the count of quarantined records", log.quarantined, ledger.quarantined);
    comparison.equal("the count of released events", log.released, ledger.released);
    comparison.equal("the digest of outcomes", folded.fold.outcomes(), cursor.cursor.outcomes);
    comparison.equal("the log's time", folded.fold.context().now(), cursor.cursor.log_time);
}

fn compare_org(
    state: &OrgState,
    digest_words: i64,
    row: &Organization,
    sums: &RowSums,
    comparison: &mut Comparison<'_>,
) -> Result<(), AmountError> {
    if let Err(broken) = state.check_invariants() {
        comparison.differs("an invariant", broken, "not checked".to_owned());
    }
    comparison.equal("the head", state.head, row.head);
    comparison.equal("the number of the last posting", state.number, row.number);
    comparison.equal("the count of postings", state.number, sums.postings);
    comparison.equal("the last posting's digest", state.head, sums.last_digest.unwrap_or_default());
    comparison.equal("the digest over all postings", digest_words, sums.digest_words);
    let (log, ledger) = (&state.totals, &row.totals);
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
    comparison.equal("overdraft", state.overdraft()?, row.overdraft);
    comparison.equal("the balance", state.balance()?, row.balance);
    let live = state.allocations().iter().filter(|allocation| allocation.status != AllocationStatus::Closed);
    let left = live.map(|allocation| allocation.remaining).try_fold(Credits::ZERO, Credits::plus)?;
    comparison.equal("the sum left in allocations", left, sums.remaining);
    let boundary = |at: Option<_>| {
        at.map_or_else(|| "none".to_owned(), |at: fluxori_core::time::Timestamp| at.to_string())
    };
    comparison.equal("the next boundary", boundary(state.next_boundary()), boundary(row.next_boundary));
    comparison.equal("the overdraft policy", state.policy.overdraft.as_str(), row.policy.overdraft.as_str());
    comparison.equal("the grace in seconds", state.policy.grace.as_secs(), row.policy.grace.as_secs());
    Ok(())
}
