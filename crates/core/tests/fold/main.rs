//! The fold over whole logs in memory.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod properties;
mod rules;
mod support;
