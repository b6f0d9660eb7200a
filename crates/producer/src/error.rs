use std::path::PathBuf;

use fluxori_core::id::IdError;
use fluxori_core::usage::Violation;
use fluxori_emitter::EmitError;
use fluxori_runtime::ConfigError;
use fluxori_runtime::retry::RetryError;

use crate::trace::TraceError;

/// Why the producer cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProducerError {
    /// The configuration, telemetry or the listener.
    #[error(transparent)]
    Runtime(#[from] fluxori_runtime::Error),
    /// A value that has no default is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The emitter or the log.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The service was stopped before the log could be read.
    #[error(transparent)]
    Log(#[from] RetryError<EmitError>),
    /// The file with the trace cannot be read.
    #[error("the trace {path} cannot be read: {source}")]
    ReadTrace {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no trace.
    #[error("{path} is no trace: {source}")]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TraceError,
    },
    /// The prefix makes no org id.
    #[error("--org-prefix: {0}")]
    OrgPrefix(#[from] IdError),
    /// A fault of the generator.
    #[error("a generated event is not valid: {0}")]
    Generated(#[from] Violation),
    /// The broker went away.
    #[error("nothing was acknowledged by {brokers} for {seconds} s ({waiting}); is Kafka up?")]
    Silence {
        /// The configured addresses.
        brokers: String,
        /// How long.
        seconds: u64,
        /// What is waited for.
        waiting: String,
    },
    /// Events were lost.
    #[error("{0} records were not acknowledged")]
    Failed(u64),
}
