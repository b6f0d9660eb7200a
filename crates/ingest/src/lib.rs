//! Pure: usage as others say it, read into usage events. No clock, no I/O, no HTTP: bytes or JSON in, events or reasons out.

pub mod cloudevents;
mod draft;
pub mod json;
pub mod litellm;
mod native;
mod object;
pub mod otlp;
mod provider_name;
pub mod provider_usage;
mod rejection;
mod request;
mod usage;

pub use native::{usage_from_bytes, usage_from_json, usage_from_value};
pub use rejection::{Reason, Rejection};
pub use request::RequestContext;
