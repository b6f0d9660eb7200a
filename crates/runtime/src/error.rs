use std::net::SocketAddr;

use crate::config::ConfigError;

/// What can go wrong in a service before and around its own work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter cannot be parsed.
    #[error(
        "telemetry.filter = {filter:?} is no log filter ({reason}); write levels such as \"info\" or \
         \"info,fluxori_stream=debug\""
    )]
    LogFilter {
        /// The filter as configured.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// Tracing or the metrics recorder is installed already.
    #[error("{what} could not be installed ({reason}); it is installed once per process")]
    Telemetry {
        /// Which of the two.
        what: &'static str,
        /// What its installer said.
        reason: String,
    },
    /// An address to listen on cannot be bound.
    #[error("cannot listen on {address} ({key}): {source}; {mend}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration key that named it.
        key: &'static str,
        /// How to mend it.
        mend: String,
        /// What the system said.
        source: std::io::Error,
    },
}
