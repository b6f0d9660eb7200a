//! `credits org list`: what every organization was granted, has used and has left.

use fluxori_core::amount::Credits;
use fluxori_ledger::OrgSums;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    orgs: Vec<Line>,
    totals: Totals,
    records: Records,
}

#[derive(Debug, Serialize)]
struct Line {
    org_id: String,
    granted: Credits,
    debited: Credits,
    consumed: Credits,
    overdraft: Credits,
    balance: Credits,
}

/// Sums over all organizations.
#[derive(Debug, Default, Serialize)]
struct Totals {
    granted: Credits,
    debited: Credits,
    overdraft: Credits,
    balance: Credits,
}

/// What became of the log's records, over all partitions.
#[derive(Debug, Default, Serialize)]
struct Records {
    records: i64,
    debited: i64,
    duplicates: i64,
    quarantined: i64,
    rejected: i64,
}

pub(crate) async fn run(session: &Session) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let (sums, cursors) = (ledger.sums().await?, ledger.cursors().await?);
    let mut records = Records::default();
    for counters in cursors.iter().map(|partition| partition.cursor.counters) {
        records.records += counters.records;
        records.debited += counters.debited;
        records.duplicates += counters.duplicates;
        records.quarantined += counters.quarantined;
        records.rejected += counters.rejected;
    }
    let totals = Totals {
        granted: total(&sums, |org| org.granted)?,
        debited: total(&sums, |org| org.debited)?,
        overdraft: total(&sums, |org| org.overdraft)?,
        balance: total(&sums, |org| org.balance)?,
    };
    let orgs = sums.into_iter().map(line).collect();
    session.output.print(&Answer { orgs, totals, records }, text)
}

fn total(sums: &[OrgSums], part: impl Fn(&OrgSums) -> Credits) -> Result<Credits, CliError> {
    sums.iter()
        .try_fold(Credits::ZERO, |sum, org| sum.plus(part(org)))
        .map_err(|error| CliError::Refused(format!("the sum over all organizations: {error}")))
}

fn line(sums: OrgSums) -> Line {
    Line {
        org_id: sums.org.to_string(),
        granted: sums.granted,
        debited: sums.debited,
        consumed: sums.consumed,
        overdraft: sums.overdraft,
        balance: sums.balance,
    }
}

fn text(answer: &Answer) -> String {
    let rows = answer.orgs.iter().map(|org| {
        let amounts = [org.granted, org.debited, org.overdraft, org.balance].map(|amount| amount.to_string());
        let [granted, debited, overdraft, balance] = amounts;
        [org.org_id.clone(), granted, debited, overdraft, balance]
    });
    let totals = &answer.totals;
    let last = [
        format!("{} in all", answer.orgs.len()),
        totals.granted.to_string(),
        totals.debited.to_string(),
        totals.overdraft.to_string(),
        totals.balance.to_string(),
    ];
    table(["org", "granted", "debited", "overdraft", "balance"], &[1, 2, 3, 4], rows.chain([last]))
}
