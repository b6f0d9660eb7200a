//! `credits rates`: rate cards into the log, and what is in force.

mod apply;
mod file;
mod list;
mod unpriced;

pub(crate) use apply::{ApplyArguments, apply};
pub(crate) use list::{ListArguments, list};
pub(crate) use unpriced::{UnpricedArguments, unpriced};
