//! The REST edge: balances, pre-flight checks, transactions, and grants through the log.
//!
//! It writes nothing into the ledger: a change is a signed command in the log, answered when the ledger has come to it.

mod allocations;
mod amount;
mod at_least;
mod balance;
mod check;
mod commands;
mod estimate;
mod explain;
mod fields;
mod give;
mod grant;
mod lag;
mod openapi;
mod rates;
mod refusal;
mod service;
mod state;
mod transactions;
mod turns;

use std::process::ExitCode;

fn main() -> ExitCode {
    fluxori_runtime::run("edge", |context| async move { service::serve(context).await })
}
