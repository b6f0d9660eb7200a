//! How far a long command is, on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many records; `what` says what is done with them.
pub(crate) fn records(what: &'static str, total: i64) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or_default());
    let style = "{prefix} {wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A counter of whatever; `what` says what is done with it.
pub(crate) fn counter(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {human_pos}, {per_sec}") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A number of records as bars count them.
pub(crate) fn count(records: usize) -> u64 {
    u64::try_from(records).unwrap_or_default()
}

/// A counter of bytes; `what` says what is done with them.
pub(crate) fn bytes(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {bytes}, {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
