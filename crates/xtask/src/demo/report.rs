//! What the demo ends with: the ledger's sums beside those of the usage log and the rollups.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use fluxori_stack::pipeline::Pipeline;
use serde_json::{Value, json};

use super::{org_name, poor};

/// Credits in units of 10^-12, exact.
type Scaled = i128;

/// One org's sums.
#[derive(Debug, Default)]
struct Org {
    granted: Scaled,
    debited: Scaled,
    consumed: Scaled,
    overdraft: Scaled,
    balance: Scaled,
    raw: Scaled,
    rollup: Scaled,
}

#[derive(Debug)]
pub(super) struct Report {
    orgs: BTreeMap<String, Org>,
    emitted: i64,
    sent_twice: i64,
    applied: i64,
    duplicates: i64,
    quarantined: i64,
    raw_events: i64,
    checks: Vec<(String, Value)>,
    verified: Option<bool>,
    /// The org that got too little.
    poor: u64,
    /// How many events must have been applied.
    expected: i64,
}

/// The demo shows at least so many events applied, or all where fewer are asked for.
const ENOUGH: u64 = 50_000;

impl Report {
    pub(super) fn read(pipeline: &Pipeline, orgs: u64, events: u64, sent: &Value) -> Result<Self> {
        let ledger = pipeline.credits(&["org", "list", "--output", "json"])?;
        let raw = "SELECT org_id, sum(row_sign) AS events, toString(sum(credits * row_sign)) AS credits \
                   FROM credit_usage_log GROUP BY org_id";
        let raw = pipeline.clickhouse(raw)?;
        let rollup = "SELECT org_id, toString(sum(credits)) AS credits FROM v_usage_hourly GROUP BY org_id";
        let rollup = pipeline.clickhouse(rollup)?;
        let mut table: BTreeMap<String, Org> =
            (0..orgs).map(|number| (org_name(number), Org::default())).collect();
        let rows = ledger.get("orgs").and_then(Value::as_array).context("credits org list names no orgs")?;
        for row in rows {
            let org = table.entry(text(row, "org_id")?.to_owned()).or_default();
            org.granted = scaled(text(row, "granted")?)?;
            org.debited = scaled(text(row, "debited")?)?;
            org.consumed = scaled(text(row, "consumed")?)?;
            org.overdraft = scaled(text(row, "overdraft")?)?;
            org.balance = scaled(text(row, "balance")?)?;
        }
        let mut raw_events = 0;
        for row in raw {
            let org = table.entry(text(&row, "org_id")?.to_owned()).or_default();
            org.raw = scaled(text(&row, "credits")?)?;
            raw_events += number(&row, "events");
        }
        for row in rollup {
            table.entry(text(&row, "org_id")?.to_owned()).or_default().rollup =
                scaled(text(&row, "credits")?)?;
        }
        let records = ledger.get("records").context("credits org list names no records")?;
        Ok(Self {
            orgs: table,
            emitted: number(sent, "emitted"),
            sent_twice: number(sent, "duplicates_sent"),
            applied: number(records, "debited"),
            duplicates: number(records, "duplicates"),
            quarantined: number(records, "quarantined"),
            raw_events,
            checks: Vec::new(),
            verified: None,
            poor: poor(orgs),
            expected: i64::try_from(events.min(ENOUGH))?,
        })
    }

    /// Asks the edge whether a call may go ahead, for an org that has credits and for the one that ran out, and folds
    /// the whole log once more to compare it with the ledger.
    pub(super) fn with_checks(mut self, pipeline: &Pipeline) -> Result<Self> {
        for number in [0, self.poor] {
            let org = org_name(number);
            let question = json!({"org_id": org, "module": "rag-retrieval", "estimated_credits": "1"});
            let answer = pipeline.post("edge", "/v1/check", &question)?;
            ensure!(answer.status == 200, "the check answered {}: {}", answer.status, answer.body);
            self.checks.push((org, answer.body));
        }
        let verify = pipeline.credits(&["ledger", "verify", "--output", "json"])?;
        self.verified = verify.get("agree").and_then(Value::as_bool);
        Ok(self)
    }

    fn total(&self, part: impl Fn(&Org) -> Scaled) -> Scaled {
        self.orgs.values().map(part).sum()
    }

    fn agrees(&self) -> bool {
        self.applied == self.raw_events
            && self.orgs.values().all(|org| org.debited == org.raw && org.raw == org.rollup)
    }

    /// Whether everything that was sent has arrived on both sides, and they agree.
    pub(super) fn is_complete(&self) -> bool {
        let arrived = self.applied + self.duplicates + self.quarantined;
        arrived >= self.emitted + self.sent_twice && self.agrees()
    }

    fn share_of_allocations(&self) -> f64 {
        let (consumed, debited) = (self.total(|org| org.consumed), self.total(|org| org.debited));
        // For people, and compared with 0.9: no digit of it is money.
        #[expect(clippy::cast_precision_loss, reason = "a share, not an amount")]
        let share = consumed as f64 / debited.max(1) as f64;
        share
    }

    fn answer_of(&self, number: u64) -> Option<bool> {
        let name = org_name(number);
        let (_, answer) = self.checks.iter().find(|(org, _)| *org == name)?;
        answer.get("allowed").and_then(Value::as_bool)
    }

