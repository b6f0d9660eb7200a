//! What every service needs, and nothing of the domain: configuration, telemetry, lifecycle,
//! health, an HTTP surface with RFC 9457 problems, API keys and their limits, the clock and retries.
//!
//! A service's `main.rs` is one call:
//!
//! ```no_run
//! use fluxori_runtime::{Context, Error};
//!
//! fn main() -> std::process::ExitCode {
//!     fluxori_runtime::run("ledger-consumer", async |ctx: Context| {
//!         let kafka = ctx.health.check("kafka");
//!         ctx.serve("ledger.listen", ctx.config.ledger.listen, axum::Router::new()).await?;
//!         kafka.ready();
//!         ctx.lifecycle.soft().cancelled().await;
//!         Ok::<(), Error>(())
//!     })
//! }
//! ```

pub mod auth;
pub mod clock;
pub mod config;
mod error;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod limit;
pub mod retry;
mod server;
mod service;
pub mod telemetry;

pub use config::{Config, ConfigError};
pub use error::Error;
pub use health::Health;
pub use lifecycle::Lifecycle;
pub use retry::retry;
pub use server::{bind, serve};
pub use service::{Context, run, run_with};
