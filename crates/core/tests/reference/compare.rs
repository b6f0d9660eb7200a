//! The fold beside the model, and what must hold after each record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fluxori_core::amount::Credits;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{
    Allocation, AllocationStatus, Context, Counters, OrgState, Outcome, PartitionFold, Past,
};
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::posting::{Posting, PostingKind, Target};
use fluxori_core::record::Record;

use crate::model::{Amount, Became, Leg, Model, Movement, Org, Place, Posted, Status, of};

pub(crate) fn became(outcome: &Outcome) -> Became {
    match outcome {
        Outcome::Debited => Became::Debited,
        Outcome::Superseded => Became::Superseded,
        Outcome::Command { rejection: None, .. } => Became::CarriedOut,
        Outcome::Command { rejection: Some(_), .. } => Became::Rejected,
        Outcome::Global(_) => Became::Global,
        Outcome::Tick => Became::Tick,
        Outcome::Duplicate(_) => Became::Duplicate,
        Outcome::Quarantined(quarantined) => Became::Quarantined(quarantined.reason),
    }
}

fn posted(posting: &Posting) -> Posted {
    let leg = |entry: &fluxori_core::posting::Entry| Leg {
        account: entry.account.clone(),
        place: match entry.target {
            Target::Allocation(id) => Place::Allocation(id),
            Target::Overdraft => Place::Overdraft,
            Target::Absorbed => Place::Absorbed,
            Target::Due => Place::Due,
        },
        amount: of(entry.amount),
    };
    Posted {
        org: posting.org.clone(),
        number: posting.number,
        kind: posting.kind,
        effective_at: posting.effective_at,
        amount: of(posting.amount),
        entries: posting.entries.iter().map(leg).collect(),
    }
}

pub(crate) fn new_fold() -> PartitionFold {
    PartitionFold::new(Context::new(0, None), Counters::default(), Digest::default())
}

/// What is known of an org by its postings alone.
#[derive(Default)]
struct Book {
    number: i64,
    head: Digest,
    sums: BTreeMap<Place, Amount>,
    charged: BTreeMap<EventId, usize>,
}

/// The fold, the model, and the books that are kept of the fold's postings.
pub(crate) struct Pair {
    pub(crate) fold: PartitionFold,
    pub(crate) past: Past,
    pub(crate) model: Model,
    books: BTreeMap<OrgId, Book>,
    /// What the model has posted and the fold has not.
    to_come: BTreeMap<OrgId, VecDeque<Posted>>,
}

impl Pair {
    /// Both before the first record of a log. Everything that is to be corrected is watched from the beginning.
    pub(crate) fn of(records: &[Record]) -> Self {
        let (mut fold, mut past) = (new_fold(), Past::default());
        for (org, event) in records.iter().flat_map(Past::to_watch) {
            fold.watch(&mut past, org, event);
        }
        Self { fold, past, model: Model::default(), books: BTreeMap::new(), to_come: BTreeMap::new() }
    }

    /// Applies a record to both; says what differs or does not hold.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), String> {
        let applied = self.fold.apply(&mut self.past, record).map_err(|error| error.to_string())?;
        let (expected, expected_postings) = self.model.apply(record);
        let found = became(&applied.outcome);
        if found != expected {
            let outcome = applied.outcome;
            return Err(format!("the fold: {found:?}, the model: {expected:?} ({outcome:?})"));
        }
        for posting in expected_postings {
            self.to_come.entry(posting.org.clone()).or_default().push_back(posting);
        }
        for posting in applied.postings.iter().map(posted) {
            let expected = self.to_come.entry(posting.org.clone()).or_default().pop_front();
            if expected.as_ref() != Some(&posting) {
                return Err(format!("the fold: {posting:?}\nthe model: {expected:?}"));
            }
        }
        let mut touched = BTreeSet::new();
        for posting in &applied.postings {
            touched.insert(posting.org.clone());
            self.books.entry(posting.org.clone()).or_default().enter(posting)?;
        }
        // Whether a rejected command is a record before which boundaries are booked is left open: they may follow with
        // the next one.
        let must_be_all = |org: &OrgId| found == Became::Tick || touched.contains(org);
        let behind = self.to_come.iter().filter(|(org, _)| found != Became::Rejected && must_be_all(org));
        if let Some(missing) = behind.flat_map(|(_, postings)| postings).next() {
            return Err(format!("the fold does not post {missing:?}"));
        }
        for state in self.fold.orgs().filter(|state| touched.contains(state.org())) {
            self.check(state)?;
        }
        Ok(())
    }

    fn check(&self, state: &OrgState) -> Result<(), String> {
        state.check_invariants()?;
        let org = self.model.org(state.org()).ok_or("the model has no such org")?;
        let book = &self.books[state.org()];
        for allocation in state.allocations() {
            check_allocation(allocation, book)?;
        }
        same_allocations(state, org)?;
        let balance: Amount = book.sum(|place| !matches!(place, Place::Absorbed | Place::Due));
        equal("the balance and the sum of entries", of(state.balance().unwrap()), balance)?;
        equal("the overdraft", of(state.overdraft().unwrap()), -book.sum(|place| place == Place::Overdraft))?;
        equal("the overdraft by the model", of(state.overdraft().unwrap()), org.owed())?;
        let totals = &state.record.totals;
        equal("what is absorbed", of(totals.absorbed), -book.sum(|place| place == Place::Absorbed))?;
        equal("what is due", of(totals.due), -book.sum(|place| place == Place::Due))?;
        let charged = org.debits().iter().map(|debit| debit.charged).sum::<Amount>();
        equal("what was charged", of(totals.charged), charged)
    }
}