    /// Fails if the demo did not show what it promises.
    pub(super) fn verdict(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, problem: &str| {
            if !holds {
                wrong.push(problem.to_owned());
            }
        };
        expect(self.agrees(), "ledger, usage log and rollups do not agree");
        expect(self.verified == Some(true), "folding the log again gives another ledger");
        let few = format!("{} events were applied, fewer than {}", self.applied, self.expected);
        expect(self.applied >= self.expected, &few);
        expect(self.duplicates >= self.sent_twice, "not all that was sent twice was recognised");
        expect(self.share_of_allocations() >= 0.9, "less than 90 % of the credits came from allocations");
        expect(self.answer_of(0) == Some(true), "an org with credits was refused");
        expect(self.answer_of(self.poor) == Some(false), "an org without credits was allowed");
        if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
    }

    pub(super) fn print(&self) {
        println!(
            "\n{:<10} {:>14} {:>18} {:>14} {:>20} {:>18}  agree",
            "org", "granted", "debited", "overdraft", "balance", "rollup (hourly)"
        );
        for (name, org) in &self.orgs {
            let agree = if org.debited == org.raw && org.raw == org.rollup { "yes" } else { "NO" };
            println!(
                "{name:<10} {:>14} {:>18} {:>14} {:>20} {:>18}  {agree}",
                plain(org.granted),
                plain(org.debited),
                plain(org.overdraft),
                plain(org.balance),
                plain(org.rollup),
            );
        }
        println!(
            "\nemitted {} and {} of them twice; applied {}, duplicates {}, quarantined {}",
            self.emitted, self.sent_twice, self.applied, self.duplicates, self.quarantined
        );
        println!(
            "ledger {} = usage log {} = rollup {}: {}; {:.1} % came from allocations",
            plain(self.total(|org| org.debited)),
            plain(self.total(|org| org.raw)),
            plain(self.total(|org| org.rollup)),
            if self.agrees() { "they agree to the last digit" } else { "they DO NOT agree" },
            self.share_of_allocations() * 100.0
        );
        let verified =
            if self.verified == Some(true) { "gives the same ledger" } else { "gives ANOTHER ledger" };
        println!("folding the whole log again {verified}");
        for (org, answer) in &self.checks {
            let allowed = answer.get("allowed").and_then(Value::as_bool).unwrap_or_default();
            let reason = answer.get("reason").and_then(Value::as_str).unwrap_or("-");
            println!("check {org}: {} ({reason})", if allowed { "allowed" } else { "refused" });
        }
    }

    pub(super) fn json(&self, urls: Value) -> Value {
        json!({
            "emitted": self.emitted,
            "sent_twice": self.sent_twice,
            "applied": self.applied,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "credits_ledger": plain(self.total(|org| org.debited)),
            "credits_raw": plain(self.total(|org| org.raw)),
            "credits_rollup": plain(self.total(|org| org.rollup)),
            "share_from_allocations": self.share_of_allocations(),
            "agree": self.agrees(),
            "verified": self.verified,
            "checks": self.checks.iter().map(|(_, answer)| answer).collect::<Vec<_>>(),
            "urls": urls,
        })
    }
}

fn text<'a>(row: &'a Value, key: &str) -> Result<&'a str> {
    row.get(key).and_then(Value::as_str).with_context(|| format!("a row without {key}"))
}

/// ClickHouse quotes 64-bit numbers in JSON.
fn number(row: &Value, key: &str) -> i64 {
    let value = row.get(key);
    value.and_then(Value::as_i64).or_else(|| value?.as_str()?.parse().ok()).unwrap_or_default()
}

fn scaled(text: &str) -> Result<Scaled> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    ensure!(part.len() <= 12, "{text} has more than 12 places");
    format!("{whole}{part:0<12}").parse().with_context(|| format!("{text} is no amount"))
}

fn plain(amount: Scaled) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let (whole, part) =
        (amount.unsigned_abs() / 1_000_000_000_000, amount.unsigned_abs() % 1_000_000_000_000);
    let text = format!("{sign}{whole}.{part:012}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_to_the_last_digit() {
        assert_eq!(scaled("-0.000000000001").unwrap(), -1);
        assert_eq!(plain(scaled("12.5").unwrap()), "12.5");
        assert_eq!(plain(scaled("-3").unwrap()), "-3");
        assert!(scaled("0.1234567890123").is_err());
    }

    fn report(applied: i64, expected: i64) -> Report {
        let (poor, checks) = (1, [(0, true), (1, false)]);
        let checks = checks.map(|(number, allowed)| (org_name(number), json!({"allowed": allowed})));
        let sums = Org { debited: 10, consumed: 10, raw: 10, rollup: 10, ..Org::default() };
        Report {
            orgs: [(org_name(0), sums)].into(),
            emitted: applied,
            sent_twice: 0,
            applied,
            duplicates: 0,
            quarantined: 0,
            raw_events: applied,
            checks: checks.into(),
            verified: Some(true),
            poor,
            expected,
        }
    }

    #[test]
    fn a_demo_of_few_events_is_complete_when_all_of_them_were_applied() {
        assert!(report(2_000, 2_000).verdict().is_ok());
        let few = report(1_999, 2_000).verdict().unwrap_err().to_string();
        assert_eq!(few, "1999 events were applied, fewer than 2000");
    }
}
