//! `credits`: the operators' tool. Each word has a module of its own.

mod balance;
mod command;
mod duration;
mod error;
mod grant;
mod log_init;
mod migrate;
mod org;
mod org_list;
mod output;
mod quarantine;
mod rates;
mod session;
mod transactions;
mod verify;

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
  credits ledger migrate
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
    /// Grant credits to an organization or to one of its users
    ///
    /// Waits until the ledger has carried it out. Examples:
    ///
    ///   credits grant acme 1000
    ///   credits grant acme 250.5 --user jo --expires-in 30d --reason 'onboarding'
    ///   credits grant acme 100 --module rag-retrieval --priority 10 --idempotency-key inv-2026-11
    #[command(verbatim_doc_comment)]
    Grant(grant::GrantArguments),
    /// Open organizations
    #[command(subcommand, arg_required_else_help = true)]
    Org(OrgWord),
    /// Change what an organization has chosen
    #[command(subcommand, arg_required_else_help = true)]
    Policy(PolicyWord),
    /// Add credits to an allocation that has not ended, or take what is left in it
    ///
    ///   credits adjust acme 0198f2aa-7c1e-7d3b-9a51-3f1f0c8b2d11 -25 --reason 'granted twice'
    #[command(verbatim_doc_comment)]
    Adjust(org::AdjustArguments),
    /// Show an organization's balance and its allocations
    Balance(balance::BalanceArguments),
    /// Show an organization's postings, newest first
    Transactions(transactions::TransactionsArguments),
    /// Prices of models
    #[command(subcommand, arg_required_else_help = true)]
    Rates(RatesWord),
    /// Make the ledger, and prove that it is what the log says
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(LedgerWord),
    /// Records that were not applied
    #[command(subcommand, arg_required_else_help = true)]
    Quarantine(QuarantineWord),
}

#[derive(Debug, Subcommand)]
enum LogWord {
    /// Create the topic, the keys, and the genesis of every partition; safe to run again
    ///
    /// The keys and the exact bytes of the genesis are saved in the folder first, so a run that died half-way is
    /// finished by the next. A topic that is another log is refused.
    Init(log_init::InitArguments),
}

#[derive(Debug, Subcommand)]
enum OrgWord {
    /// Open an organization without a grant; usage that waited for it is charged now
    Open(org::PolicyArguments),
    /// Show what every organization was granted, has used and has left
    List,
}

#[derive(Debug, Subcommand)]
enum PolicyWord {
    /// Set what happens to usage that no allocation covers, and the grace after an expiry
    Set(org::PolicyArguments),
}

#[derive(Debug, Subcommand)]
enum RatesWord {
    /// Put a rate card in force; the same card again changes nothing
    ///
    /// The card goes into every partition of the log in parts and takes effect there at its seal. Waits until the
    /// ledger has come to all of them.
    Apply(rates::ApplyArguments),
    /// Show the prices in force
    ///
    ///   credits rates list --model o3
    ///   credits rates list --at 2025-05-01T00:00:00Z
    #[command(verbatim_doc_comment)]
    List(rates::ListArguments),
}

#[derive(Debug, Subcommand)]
enum LedgerWord {
    /// Make the ledger's database, schemas and roles, and bring them up to date; safe to run again
    ///
    /// Connects with postgres.migrate_url, else with DATABASE_URL (postgres.url), as the owner: a role that may create
    /// what is missing. Makes the group roles fluxori_ledger, which may write, and fluxori_reader, which may read;
    /// services log in as members of one of them. ledger-consumer waits until this has run.
    Migrate,
    /// Fold the whole log in memory and compare it with Postgres
    ///
    /// Folds every partition up to the ledger's cursor and compares counters, outcomes, and per organization number,
    /// head, totals, balance, allocations and postings. Exits with 1 and the first organization and posting that
    /// differ, if any.
    Verify,
}

#[derive(Debug, Subcommand)]
enum QuarantineWord {
    /// List them with their reasons, latest first
    ///
    ///   credits quarantine list --org acme --reason conflict
    #[command(verbatim_doc_comment)]
    List(quarantine::ListArguments),
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
        Word::Grant(arguments) => grant::run(session, &arguments).await,
        Word::Org(OrgWord::Open(arguments)) => org::open(session, &arguments).await,
        Word::Org(OrgWord::List) => org_list::run(session).await,
        Word::Policy(PolicyWord::Set(arguments)) => org::set_policy(session, &arguments).await,
        Word::Adjust(arguments) => org::adjust(session, &arguments).await,
        Word::Balance(arguments) => balance::run(session, &arguments).await,
        Word::Transactions(arguments) => transactions::run(session, &arguments).await,
        Word::Rates(RatesWord::Apply(arguments)) => rates::apply(session, &arguments).await,
        Word::Rates(RatesWord::List(arguments)) => rates::list(session, &arguments).await,
        Word::Ledger(LedgerWord::Migrate) => migrate::run(session).await,
        Word::Ledger(LedgerWord::Verify) => verify::run(session).await,
        Word::Quarantine(QuarantineWord::List(arguments)) => quarantine::list(session, &arguments).await,
    }
}
