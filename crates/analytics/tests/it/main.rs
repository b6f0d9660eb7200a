//! The tables on a real server, one database per test.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod common;
#[cfg(test)]
mod corrections;
#[cfg(test)]
mod producers;
#[cfg(test)]
mod sealed_ranges;
#[cfg(test)]
mod tables;
