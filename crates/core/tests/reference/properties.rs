//! The fold equals the model, whatever happens and however the log is cut into batches.

use std::sync::OnceLock;

use proptest::prelude::*;

use crate::compare::Pair;
use crate::histories::{History, Step, steps};
use crate::log::Log;
use crate::model::Model;

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

fn compared(steps: &[Step]) -> Result<(), TestCaseError> {
    let log = history(steps);
    let mut pair = Pair::of(&log.records);
    for (offset, record) in log.records.iter().enumerate() {
        if let Err(difference) = pair.apply(record) {
            let body = match &record.body {
                fluxori_core::record::Body::Command(signed) => format!("{:?}", signed.command),
                body => format!("{body:?}"),
            };
            return Err(TestCaseError::fail(format!("record {offset}: {body}\n{difference}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_fold_equals_the_reference_model_on_random_histories(steps in steps()) {
        compared(&steps)?;
    }
}

/// How many histories: `PROPTEST_CASES`, or enough for everyday.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}
