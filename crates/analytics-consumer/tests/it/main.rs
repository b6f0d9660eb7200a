//! The consumer: its pure part on records in memory, and the whole against a real Kafka and a real ClickHouse.

#[cfg(test)]
mod admitter;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod log;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod sealed_ranges;
