//! The fold against a second, naive implementation of its rules.
//!
//! [`model`] is written from `docs/ledger.md` alone. It shares nothing with the fold but the types of what goes in and comes
//! out, keeps everything for ever and calculates every sum anew. [`histories`] makes random logs of everything that a log
//! can hold; [`properties`] folds them both ways and compares after each record.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod compare;
mod examples;
mod histories;
mod log;
mod model;
mod properties;
mod regressions;
mod stored;
