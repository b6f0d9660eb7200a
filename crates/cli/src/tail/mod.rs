//! `credits tail`: what flows through the log.

mod line;

use std::collections::BTreeMap;
use std::io::Write as _;

use clap::{Args, ValueEnum};
use fluxori_core::id::{Module, OrgId};
use fluxori_core::record::{Record, RecordKey, partition_of};
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;
use fluxori_stream::{Batch, LogReader, Range, Scan, Watermarks};
use serde::Serialize;

use crate::duration::TimeOrSpan;
use crate::error::CliError;
use crate::output::Output;
use crate::session::{Session, watermarks};
use line::Line;

/// Records in one batch at most.
const BATCH: usize = 1_000;

/// What a record is, as far as its bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Usage events
    Usage,
    /// Commands of organizations
    Command,
    /// Records for everyone: genesis, keys, rates, rules, ticks
    Global,
    /// What is neither, and why
    Undecodable,
}

#[derive(Debug, Args)]
pub(crate) struct TailArguments {
    /// Only this organization's records; only its partition is read
    #[arg(long)]
    org: Option<OrgId>,
    /// Only usage of this module
    #[arg(long)]
    module: Option<Module>,
    /// Only such records; may be given several times [default: all, with --org its own]
    #[arg(long = "kind", value_enum, value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Begin with what was appended so long ago (10m) or at this time [default: with what comes from now on]
    #[arg(long, value_name = "SPAN|TIME", group = "beginning")]
    since: Option<TimeOrSpan>,
    /// Begin with the first record that the log holds
    #[arg(long, group = "beginning")]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End where the log ends now
    #[arg(long, requires = "beginning")]
    no_follow: bool,
}

pub(crate) async fn run(session: &Session, arguments: &TailArguments) -> Result<(), CliError> {
    let reader = session.reader()?;
    let log = session.log(&reader).await?;
    let partitions = match &arguments.org {
        Some(org) => {
            let partition = partition_of(org.as_str().as_bytes(), log.genesis.partitions);
            partition..partition.saturating_add(1)
        }
        None => 0..log.genesis.partitions,
    };
    let mut ranges = Vec::new();
    for partition in partitions {
        ranges.push(range(&reader, partition, arguments).await?);
    }
    let mut scan = if arguments.no_follow {
        reader.scan(&ranges, BATCH)?
    } else {
        let from: BTreeMap<i32, i64> = ranges.iter().map(|range| (range.partition, range.start)).collect();
        reader.follow(&from, BATCH)?
    };
    let asked_to_end = tokio::signal::ctrl_c();
    tokio::select! {
        // An interruption is how a live reading ends.
        _ = asked_to_end => Ok(()),
        ended = show(&mut scan, session.output, arguments) => ended,
    }
}

/// From where on a partition is read, and where it ends now.
async fn range(reader: &LogReader, partition: i32, arguments: &TailArguments) -> Result<Range, CliError> {
    let Watermarks { low, high } = watermarks(reader, partition).await?;
    let start = match arguments.since {
        Some(since) => {
            let since = since.before(Timestamp::from(clock::now()));
            // A record of the same millisecond counts.
            let found = reader.offset_at(partition, since.micros().div_euclid(1_000)).await?;
            // What came in between is after the end that counts.
            if arguments.no_follow { found.min(high) } else { found }
        }
        None if arguments.from_beginning => low,
        None => high,
    };
    Ok(Range { partition, start, end: high })
}

/// Writes what was asked for, until there is enough of it or nobody reads it any more.
async fn show(scan: &mut Scan, output: Output, arguments: &TailArguments) -> Result<(), CliError> {
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while let Some(batch) = scan.next().await? {
        let mut text = String::new();
        for line in lines(&batch, arguments) {
            if left == 0 {
                break;
            }
            left -= 1;
            match output {
                Output::Table => text.push_str(&line.text()),
                Output::Json => text.push_str(&serde_json::to_string(&line)?),
            }
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        // A reader that has seen enough, such as `head`, is no error.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() || left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

fn lines(batch: &Batch, arguments: &TailArguments) -> impl Iterator<Item = Line> {
    batch.iter().filter_map(|raw| {
        let append_time = Timestamp::from_millis(raw.append_time_ms);
        let record = fluxori_wire::decode(raw.key, raw.value, append_time);
        let line = Line::new(batch.partition(), &raw, &record);
        is_wanted(&line, &record, arguments).then_some(line)
    })
}

fn is_wanted(line: &Line, record: &Record, arguments: &TailArguments) -> bool {
    let is_asked_for = arguments.kinds.contains(&line.kind());
    let of_org = match (&arguments.org, &record.key) {
        (None, _) => true,
        (Some(org), RecordKey::Org(key)) => org == key,
        (Some(_), RecordKey::Global) => is_asked_for,
        (Some(_), RecordKey::Invalid) => false,
    };
    of_org
        && (arguments.kinds.is_empty() || is_asked_for)
        && arguments.module.as_ref().is_none_or(|module| line.module() == Some(module))
}
