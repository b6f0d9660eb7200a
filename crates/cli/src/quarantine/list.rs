//! `credits quarantine list`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use fluxori_core::id::OrgId;
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;
use fluxori_ledger::{QuarantineFilter, QuarantinedRecord};
use serde::Serialize;

use crate::error::CliError;
use crate::output::{table, time};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only of this organization
    #[arg(long)]
    org: Option<OrgId>,
    /// Only for this reason
    #[arg(long, value_parser = PossibleValuesParser::new(reasons()))]
    reason: Option<String>,
    /// Only in this status
    #[arg(long, value_parser = ["waiting", "released", "dismissed"])]
    status: Option<String>,
    /// At most so many, latest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// The names of all reasons.
fn reasons() -> impl Iterator<Item = &'static str> {
    QuarantineReason::ALL.iter().map(|reason| reason.as_str())
}

#[derive(Debug, Serialize)]
struct Answer {
    records: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    org_id: Option<String>,
    reason: String,
    detail: String,
    event_id: Option<String>,
    appended_at: Timestamp,
    status: String,
    partition: i32,
    offset: i64,
}

pub(crate) async fn list(session: &Session, arguments: &ListArguments) -> Result<(), CliError> {
    let filter = QuarantineFilter {
        org: arguments.org.clone(),
        reason: arguments.reason.clone(),
        status: arguments.status.clone(),
    };
    let records = session.ledger().await?.quarantine(&filter, arguments.limit).await?;
    let answer = Answer { records: records.into_iter().map(line).collect() };
    session.output.print(&answer, text)
}

fn line(record: QuarantinedRecord) -> Line {
    Line {
        org_id: record.org,
        reason: record.reason,
        detail: record.detail,
        event_id: record.event_id.map(|id| id.to_string()),
        appended_at: record.append_time,
        status: record.status,
        partition: record.partition,
        offset: record.offset,
    }
}

fn text(answer: &Answer) -> String {
    if answer.records.is_empty() {
        return "No such record is in the quarantine.".to_owned();
    }
    let lines = answer.records.iter().map(|line| {
        [
            line.org_id.clone().unwrap_or_else(|| "-".to_owned()),
            line.reason.clone(),
            line.detail.clone(),
            line.status.clone(),
            time(Some(line.appended_at)),
            format!("{}-{}", line.partition, line.offset),
        ]
    });
    table(["org", "reason", "detail", "status", "appended at", "place"], &[], lines)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ListArguments,
    }

    fn parse(line: &str) -> Result<ListArguments, clap::Error> {
        Line::try_parse_from(format!("list {line}").split_whitespace()).map(|line| line.arguments)
    }

    #[test]
    fn a_reason_or_a_status_that_does_not_exist_is_no_empty_quarantine() {
        for reason in ["malformed", "org_not_open", "not_permitted"] {
            assert_eq!(parse(&format!("--reason {reason}")).unwrap().reason.as_deref(), Some(reason));
        }
        assert_eq!(parse("--status waiting").unwrap().status.as_deref(), Some("waiting"));
        for wrong in ["--reason conflicts", "--status wating"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
