//! `credits`: the operators' tool. Each word has a module of its own.

mod account;
mod allocation;
mod archive;
mod balance;
mod checkpoint;
mod command;
mod correct;
mod dry_run;
mod duration;
mod emit;
mod error;
mod estimate;
mod everywhere;
mod explain;
mod grant;
mod keys;
mod log_init;
mod migrate;
mod org;
mod org_list;
mod output;
mod plan;
mod producers;
mod progress;
mod promote;
mod quarantine;
mod rates;
mod rebuild;
mod reprice;
mod rules;
mod session;
mod snapshot;
mod tail;
mod tick;
mod transactions;
mod trim;
mod verify;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CliError;
use output::Output;
use session::Session;
use words::{AccountWord, KeysWord, PlanWord, QuarantineWord, RulesWord};

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
From nothing to a first balance, with KAFKA_BROKERS and DATABASE_URL set:
  credits log init --partitions 8
  export FLUXORI__LOG__GENESIS=...           (as printed)
  credits ledger migrate
  ledger-consumer &                          (carries out what follows; runs on)
  credits rates apply rates/2026-11
  credits grant acme 1000 --expires-in 30d --reason 'trial'
  credits balance acme

What changes an organization takes --dry-run, which shows the postings before anything is published, and
--idempotency-key, under which it is carried out once however often it is given.

Exit codes:
  0  done          1  failed, or differences found      2  wrong arguments
  3  rejected by the ledger      4  in the log, not yet applied
  69 a server does not answer    78 wrong configuration";

