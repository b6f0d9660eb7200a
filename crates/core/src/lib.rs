//! Pure rules of the Fluxori credit pipeline: no clock, no I/O, no randomness; time and randomness are arguments.
//!
//! One record walks one way: [`record::Record`] -> [`fold::admit`] -> [`fold::burn`] -> [`posting::Posting`]s.

pub mod amount;
pub mod command;
pub mod digest;
pub mod estimate;
pub mod fold;
pub mod id;
pub mod meter;
pub mod period;
pub mod posting;
pub mod pricing;
pub mod rates;
pub mod record;
pub mod time;
pub mod usage;
