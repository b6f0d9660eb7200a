//! Writes the log's usage to ClickHouse, each event once. The binary is wiring around [`AnalyticsProcessor`].
//!
//! # Sealed ranges
//!
//! A batch of a partition is a range of offsets. Before anything of it is written, the range is sealed: its start and
//! end, and the log's running time at its start, are committed to the consumer group ([`Cursor`]). What is written is a
//! function of the log up to the range's end, and each insert carries a token that only the range decides. So whoever
//! comes to write a sealed range, after a crash or beside an owner that does not know that it was replaced, writes the
//! same rows with the same token, and the server counts them once. After the insert the end is committed without a
//! range, so that an idle partition leaves nothing to be repeated.

mod admitter;
mod charges;
mod cursor;
mod output;
mod processor;

pub use admitter::{AdmitError, Admitter, RestoreError};
pub use cursor::{Cursor, CursorError};
pub use output::Tally;
pub use processor::AnalyticsProcessor;
