//! What modules link to meter their AI calls: [`Emitter::emit`] hands a usage event over and returns at once.
//!
//! ```no_run
//! use fluxori_core::usage::UsageEvent;
//! use fluxori_emitter::{Emitted, Emitter};
//!
//! # fn demo(event: UsageEvent) -> Result<(), fluxori_emitter::EmitError> {
//! let emitter = Emitter::from_env()?; // once per process; clones share it
//! match emitter.emit(event) {
//!     Emitted::Accepted(_) | Emitted::Queued => {}
//!     Emitted::Rejected { event, reason } => tracing::warn!(%reason, event_id = %event.event_id, "not metered"),
//! }
//! emitter.close(std::time::Duration::from_secs(10)) // at shutdown
//! # }
//! ```
//!
//! - **Accepted** is in the spool on disk, or acknowledged by the broker. With [`Durability::Process`], the default, a spooled event
//!   outlives the process, however it ends; with [`Durability::Power`] the machine's power. What an ended process left is sent by
//!   the next one that opens the folder.
//! - **Queued** is taken but not accepted: in memory only, if there is no folder, or not yet synced, with `Power`.
//!   [`Emitter::emit_accepted`] tells when it is accepted, and [`Emitter::emit_tracked`] where the log has it.
//! - **Never blocks.** The spool is bounded. When it is full, the event comes back with the reason, and no number is taken;
//!   or the oldest are dropped, and counted, if that is the policy. The broker's state never reaches the caller.
//! - **In order.** Events of one org reach the log in the order in which they were emitted.
//! - **At least once, and counted once.** What was on its way when a process or a broker ended is sent again under the
//!   same event id, which the ledger knows.

mod deliveries;
mod emitter;
mod error;
mod identity;
mod options;
mod origin;
mod receipt;
mod sender;
mod spool;
mod syncer;
mod wake;

pub use deliveries::Delivered;
pub use emitter::{Accepted, Counts, Emitted, Emitter, Rejected};
pub use error::EmitError;
pub use options::{Durability, EmitterOptions, SpoolOptions, WhenFull};
pub use receipt::{Acceptance, Receipt};

/// The README's snippet compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
