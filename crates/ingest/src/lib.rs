//! Pure: usage as others say it, read into usage events. No clock, no I/O, no HTTP: bytes or JSON in, events or reasons out.

mod draft;
pub mod json;
pub mod litellm;
mod object;
pub mod otlp;
mod provider_name;
pub mod provider_usage;
mod rejection;
mod request;
mod usage;

pub use rejection::{Reason, Rejection};
pub use request::RequestContext;
