//! Rate cards as files that people read and compare.
//!
//! A card is one TOML file, or a folder of them: `card.toml` says revision, date, sources, terms and exchange rates, and
//! one file per provider its names and models. [`RateCard::read`] refuses a card as a whole, with file, line and reason;
//! [`to_files`] writes one; [`import`](import::import) makes one of public data sets; [`changes`] compares one with what
//! is in force. No clock; the only I/O is reading the files.

mod changes;
mod file;
pub mod import;
mod write;

pub use changes::{Change, Changes, MovedName, RateMove, changes};
pub use file::{CardError, RateCard, Source};
pub use write::to_files;
