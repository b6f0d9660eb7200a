//! `credits transactions`.

use clap::Args;
use fluxori_core::amount::Credits;
use fluxori_core::id::OrgId;
use fluxori_core::posting::Entry;
use fluxori_core::time::Timestamp;
use fluxori_ledger::TransactionRecord;
use serde::Serialize;
use serde_json::Value;

use crate::error::CliError;
use crate::output::{entries, table, time};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct TransactionsArguments {
    /// The organization
    org: OrgId,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those numbered below: the way to the next page
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Answer {
    org_id: OrgId,
    transactions: Vec<Line>,
    next_before: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Line {
    number: i64,
    kind: String,
    effective_at: Timestamp,
    recorded_at: Timestamp,
    amount: Credits,
    entries: Vec<Entry>,
    event_id: Option<String>,
    command_id: Option<String>,
    user_id: Option<String>,
    module: Option<String>,
    feature: Option<String>,
    provider: Option<String>,
    request_model: Option<String>,
    model: Option<String>,
    certainty: Option<String>,
    revision: Option<i32>,
    reservation_id: Option<String>,
    charge: Option<Value>,
    partition: i32,
    offset: i64,
}

pub(crate) async fn run(session: &Session, arguments: &TransactionsArguments) -> Result<(), CliError> {
    let ledger = session.ledger().await?;
    let org = &arguments.org;
    ledger.organization(org).await?.ok_or_else(|| CliError::not_open(org))?;
    let found = ledger.transactions(org, arguments.before, arguments.limit).await?;
    let transactions: Vec<Line> = found.into_iter().map(line).collect();
    let next_before = transactions.last().map(|last| last.number).filter(|number| *number > 1);
    let answer = Answer { org_id: org.clone(), transactions, next_before };
    session.output.print(&answer, text)
}

fn line(record: TransactionRecord) -> Line {
    Line {
        number: record.number,
        kind: record.kind,
        effective_at: record.effective_at,
        recorded_at: record.recorded_at,
        amount: record.amount,
        entries: record.entries,
        event_id: record.event_id.map(|id| id.to_string()),
        command_id: record.command_id.map(|id| id.to_string()),
        user_id: record.user_id,
        module: record.module,
        feature: record.feature,
        provider: record.provider,
        request_model: record.request_model,
        model: record.model,
        certainty: record.certainty,
        revision: record.revision,
        reservation_id: record.reservation_id.map(|id| id.to_string()),
        charge: record.charge,
        partition: record.partition,
        offset: record.offset,
    }
}

fn text(answer: &Answer) -> String {
    let lines = answer.transactions.iter().map(|line| {
        let model =
            [&line.module, &line.model].into_iter().flatten().cloned().collect::<Vec<_>>().join(" · ");
        [
            line.number.to_string(),
            line.kind.clone(),
            time(Some(line.effective_at)),
            line.amount.to_string(),
            entries(&line.entries),
            model,
            line.user_id.clone().unwrap_or_default(),
        ]
    });
    let table =
        table(["no", "kind", "effective at", "credits", "entries", "module · model", "user"], &[0, 3], lines);
    match answer.next_before {
        Some(before) => format!("{table}\n\nearlier ones: --before {before}"),
        None => table,
    }
}
