//! `credits producers`: has everything come that was emitted?

mod judge;

use std::time::Duration;

use clap::Args;
use fluxori_analytics::{Analytics, AnalyticsError, AnalyticsOptions, Gaps, Producer, ProducerFilter};
use fluxori_core::id::{OrgId, ProducerId};
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;
use fluxori_stream::committed_offsets;
use serde::Serialize;

use crate::duration::{self, TimeOrSpan};
use crate::error::CliError;
use crate::output::{table, time};
use crate::session::{Session, watermarks};
use judge::{AsOf, Problem, Usual, UsualFrom, judge};

/// So many gaps of a producer are written out for people.
const SHOWN_GAPS: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct ProducersArguments {
    /// Producers of which something came since then
    #[arg(long, value_name = "SPAN|TIME", default_value = "24h")]
    since: TimeOrSpan,
    /// Only producers that emitted for this organization in that time; figures stay those of all they emitted
    #[arg(long)]
    org: Option<OrgId>,
    /// A number is missing when a higher one has been there for so long
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = duration::parse)]
    grace: Duration,
    /// Only those with a problem
    #[arg(long)]
    only_problems: bool,
    /// Exit with 1 if any has a problem
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    since: Timestamp,
    /// Everything that was appended before this has been read; silence and grace are measured from here.
    read_until: Timestamp,
    /// Records that analytics has yet to read.
    unread_records: i64,
    producers: Vec<Line>,
    with_problems: usize,
}

#[derive(Debug, Serialize)]
struct Line {
    producer_id: ProducerId,
    problems: Vec<Problem>,
    first_seen: Timestamp,
    last_seen: Timestamp,
    /// Records that came, however often and whatever became of them.
    events: i64,
    unnumbered_events: i64,
    numbers: i64,
    highest_number: i64,
    missing_numbers: i64,
    /// Where they are.
    missing: Vec<Span>,
    /// Whether they are in more places still.
    more_gaps: bool,
    /// Missing below a number that came just now.
    pending_numbers: i64,
    silent_for_s: i64,
    usual_interval_s: Option<f64>,
    /// A later producer of the same site has taken its place.
    replaced: bool,
    events_last_hour: i64,
    usual: Option<Usual>,
}

#[derive(Debug, Serialize)]
struct Span {
    first: i64,
    last: i64,
}

pub(crate) async fn run(session: &Session, arguments: &ProducersArguments) -> Result<(), CliError> {
    let analytics = analytics(session)?;
    let now = Timestamp::from(clock::now());
    let since = arguments.since.before(now);
    // First how far analytics has read, then what it has: so nothing seems to be missing that it has yet to read.
    let (read_until, unread_records) = read_until(session, now).await?;
    let filter = ProducerFilter { now: read_until, since, org: arguments.org.clone() };
    let producers = analytics.producers(&filter).await.map_err(named)?;
    let incomplete: Vec<ProducerId> =
        producers.iter().filter(|of| of.of_org && of.missing() > 0).map(|of| of.producer.clone()).collect();
    let mut gaps = analytics.missing_numbers(&incomplete).await.map_err(named)?;
    let as_of = AsOf { read_until, grace: arguments.grace };
    let mut lines: Vec<Line> = Vec::new();
    for of in producers.iter().filter(|of| of.of_org) {
        lines.push(line(of, gaps.remove(&of.producer).unwrap_or_default(), &producers, as_of));
    }
    let (all, with_problems) = (lines.len(), lines.iter().filter(|line| !line.problems.is_empty()).count());
    lines.retain(|line| !arguments.only_problems || !line.problems.is_empty());
    let answer = Answer { since, read_until, unread_records, producers: lines, with_problems };
    session.output.print(&answer, text)?;
    if arguments.check && with_problems > 0 {
        return Err(CliError::Differs(format!("{with_problems} of {all} producers have problems")));
    }
    Ok(())
}

fn analytics(session: &Session) -> Result<Analytics, CliError> {
    let clickhouse = session.config.require_clickhouse()?;
    Ok(Analytics::new(&AnalyticsOptions {
        url: clickhouse.url.clone(),
        database: clickhouse.database.clone(),
        user: clickhouse.user.clone(),
        password: clickhouse.password.as_ref().map(|password| password.expose().to_owned()),
    })?)
}

/// Names what to do where the tables are not there.
fn named(error: AnalyticsError) -> CliError {
    let text = error.to_string();
    if ["UNKNOWN_TABLE", "UNKNOWN_DATABASE"].iter().any(|code| text.contains(code)) {
        return CliError::Refused(format!(
            "the tables of analytics are not there: analytics-consumer makes and fills them; has it run, with this \
             clickhouse.database? ({text})"
        ));
    }
    error.into()
}

