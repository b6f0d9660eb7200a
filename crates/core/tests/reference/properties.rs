use proptest::prelude::*;
use crate::histories::{History, steps};
use crate::log::Log;
use crate::model::Model;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn model_runs(steps in steps()) {
        let log = Log::new();
        let mut model = Model::default();
        for r in &log.records { model.apply(r); }
        let mut h = History::new(log, model);
        for step in &steps {
            let n = h.log.records.len();
            h.take(step);
            for i in n..h.log.records.len() {
                let r = h.log.records[i].clone();
                let (b, p) = h.model.apply(&r);
                if let Ok(_) = std::env::var("COUNT") {
                    let what = match &r.body { fluxori_core::record::Body::Command(c) => format!("{:?} {:?}", c.command.body.kind(), b), _ => format!("{:?}", b) };
                    println!("B {what}");
                    for p in p { println!("P {:?}", p.kind); }
                }
            }
        }
    }
}