#[derive(Debug, Subcommand)]
enum Word {
    /// Begin a log, archive it, and delete what is archived
    #[command(subcommand, arg_required_else_help = true)]
    Log(LogWord),
    /// Grant credits to an organization or to one of its users
    ///
    /// Waits until the ledger has carried it out. Examples:
    ///
    ///   credits grant acme 1000
    ///   credits grant acme 250.5 --user jo --expires-in 30d --reason 'onboarding'
    ///   credits grant acme 100 --module rag-retrieval --priority 10 --idempotency-key inv-2026-11
    ///   credits grant acme 5000 --kind payg --expires-at 2027-01-01T00:00:00Z --dry-run
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
    Adjust(allocation::AdjustArguments),
    /// Move credits of an allocation to another account of the organization
    ///
    /// They keep kind, span, priority and scope, in an allocation that bears the command's id.
    ///
    ///   credits transfer acme --allocation 0198f2aa-7c1e-7d3b-9a51-3f1f0c8b2d11 --to-user jo --amount 100
    ///   credits transfer acme --allocation 0198f2aa-7c1e-7d3b-9a51-3f1f0c8b2d11 --to-org --amount 100 --dry-run
    #[command(verbatim_doc_comment)]
    Transfer(allocation::TransferArguments),
    /// Let an allocation expire later, or never
    ///
    ///   credits extend acme --allocation 0198f2aa-7c1e-7d3b-9a51-3f1f0c8b2d11 --expires-at 2027-06-01T00:00:00Z
    ///   credits extend acme --allocation 0198f2aa-7c1e-7d3b-9a51-3f1f0c8b2d11 --by 30d
    ///   credits extend acme --allocation 0198f2aa-7c1e-7d3b-9a51-3f1f0c8b2d11 --never
    #[command(verbatim_doc_comment)]
    Extend(allocation::ExtendArguments),
    /// Stop accounts and let them go on
    #[command(subcommand, arg_required_else_help = true)]
    Account(AccountWord),
    /// Recurring allocations of an organization
    #[command(subcommand, arg_required_else_help = true)]
    Plan(PlanWord),
    /// Correct what was charged for a usage event
    ///
    /// At the prices of the original. What the correction gives back goes to where it was taken from. An event that is
    /// still to come can be corrected ahead, with --revision 1.
    ///
    ///   credits correct acme 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b --void --reason 'test traffic'
    ///   credits correct acme chatcmpl-9x --replace --input-tokens 1000 --output-tokens 50 --reason 'cut stream'
    ///   credits correct acme chatcmpl-9x --file used.json --reason 'invoice' --dry-run
    #[command(verbatim_doc_comment)]
    Correct(Box<correct::CorrectArguments>),
    /// Put charges to what the rates in force make of them
    ///
    /// Only shows what would change, by organization, until --publish is given: other than the words for one
    /// organization, which take --dry-run, this one may reach into all of them. Each charge is priced as of when the usage
    /// occurred; what is another than before is corrected by commands of up to 100 charges each, and what is void or free
    /// stays so. Given again, it does what is left, and nothing twice.
    ///
    ///   credits reprice --unpriced-only --since 2026-11-01T00:00:00Z --revision 2026-12
    ///   credits reprice --model gpt-6 --since 2026-11-01T00:00:00Z --revision 2026-12 --publish --reason 'new price'
    ///   credits reprice --model gpt-6 --org acme --since 2026-11-01T00:00:00Z --revision 2026-12
    #[command(verbatim_doc_comment)]
    Reprice(Box<reprice::RepriceArguments>),
    /// Show an organization's balance and its allocations
    Balance(balance::BalanceArguments),
    /// Show an organization's postings, newest first
    Transactions(transactions::TransactionsArguments),
    /// What will this call cost? Expected and at most, for several models, the cheapest first
    ///
    ///   credits estimate acme --model openai/gpt-5 --model anthropic/claude-sonnet-4-6 --messages chat.json
    ///   credits estimate acme --model openai/gpt-5 --input-tokens 1000 --max-output-tokens 200 --cache-share 0.6
    #[command(verbatim_doc_comment)]
    Estimate(estimate::EstimateArguments),
    /// Why was this charged? Quantities, rates, terms, allocations and later corrections, to the last digit
    ///
    /// Reads the event's record from the log, prices it and burns it down once more as of its place, and compares that
    /// with what was booked. Exits with 1 if they differ.
    ///
    ///   credits explain acme 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b
    ///   credits explain acme 42 --output json
    #[command(verbatim_doc_comment)]
    Explain(explain::ExplainArguments),
    /// Emit usage into the log: one event by flags, or one JSON object a line
    ///
    /// Through the library that modules link. Prints what became of each event, in order, and a summary; exits with 1 if any was
    /// not accepted. A bad line is named by its number and stops no other. The same event again, by its id, counts once. The JSON
    /// is that of the gateway's POST /v1/events; every event needs an event_id: a UUIDv7, or any text that names the call at
    /// its source. With --spool an event is accepted when it is in the folder, whether brokers are there or not.
    ///
    ///   credits emit --org acme --module pim --provider openai --model gpt-5 --input-tokens 1000 --output-tokens 200
    ///   credits emit --org acme --module pim --provider openai --model gpt-image-1 --unit images=2 --tag batch=7
    ///   credits emit usage.ndjson --dry-run
    ///   zcat usage.ndjson.gz | credits emit --output json > outcomes.ndjson
    ///   credits emit usage.ndjson --spool /var/lib/fluxori/spool --durability power
    #[command(verbatim_doc_comment)]
    Emit(Box<emit::EmitArguments>),
    /// Watch what flows through the log, decoded: usage, commands, records for everyone, and what cannot be read
    ///
    /// A line for each record as it comes, until it is interrupted: append time (UTC), partition:offset, organization, what it
    /// is, and its id. Of one organization records come in their order, of several they mix. What is shown lies in the log;
    /// whether it counts is for the ledger to say (`credits explain`, `credits quarantine list`). With --output json, one
    /// JSON object a line.
    ///
    ///   credits tail
    ///   credits tail --org acme --module rag-retrieval --since 10m
    ///   credits tail --kind undecodable --from-beginning --no-follow
    ///   credits tail --kind command --since 2026-11-22T16:00:00Z --count 20 --output json
    #[command(verbatim_doc_comment)]
    Tail(tail::TailArguments),
    /// Has everything come that was emitted? Missing numbers, silence and rates, by emitting process
    ///
    /// Producers number their events from 1 without gaps, so a number that never came is an event that was lost, or still lies
    /// in a spool. Duplicates and what is in the quarantine have come. What was lost after a producer's last event cannot be
    /// seen by its numbers: that is what silence is for.
    ///
    /// silent: it emitted steadily in the last seven days (20 events over 10 minutes at least), has been quiet for longer than
    /// ten times its mean interval, twice its longest pause and 15 minutes, and no other producer of the same host began when
    /// it ended or after. Hosts are compared without the process' UUID and without what Kubernetes adds to a pod's name.
    /// slow: less than a quarter of the same hour a week ago came in the last hour. The usual rate is that hour's, or with a ~
    /// the mean of the last seven days, which is only shown. What ended for good is out of the report after --since.
    ///
    ///   credits producers
    ///   credits producers --only-problems --check          (for cron: exit code 1 if there are any)
    ///   credits producers --org acme --since 7d --output json
    #[command(verbatim_doc_comment)]
    Producers(producers::ProducersArguments),
    /// Prices of models
    #[command(subcommand, arg_required_else_help = true)]
    Rates(rates::RatesWord),
    /// Make the ledger, and prove that it is what the log says
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(LedgerWord),
    /// Records that were not applied
    #[command(subcommand, arg_required_else_help = true)]
    Quarantine(QuarantineWord),
    /// Who may give commands
    #[command(subcommand, arg_required_else_help = true)]
    Keys(KeysWord),
    /// The version of the ledger's rules
    #[command(subcommand, arg_required_else_help = true)]
    Rules(RulesWord),
    /// Tell the partitions the time, so that what is due is booked although nothing else happens
    ///
    /// An empty record into every partition, as expiry-scheduler publishes it all the time.
    Tick(tick::TickArguments),
}

