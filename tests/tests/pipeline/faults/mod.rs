//! Faults on the real servers, one file for each part that fails. What they share is [`e2e::load`]: thousands of events
//! in flight while something fails, and at the end every org compared with the sum that the test itself has counted.

mod configuration;
mod consumers;
mod emitting;
mod gaps;
mod kafka;
mod postgres;
mod records;
mod topic;
