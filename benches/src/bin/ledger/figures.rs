//! Which figures are measured, in what order, and how they are shown.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::consumer::{Consumer, Stretch};
use crate::floor::{Floor, drop_database};
use crate::log::{Bench, Log};
use crate::workload::Spread;
use crate::{grown, lag, rebuild};

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    quick: bool,
    only: Vec<String>,
    /// Runs of which the median counts.
    runs: usize,
    warm_up: usize,
    events: usize,
    hot_events: usize,
    lag_seconds: usize,
}

impl Plan {
    pub(crate) fn new(quick: bool, only: Vec<String>) -> Self {
        if quick {
            let (runs, warm_up, events, hot_events, lag_seconds) = (3, 60_000, 300_000, 200_000, 20);
            Self { quick, only, runs, warm_up, events, hot_events, lag_seconds }
        } else {
            // Some more, because a run ends with its first partition.
            let (runs, warm_up, events, hot_events, lag_seconds) = (5, 200_000, 2_400_000, 500_000, 30);
            Self { quick, only, runs, warm_up, events, hot_events, lag_seconds }
        }
    }

    fn wants(&self, figure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == figure)
    }
}

/// What was measured; none for what was not.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    debits_per_s: Option<f64>,
    floor_per_s: Option<f64>,
    ratio: Option<f64>,
    hot_org_per_s: Option<f64>,
    lag_p99_ms: Option<f64>,
    rebuild_ratio: Option<f64>,
    cpu_us: Option<f64>,
    rss_mb: Option<f64>,
    grown_ratio: Option<f64>,
}

impl Figures {
    pub(crate) fn measure(bench: &Bench, plan: &Plan) -> Result<Self> {
        let begin = Instant::now();
        let say = |text: &str| eprintln!("[{:6.1} s] {text}", begin.elapsed().as_secs_f32());
        let mut figures = Self::default();
        if plan.wants("live") || plan.wants("rebuild") || plan.wants("lag") || plan.wants("grown") {
            say(&format!("making a log of {} events", plan.warm_up + plan.events));
            let mut log = Log::new(bench, "live", 10_000, Spread::Zipf)?;
            log.fill(plan.warm_up + plan.events)?;
            if plan.wants("live") {
                figures.live(&log, plan, &say)?;
            }
            if plan.wants("rebuild") {
                say("rebuilding the ledger from the whole log");
                let live = match figures.debits_per_s {
                    Some(live) => live,
                    None => one_run(&log, "beside", i64::try_from(plan.warm_up)?)?.debits_per_s,
                };
                figures.rebuild_ratio = Some(rebuild::records_per_s(&log)? / live);
            }
            if plan.wants("grown") && !plan.quick {
                say("filling the table with 20 million postings");
                figures.grown_ratio = Some(grown::ratio(&log, i64::try_from(plan.warm_up)?)?);
            }
            if plan.wants("lag") {
                say("lag of an open loop");
                let consumer = Consumer::start(&log, "lag")?;
                consumer.drain()?;
                consumer.stop()?;
                let events = lag::draw(&mut log.workload, plan.lag_seconds)?;
                let consumer = Consumer::start(&log, "lag")?;
                figures.lag_p99_ms = Some(lag::p99_ms(&log, &consumer, &events)?);
                let database = consumer.database.clone();
                consumer.stop()?;
                drop_database(&database)?;
            }
        }
        if plan.wants("hot") {
            say("one org alone");
            let mut log = Log::new(bench, "hot", 1, Spread::Even)?;
            log.fill(plan.hot_events)?;
            let warm_up = i64::try_from(plan.hot_events / 10)?;
            let mut rates = Vec::new();
            for run in 0..plan.runs {
                let stretch = one_run(&log, &format!("hot_{run}"), warm_up)?;
                say(&format!(
                    "  one org: {:.0} debits/s, {:.2} us CPU",
                    stretch.debits_per_s, stretch.cpu_us
                ));
                rates.push(stretch.debits_per_s);
            }
            figures.hot_org_per_s = Some(median(rates));
        }
        if plan.wants("memory") {
            say("memory with 100,000 orgs touched");
            let mut log = Log::new(bench, "memory", 100_000, Spread::Even)?;
            log.fill(300_000)?;
            let consumer = Consumer::start(&log, "memory")?;
            consumer.drain()?;
            figures.rss_mb = Some(consumer.peak_memory_mb()?);
            let database = consumer.database.clone();
            consumer.stop()?;
            drop_database(&database)?;
        }
        say("done");
        Ok(figures)
    }

