use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use fluxori_core::time::Timestamp;

use crate::sender::Speed;

/// The HTTP front of the log, a replayer of traces and a generator of realistic usage.
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
pub(crate) struct Cli {
    /// Configuration file (TOML); environment variables FLUXORI__SECTION__KEY outrank it
    #[arg(long, global = true, env = "FLUXORI_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What to do; without a word, serve
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes usage events over HTTP (POST /v1/events) and answers when the broker has them
    Serve,
    /// Sends the requests of a trace: a CSV with a header and columns for time, input tokens and output tokens
    Replay(ReplayArgs),
    /// Sends generated usage with the rhythm of days and weeks
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The trace
    pub(crate) file: PathBuf,
    /// How many events; a shorter trace is repeated under new ids [default: as many as the trace has]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: Option<u64>,
    /// Shift the times so that the last event occurs now, or at --until
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true",
          value_name = "BOOL")]
    pub(crate) shift_to_now: bool,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// How many events
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    /// Over how many days they are spread; the ledger takes none older than 35 days
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=34))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Over how many orgs the events are spread, the first using most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) orgs: u32,
    /// Orgs are named PREFIX-000, PREFIX-001 and so on
    #[arg(long, default_value = "demo", value_name = "PREFIX")]
    pub(crate) org_prefix: String,
    /// How fast against the events' times: a factor such as 1 or 60, or max
    #[arg(long, default_value = "max", value_name = "FACTOR|max")]
    pub(crate) speed: Speed,
    /// When the last event occurs, such as 2026-11-22T16:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// The same command with the same --seed and --until sends the same events, ids included
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Every Kth event is sent twice
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) duplicate_every: Option<u64>,
    /// How the summary is printed at the end; json is one line
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_serves_without_a_word() {
        Cli::command().debug_assert();
        assert!(Cli::parse_from(["producer"]).command.is_none());
        let cli =
            Cli::parse_from(["producer", "replay", "x.csv", "--shift-to-now", "false", "--speed", "60"]);
        let Some(Command::Replay(replay)) = cli.command else { panic!() };
        assert!(!replay.shift_to_now);
        assert_eq!(replay.send.speed, Speed::Factor(60.0));
        assert!(Cli::try_parse_from(["producer", "generate", "--days", "35"]).is_err());
    }
}
