//! The real binaries on the real servers: each test is a promise of the pipeline.

mod clients;
mod commands;
mod corrections;
mod emit;
mod examples;
mod explain;
mod faults;
mod gateway;
mod ingest;
mod ledger;
mod plans;
mod producers;
mod rates;
mod rebuild;
mod repricing;
mod tail;
