//! The crate against a real broker, which `KAFKA_BROKERS` names (`cargo xtask test` starts one), and, for
//! refusals that a real one gives only in rare moments, against the client library's mock cluster.

#[cfg(test)]
mod common;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod group;
#[cfg(test)]
mod log;
