//! What modules link to meter their AI calls: [`Emitter::emit`] hands a usage event over and returns at once.
//!
//! ```no_run
//! use fluxori_core::usage::UsageEvent;
//! use fluxori_emitter::{Emitted, Emitter};
//!
//! # fn demo(event: UsageEvent) -> Result<(), fluxori_emitter::EmitError> {
//! let emitter = Emitter::from_env()?; // once per process; clones share it
//! match emitter.emit(event) {
//!     Emitted::Queued => {}
//!     Emitted::Rejected { event, reason } => tracing::warn!(%reason, event_id = %event.event_id, "not metered"),
//! }
//! emitter.close(std::time::Duration::from_secs(10)) // at shutdown
//! # }
//! ```
//!
//! - **Queued is not accepted.** A queued event lives in the memory of this process until the broker has acknowledged
//!   it; if the process is killed before, the event is lost (its number is missed downstream, because numbers are
//!   gapless). Who must know waits for [`Emitter::emit_acknowledged`].
//! - **Never blocks.** The queue is bounded. When it is full, the event comes back with the reason, and no number is
//!   taken.
//! - **In order.** Events of one org reach the log in the order in which they were emitted, each once.
//! - **Slow starts and outages.** Brokers that are away, at the start or later, only fill the queue: the partition is
//!   chosen by [`fluxori_core::record::partition_of`] as soon as the broker has said how many there are.

mod deliveries;
mod emitter;
mod error;
mod identity;
mod options;

pub use deliveries::{Counts, Delivered};
pub use emitter::{Emitted, Emitter};
pub use error::EmitError;
pub use options::EmitterOptions;

/// The README's snippet compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
