//! How far a tool is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use fluxori_emitter::Emitter;
use indicatif::{ProgressBar, ProgressStyle};

const BETWEEN_LINES: Duration = Duration::from_secs(2);
const BETWEEN_DRAWS: Duration = Duration::from_millis(100);

/// Shows progress on standard error.
pub(crate) struct Progress {
    total: u64,
    bar: Option<ProgressBar>,
    shown: Instant,
}

impl Progress {
    /// `what` is done to `total` events.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let template = "{prefix} [{bar:32}] {human_pos}/{human_len}  {per_sec}  {msg}  {eta} left";
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_prefix(what)
        });
        if bar.is_none() {
            eprintln!("{what}: {total} events");
        }
        Self { total, bar, shown: Instant::now() }
    }

    /// `sent` events are in the emitter's hands.
    pub(crate) fn show(&mut self, sent: u64, emitter: &Emitter) {
        let between = if self.bar.is_some() { BETWEEN_DRAWS } else { BETWEEN_LINES };
        if self.shown.elapsed() < between {
            return;
        }
        self.shown = Instant::now();
        let acknowledged = emitter.counts().acknowledged;
        match &self.bar {
            Some(bar) => {
                bar.set_position(sent);
                bar.set_message(format!("{acknowledged} acknowledged"));
            }
            None => {
                let percent = sent.saturating_mul(100).checked_div(self.total).unwrap_or(100);
                eprintln!("sent {sent} of {} ({percent} %), {acknowledged} acknowledged", self.total);
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