#[derive(Debug, Subcommand)]
enum LogWord {
    /// Create the topic, the keys, and the genesis of every partition; safe to run again
    ///
    /// The keys and the exact bytes of the genesis are saved in the folder first, so a run that died half-way is
    /// finished by the next. A topic that is another log is refused.
    Init(log_init::InitArguments),
    /// Keep the log in files, exactly as it is, and prove that they are whole
    ///
    /// A folder of Avro object container files (schemas/archived_record.v1.avsc), one partition after the other, each
    /// listed in archive.json with a running digest. Running it again goes on where the archive ends.
    ///
    ///   credits log archive --to /archive/credits
    ///   credits log archive --verify /archive/credits
    #[command(verbatim_doc_comment)]
    Archive(archive::ArchiveArguments),
    /// Delete from the log what is archived and nobody needs there any more
    ///
    /// Publishes a copy of the genesis into every partition, waits until ledger and analytics have come to it, archives
    /// up to the end, verifies the archive, and then deletes what lies before that copy. A ledger is rebuilt from archive
    /// and log from then on. Nothing brings the records back into the topic: keep a copy of the archive.
    Trim(trim::TrimArguments),
}

#[derive(Debug, Subcommand)]
enum OrgWord {
    /// Open an organization without a grant; usage that waited for it is charged now
    Open(org::OpenArguments),
    /// Show what every organization was granted, has used and has left
    List,
}

#[derive(Debug, Subcommand)]
enum PolicyWord {
    /// Set what happens to usage that no allocation covers, and the grace after an expiry; `credits balance` shows both
    Set(org::PolicyArguments),
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
    /// head, totals, balance, allocations, postings, and all other rows. Exits with 1 and the first organization and
    /// posting that differ, if any.
    Verify(verify::VerifyArguments),
    /// Write the ledger as it is at one moment into files, so that a rebuild need not begin at the beginning
    ///
    ///   credits ledger checkpoint --to /archive/checkpoint-2026-11 --verify
    #[command(verbatim_doc_comment)]
    Checkpoint(checkpoint::CheckpointArguments),
    /// Fold the log into a schema beside the live ledger, up to where that is
    ///
    /// Goes through the same code as ledger-consumer, and fences nobody. Running it again goes on where it was. Connects
    /// as the owner (postgres.migrate_url). With --org, only compares one organization with what is stored.
    ///
    ///   credits ledger rebuild
    ///   credits ledger rebuild --from-checkpoint /archive/checkpoint-2026-11 --archive /archive/credits
    ///   credits ledger rebuild --org acme
    #[command(verbatim_doc_comment)]
    Rebuild(rebuild::RebuildArguments),
    /// Put a rebuilt ledger in the live one's place, while usage flows
    ///
    /// Brings it to where the live ledger is, holds up the live ledger's commits for a moment, compares cursors, heads and
    /// balances, renames the schemas and fences all writers, which take over from the promoted ledger. Nothing is lost or
    /// applied twice. The former ledger is kept under another name, and promoting that is the way back.
    Promote(promote::PromoteArguments),
}

