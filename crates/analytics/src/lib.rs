//! ClickHouse for the rest of the house: the usage log, its rollups, and what the admission of later records needs.
//!
//! [`Analytics`] is the way in. Tables and views are in `migrations/`, each with its comments. What is written is a
//! [`LogRange`] and its [`RangeRows`]: one insert per table, with a token that the range alone decides, so that the
//! same range counts once however often and by whomever it is inserted.

mod admission;
mod arrivals;
mod client;
mod error;
mod ingest;
mod migrations;
mod producers;
mod range;
mod rows;
mod stored;
mod sums;

pub use admission::{KnownCommand, KnownEvent, Loaded, Needed};
pub use client::{Analytics, AnalyticsOptions};
pub use error::AnalyticsError;
pub use ingest::Inserted;
pub use producers::{Gaps, Missing, Producer, ProducerFilter};
pub use range::{Arrival, Counts, KeptKind, KeptRecord, LogRange, MadeBy, RangeRows, UsageAt};
pub use stored::StoredUsage;
pub use sums::OrgSums;
