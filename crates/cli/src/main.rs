//! `credits`: the operators' tool. Each word has a module of its own.

mod error;
mod log_init;
mod output;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CliError;
use output::Output;
use session::Session;

/// Begins a log of AI credits, grants credits, applies rates, and reads and verifies the ledger.
///
/// Reads the services' configuration: a TOML file (--config or FLUXORI_CONFIG), outranked by the environment
/// (KAFKA_BROKERS, DATABASE_URL, FLUXORI__SECTION__KEY). What changes the ledger is signed with the key in
/// cli.issuer_key_file and published to the log; the ledger's answer is awaited.
#[derive(Debug, Parser)]
#[command(name = "credits", version, arg_required_else_help = true, after_long_help = AFTER_HELP)]
struct Cli {
    /// Configuration file (TOML)
    #[arg(long, env = "FLUXORI_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// For whom to write: tables for people, JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    /// Log what happens on standard error
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    word: Word,
}

const AFTER_HELP: &str = "\
From nothing to a first balance:
  credits log init --partitions 8
  export FLUXORI__LOG__GENESIS=...           (as printed)
  credits rates apply rates/2026-11.toml
  credits grant acme 1000 --expires-in 30d --reason 'trial'
  credits balance acme

Exit codes:
  0  done          1  failed, or differences found      2  wrong arguments
  3  rejected by the ledger      4  in the log, not yet applied
  69 a server does not answer    78 wrong configuration";

#[derive(Debug, Subcommand)]
enum Word {
    /// Begin a log
    #[command(subcommand, arg_required_else_help = true)]
    Log(LogWord),
}

#[derive(Debug, Subcommand)]
enum LogWord {
    /// Create the topic, the keys, and the genesis of every partition; safe to run again
    ///
    /// The keys and the exact bytes of the genesis are saved in the folder first, so a run that died half-way is
    /// finished by the next. A topic that is another log is refused.
    Init(log_init::InitArguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("credits: {error}");
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let session = Session::start(cli.config, cli.output, cli.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::Refused(format!("the async runtime cannot start: {error}")))?;
    let done = runtime.block_on(carry_out(&session, cli.word));
    // Calls to brokers that nobody waits for any more must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    done.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(session: &Session, word: Word) -> Result<(), CliError> {
    match word {
        Word::Log(LogWord::Init(arguments)) => log_init::run(session, &arguments).await,
    }
}