    /// The live rate and the floor, in turns.
    fn live(&mut self, log: &Log<'_>, plan: &Plan, say: &dyn Fn(&str)) -> Result<()> {
        let warm_up = i64::try_from(plan.warm_up)?;
        say("taking the floor's rows out of a first run");
        let consumer = Consumer::start(log, "first")?;
        consumer.drain()?;
        let database = consumer.database.clone();
        consumer.stop()?;
        let folder = log.pipeline.keys_folder().with_file_name("floor");
        let floor = Floor::prepare(log.bench, &database, &log.ends()?, folder)?;
        drop_database(&database)?;
        let (mut rates, mut floors, mut ratios, mut cpu) = (vec![], vec![], vec![], vec![]);
        for run in 0..plan.runs {
            let raw = floor.run(&run.to_string())?;
            let stretch = one_run(log, &format!("live_{run}"), warm_up)?;
            say(&format!(
                "  {:.0} debits/s, floor {raw:.0} rows/s, {:.2} us CPU",
                stretch.debits_per_s, stretch.cpu_us
            ));
            rates.push(stretch.debits_per_s);
            floors.push(raw);
            ratios.push(stretch.debits_per_s / raw);
            cpu.push(stretch.cpu_us);
        }
        self.debits_per_s = Some(median(rates));
        self.floor_per_s = Some(median(floors));
        self.ratio = Some(median(ratios));
        self.cpu_us = Some(median(cpu));
        Ok(())
    }

    pub(crate) fn print(&self) {
        let show = |name: &str, figure: Option<f64>, goal: &str| match figure {
            Some(figure) => println!("{name:<48} {figure:>12.2}   goal {goal}"),
            None => println!("{name:<48} {:>12}   goal {goal}", "not measured"),
        };
        show("debits per second", self.debits_per_s, "200,000 or more");
        show("floor, rows per second", self.floor_per_s, "-");
        show("debits by floor", self.ratio, "0.9 or more");
        show("one org alone, debits per second", self.hot_org_per_s, "80,000 or more");
        show("append to commit at 50,000/s, p99, ms", self.lag_p99_ms, "150 or less");
        show("rebuild's rate by the live one", self.rebuild_ratio, "1 or more");
        show("consumer's CPU per debit, us", self.cpu_us, "4 or less");
        show("consumer's memory with 100,000 orgs, MB", self.rss_mb, "500 or less");
        show("rate after 20 million postings by rate before", self.grown_ratio, "0.9 or more");
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "debits_per_s": rounded(self.debits_per_s, 1.0),
            "floor_per_s": rounded(self.floor_per_s, 1.0),
            "ratio": rounded(self.ratio, 1000.0),
            "hot_org_per_s": rounded(self.hot_org_per_s, 1.0),
            "lag_p99_ms": rounded(self.lag_p99_ms, 1.0),
            "rebuild_ratio": rounded(self.rebuild_ratio, 1000.0),
            "cpu_us": rounded(self.cpu_us, 100.0),
            "rss_mb": rounded(self.rss_mb, 1.0),
            "grown_ratio": rounded(self.grown_ratio, 1000.0),
        })
    }
}

/// A run over an empty database, which goes afterwards.
pub(crate) fn one_run(log: &Log<'_>, name: &str, warm_up: i64) -> Result<Stretch> {
    let consumer = Consumer::start(log, name)?;
    let stretch = consumer.measure(warm_up)?;
    let database = consumer.database.clone();
    consumer.stop()?;
    drop_database(&database)?;
    Ok(stretch)
}

fn rounded(figure: Option<f64>, by: f64) -> Option<f64> {
    figure.map(|figure| (figure * by).round() / by)
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