/// Up to which append time analytics has read every partition, and how many records it has yet to read.
async fn read_until(session: &Session, now: Timestamp) -> Result<(Timestamp, i64), CliError> {
    let (kafka, group) = (session.kafka()?, &session.config.analytics.group);
    let reader = session.reader()?;
    let partitions = session.log(&reader).await?.genesis.partitions;
    let committed = committed_offsets(&kafka.brokers, &kafka.topic, group, partitions).await?;
    let (mut until, mut unread) = (now, 0_i64);
    for partition in 0..partitions {
        let held = watermarks(&reader, partition).await?;
        let next = committed.get(&partition).copied().unwrap_or_default().max(held.low);
        if next < held.high {
            unread = unread.saturating_add(held.high - next);
            let first = reader.fetch_one(partition, next).await?;
            let appended = first.iter().map(|record| Timestamp::from_millis(record.append_time_ms)).min();
            until = until.min(appended.unwrap_or(until));
        }
    }
    Ok((until, unread))
}

fn line(of: &Producer, gaps: Gaps, all: &[Producer], as_of: AsOf) -> Line {
    let more_gaps = gaps.more;
    let judged = judge(of, gaps, all, as_of);
    Line {
        producer_id: of.producer.clone(),
        problems: judged.problems,
        first_seen: of.first_seen,
        last_seen: of.last_seen,
        events: of.events,
        unnumbered_events: of.unnumbered,
        numbers: of.numbers,
        highest_number: of.highest,
        missing_numbers: judged.missing_count,
        missing: judged.missing.iter().map(|gap| Span { first: gap.first, last: gap.last }).collect(),
        more_gaps,
        pending_numbers: judged.pending_count,
        silent_for_s: judged.silent_for_us / 1_000_000,
        usual_interval_s: judged.usual_interval_us.map(seconds),
        replaced: judged.replaced,
        events_last_hour: of.last_hour,
        usual: judged.usual,
    }
}

/// Seconds, to the millisecond.
fn seconds(micros: i64) -> f64 {
    f64::from(i32::try_from(micros / 1_000).unwrap_or(i32::MAX)) / 1_000.0
}

fn text(answer: &Answer) -> String {
    let rows = answer.producers.iter().map(|line| {
        let state = match (line.problems.as_slice(), line.replaced) {
            ([], true) => "replaced".to_owned(),
            ([], false) => "ok".to_owned(),
            (problems, _) => problems.iter().map(|problem| word(*problem)).collect::<Vec<_>>().join(", "),
        };
        let usual = match line.usual {
            None => "-".to_owned(),
            Some(Usual { events_per_hour, from: UsualFrom::SameHour }) => events_per_hour.to_string(),
            Some(Usual { events_per_hour, from: UsualFrom::Mean }) => format!("~{events_per_hour}"),
        };
        [
            line.producer_id.to_string(),
            state,
            time(Some(line.first_seen)),
            time(Some(line.last_seen)),
            line.events.to_string(),
            line.unnumbered_events.to_string(),
            line.missing_numbers.to_string(),
            line.events_last_hour.to_string(),
            usual,
        ]
    });
    let header = [
        "producer",
        "state",
        "first seen",
        "last seen",
        "events",
        "unnumbered",
        "missing",
        "last hour",
        "usual",
    ];
    let mut parts = vec![table(header, &[4, 5, 6, 7, 8], rows)];
    parts.extend(answer.producers.iter().filter_map(remark));
    if answer.unread_records > 0 {
        parts.push(format!(
            "Analytics has yet to read {} records; this is as of {}.",
            answer.unread_records,
            time(Some(answer.read_until))
        ));
    }
    parts.join("\n\n")
}

const fn word(problem: Problem) -> &'static str {
    match problem {
        Problem::Missing => "missing numbers",
        Problem::Silent => "silent",
        Problem::Slow => "slow",
    }
}

/// Where numbers are missing, and since when a producer is silent.
fn remark(line: &Line) -> Option<String> {
    let mut parts = Vec::new();
    if line.missing_numbers > 0 {
        let shown = line.missing.iter().take(SHOWN_GAPS).map(|gap| match gap.first == gap.last {
            true => gap.first.to_string(),
            false => format!("{}-{}", gap.first, gap.last),
        });
        let more = if line.missing.len() > SHOWN_GAPS || line.more_gaps { ", .." } else { "" };
        let shown: Vec<String> = shown.collect();
        parts.push(format!(
            "{} of its numbers up to {} never came: {}{more}",
            line.missing_numbers,
            line.highest_number,
            shown.join(", ")
        ));
    }
    if line.pending_numbers > 0 {
        parts.push(format!("{} may still be on their way", line.pending_numbers));
    }
    if let (true, Some(interval)) = (line.problems.contains(&Problem::Silent), line.usual_interval_s) {
        parts.push(format!(
            "silent for {} min, where an event came every {interval:.1} s",
            line.silent_for_s / 60
        ));
    }
    (!parts.is_empty()).then(|| format!("{}: {}.", line.producer_id, parts.join("; ")))
}