impl Book {
    fn enter(&mut self, posting: &Posting) -> Result<(), String> {
        if posting.number != self.number + 1 {
            return Err(format!("posting {} follows {}", posting.number, self.number));
        }
        if posting.digest != posting.chained_digest(self.head) {
            return Err(format!("the digest of posting {} does not follow", posting.number));
        }
        (self.number, self.head) = (posting.number, posting.digest);
        if posting.kind == PostingKind::Debit {
            let id = posting.event_id().unwrap();
            let times = self.charged.entry(id).or_default();
            *times += 1;
            if *times > 1 {
                return Err(format!("event {id} is debited twice"));
            }
        }
        for leg in posted(posting).entries {
            *self.sums.entry(leg.place).or_default() += leg.amount;
            if matches!(leg.place, Place::Allocation(_)) && self.sums[&leg.place] < 0 {
                return Err(format!("{:?} is below zero", leg.place));
            }
        }
        Ok(())
    }

    fn sum(&self, of: impl Fn(Place) -> bool) -> Amount {
        self.sums.iter().filter(|(place, _)| of(**place)).map(|(_, amount)| amount).sum()
    }
}

fn equal(what: &str, found: Amount, expected: Amount) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found} is not {expected}")) }
}

/// What came in is what is accounted for, nothing is below zero, and the entries add up to what is left.
fn check_allocation(allocation: &Allocation, book: &Book) -> Result<(), String> {
    let came = of(allocation.granted) + of(allocation.adjusted) + of(allocation.moved);
    let parts = [allocation.remaining, allocation.consumed, allocation.repaid, allocation.expired].map(of);
    equal("what came into an allocation", came, parts.iter().sum())?;
    if parts.iter().any(|part| *part < 0) {
        return Err(format!("allocation {} has a part below zero", allocation.id));
    }
    let counts = !matches!(allocation.status, AllocationStatus::Scheduled);
    let entries = book.sum(|place| place == Place::Allocation(allocation.id));
    equal("the entries of an allocation", entries, if counts { of(allocation.remaining) } else { 0 })
}

/// The same allocations are scheduled, open and waiting, with the same figures.
fn same_allocations(state: &OrgState, org: &Org) -> Result<(), String> {
    let figures = |a: &Allocation| {
        let parts: [Credits; 6] = [a.granted, a.adjusted, a.moved, a.consumed, a.repaid, a.expired];
        (a.id, a.status.as_str(), a.expires_at, parts.map(of))
    };
    let mut found: Vec<_> = state.allocations().map(figures).collect();
    let mut expected: Vec<_> = org
        .allocations
        .iter()
        .filter(|allocation| allocation.status != Status::Closed)
        .map(|a| {
            let status = match a.status {
                Status::Scheduled => "scheduled",
                Status::Open => "open",
                Status::RollingOver => "rolling_over",
                Status::Closed => "closed",
            };
            let parts = [
                Movement::Granted,
                Movement::Adjusted,
                Movement::Moved,
                Movement::Consumed,
                Movement::Repaid,
                Movement::Expired,
            ];
            (a.id, status, a.expires_at, parts.map(|movement| a.sum(movement)))
        })
        .collect();
    found.sort();
    expected.sort();
    if found == expected {
        Ok(())
    } else {
        Err(format!("the fold's allocations:\n{found:#?}\nthe model's:\n{expected:#?}"))
    }
}
