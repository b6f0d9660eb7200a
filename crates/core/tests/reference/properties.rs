//! The fold equals the model, whatever happens and however the log is cut into batches.

use std::sync::OnceLock;

use fluxori_core::record::Body;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::compare::Pair;
use crate::histories::{History, Step, steps};
use crate::log::Log;
use crate::model::Model;
use crate::stored::Batched;

/// The records of a history.
fn history(steps: &[Step]) -> Log {
    static BEGIN: OnceLock<(Log, Model)> = OnceLock::new();
    let (log, model) = BEGIN.get_or_init(|| {
        let (log, mut model) = (Log::new(), Model::default());
        log.records.iter().for_each(|record| drop(model.apply(record)));
        (log, model)
    });
    let mut history = History::new(log.clone(), model.clone());
    for step in steps {
        let done = history.log.records.len();
        history.take(step);
        for record in &history.log.records[done..] {
            history.model.apply(record);
        }
    }
    history.log
}

/// Folds a log both ways and compares after each record.
pub(crate) fn compared(log: &Log) -> Result<Pair, TestCaseError> {
    let mut pair = Pair::of(&log.records);
    for (offset, record) in log.records.iter().enumerate() {
        pair.apply(record).map_err(|difference| {
            let body = match &record.body {
                Body::Command(signed) => format!("{:?}", signed.command),
                body => format!("{body:?}"),
            };
            TestCaseError::fail(format!("record {offset}: {body}\n{difference}"))
        })?;
    }
    Ok(pair)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_equals_the_reference_model_on_random_histories(steps in steps()) {
        compared(&history(&steps))?;
    }

    /// Not in how many batches the log is folded, nor when all in memory was dropped and loaded again.
    #[test]
    fn folding_in_any_batches_gives_the_same(steps in steps(), batches in vec((1_usize..9, any::<bool>()), 1..12)) {
        let log = history(&steps);
        let whole = Batched::of(&log.records, &[(log.records.len(), false)]);
        let cut = Batched::of(&log.records, &batches);
        prop_assert_eq!(&whole.postings, &cut.postings);
        prop_assert_eq!(whole.fold.outcomes(), cut.fold.outcomes());
        prop_assert_eq!(whole.fold.counters(), cut.fold.counters());
        for state in whole.fold.orgs() {
            let other = cut.fold.orgs().find(|other| other.org() == state.org()).unwrap();
            prop_assert_eq!(&state.record, &other.record);
            prop_assert!(state.allocations().eq(other.allocations()));
        }
    }
}

/// How many histories: `PROPTEST_CASES`, or enough for everyday.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}
