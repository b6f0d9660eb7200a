//! Kafka for the rest of the house: a consumer group that hands out batches, a reader without a
//! group, a publisher that waits for the broker, and the log's topic. No domain: a record is bytes.
//!
//! - [`ConsumerGroup`]: partitions are taken over, folded and given up by a [`Processor`]; the
//!   module's text says what happens at a rebalance.
//! - [`LogReader`]: watermarks, one record, ranges of records, or what comes from an offset on, for those who only read.
//! - [`Publisher`]: appends a record to a partition and returns its [`Position`].
//! - [`TopicSpec`]: creates the log's topic, or says how an existing one differs.
//! - [`delete_before`]: deletes what is archived.
//!
//! Headers of records are never read or written.

mod batch;
mod client;
mod error;
mod follow;
mod group;
mod publisher;
mod reader;
mod topic;
mod trim;

pub use batch::{Batch, Record};
pub use error::StreamError;
pub use group::{
    Batches, Committed, ConsumerGroup, ConsumerOptions, GroupHandle, GroupStatus, PartitionState, Processor,
    TakeOver, WorkerEnd,
};
pub use publisher::{Delivery, Position, Publisher, PublisherOptions};
pub use reader::{LogReader, Range, Scan, Watermarks};
pub use topic::{Created, TopicSpec};
pub use trim::{committed_offsets, delete_before};