/// A rebuild is the ledger consumer's work, and the C library's allocator would spend a third of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        Word::Log(LogWord::Archive(arguments)) => archive::run(session, &arguments).await,
        Word::Log(LogWord::Trim(arguments)) => trim::run(session, &arguments).await,
        Word::Grant(arguments) => grant::run(session, &arguments).await,
        Word::Org(OrgWord::Open(arguments)) => org::open(session, &arguments).await,
        Word::Org(OrgWord::List) => org_list::run(session).await,
        Word::Policy(PolicyWord::Set(arguments)) => org::set_policy(session, &arguments).await,
        Word::Adjust(arguments) => allocation::adjust(session, &arguments).await,
        Word::Transfer(arguments) => allocation::transfer(session, &arguments).await,
        Word::Extend(arguments) => allocation::extend(session, &arguments).await,
        Word::Account(AccountWord::Suspend(arguments)) => account::suspend(session, &arguments).await,
        Word::Account(AccountWord::Resume(arguments)) => account::resume(session, &arguments).await,
        Word::Plan(PlanWord::Set(arguments)) => plan::set(session, &arguments).await,
        Word::Plan(PlanWord::Show(arguments)) => plan::show(session, &arguments).await,
        Word::Plan(PlanWord::Cancel(arguments)) => plan::cancel(session, &arguments).await,
        Word::Plan(PlanWord::Seats(arguments)) => plan::seats(session, &arguments).await,
        Word::Plan(PlanWord::Users(arguments)) => plan::users(session, &arguments).await,
        Word::Correct(arguments) => correct::run(session, &arguments).await,
        Word::Reprice(arguments) => reprice::run(session, &arguments).await,
        Word::Balance(arguments) => balance::run(session, &arguments).await,
        Word::Transactions(arguments) => transactions::run(session, &arguments).await,
        Word::Estimate(arguments) => estimate::run(session, &arguments).await,
        Word::Explain(arguments) => explain::run(session, &arguments).await,
        Word::Emit(arguments) => emit::run(session, &arguments).await,
        Word::Producers(arguments) => producers::run(session, &arguments).await,
        Word::Tail(arguments) => tail::run(session, &arguments).await,
        Word::Rates(word) => rates::run(session, &word).await,
        Word::Ledger(LedgerWord::Migrate) => migrate::run(session).await,
        Word::Ledger(LedgerWord::Verify(arguments)) => verify::run(session, &arguments).await,
        Word::Ledger(LedgerWord::Checkpoint(arguments)) => checkpoint::run(session, &arguments).await,
        Word::Ledger(LedgerWord::Rebuild(arguments)) => rebuild::run(session, &arguments).await,
        Word::Ledger(LedgerWord::Promote(arguments)) => promote::run(session, &arguments).await,
        Word::Quarantine(QuarantineWord::List(arguments)) => quarantine::list(session, &arguments).await,
        Word::Quarantine(QuarantineWord::Show(arguments)) => quarantine::show(session, &arguments).await,
        Word::Quarantine(QuarantineWord::Release(arguments)) => {
            quarantine::release(session, &arguments).await
        }
        Word::Quarantine(QuarantineWord::Dismiss(arguments)) => {
            quarantine::dismiss(session, &arguments).await
        }
        Word::Keys(KeysWord::Issue(arguments)) => keys::issue(session, &arguments).await,
        Word::Keys(KeysWord::Revoke(arguments)) => keys::revoke(session, &arguments).await,
        Word::Keys(KeysWord::List) => keys::list(session).await,
        Word::Rules(RulesWord::Set(arguments)) => rules::set(session, &arguments).await,
        Word::Tick(arguments) => tick::run(session, &arguments).await,
    }
}
