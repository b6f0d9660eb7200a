//! `credits rates`: rate cards from public data into the log, and what is in force.

mod apply;
mod check;
mod diff;
mod import;
mod in_force;
mod list;
mod show;
mod unpriced;

use clap::Subcommand;

use crate::error::CliError;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum RatesWord {
    /// Make a rate card of genai-prices and LiteLLM
    ///
    /// genai-prices is the core; LiteLLM adds context windows, capabilities, dates of deprecation, service tiers, regions,
    /// other units than tokens, and further models. The same files always make the same card. Says what was read, added,
    /// left out and why, rounded, and where the two differ. Needs no server. rates/README.md says where the files are.
    ///
    ///   credits rates import --genai-prices prices.json --litellm model_prices.json --revision 2026-12-01 --to rates/2026-12
    #[command(verbatim_doc_comment)]
    Import(import::ImportArguments),
    /// Check a rate card: whether it can be applied, and how old it is; needs no server
    ///
    ///   credits rates check rates/2026-11
    #[command(verbatim_doc_comment)]
    Check(check::CheckArguments),
    /// Show what a rate card would change in what is in force
    ///
    ///   credits rates diff rates/2026-12
    #[command(verbatim_doc_comment)]
    Diff(diff::DiffArguments),
    /// Put a rate card in force; the same card again changes nothing
    ///
    /// The card goes into every partition of the log in parts and takes effect there at its seal. Waits until the ledger
    /// has come to all of them. A run that was cut off is finished by the next. Where a rate moves by more than --factor,
    /// or from or to nothing, --confirm is needed.
    Apply(apply::ApplyArguments),
    /// Show the prices in force
    ///
    ///   credits rates list --model o3
    ///   credits rates list --provider deepseek --at 2025-05-01T00:00:00Z
    #[command(verbatim_doc_comment)]
    List(list::ListArguments),
    /// Show what a model's name means, its prices and what is known of it
    ///
    ///   credits rates show gpt-5-2025-08-07
    ///   credits rates show claude-sonnet-4-6 --provider aws.bedrock --at 2026-03-01T00:00:00Z
    #[command(verbatim_doc_comment)]
    Show(show::ShowArguments),
    /// Show usage that has no full price as it is now, by model, with the names in the rates that are most like it
    ///
    /// Apply a rate card with what is missing, then `credits reprice --unpriced-only`.
    Unpriced(unpriced::UnpricedArguments),
}

pub(crate) async fn run(session: &Session, word: &RatesWord) -> Result<(), CliError> {
    match word {
        RatesWord::Import(arguments) => import::run(session, arguments),
        RatesWord::Check(arguments) => check::run(session, arguments),
        RatesWord::Diff(arguments) => diff::run(session, arguments).await,
        RatesWord::Apply(arguments) => apply::run(session, arguments).await,
        RatesWord::List(arguments) => list::run(session, arguments).await,
        RatesWord::Show(arguments) => show::run(session, arguments).await,
        RatesWord::Unpriced(arguments) => unpriced::unpriced(session, arguments).await,
    }
}
