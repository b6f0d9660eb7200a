use std::process::ExitCode;

use fluxori_analytics::AnalyticsError;
use fluxori_archive::ArchiveError;
use fluxori_core::fold::Halt;
use fluxori_core::id::OrgId;
use fluxori_emitter::EmitError;
use fluxori_ledger::LedgerError;
use fluxori_rate_card::CardError;
use fluxori_rate_card::import::ImportError;
use fluxori_runtime::ConfigError;
use fluxori_stream::StreamError;
use fluxori_wire::WireError;

/// What can go wrong in a command of the tool. Each has an exit code, listed in `credits --help`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Runtime(#[from] fluxori_runtime::Error),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("{0}; is Postgres up, and is DATABASE_URL (postgres.url) right?")]
    Connect(LedgerError),
    #[error(
        "the database has no ledger that this role may read ({0}); make it with `credits ledger migrate`, make the role a \
         member with GRANT fluxori_reader, or check DATABASE_URL"
    )]
    NoLedger(LedgerError),
    #[error(transparent)]
    Ledger(LedgerError),
    #[error(transparent)]
    Analytics(#[from] AnalyticsError),
    #[error(transparent)]
    Emit(#[from] EmitError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Halt(#[from] Halt),
    #[error(transparent)]
    Card(#[from] CardError),
    #[error("{0}; is it the right file, and in the format that rates/README.md names?")]
    Import(#[from] ImportError),
    #[error("{action} {path}: {source}")]
    File { action: &'static str, path: String, source: std::io::Error },
    /// What was asked for cannot be done; says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The ledger read the command and did not carry it out.
    #[error("the ledger rejected the command: {0}")]
    Rejected(String),
    /// A dry run says that the ledger would not carry the command out.
    #[error("the ledger would reject the command: {0}")]
    WouldBeRejected(String),
    /// The command is in the log; the ledger has not come to it in time.
    #[error("{0}")]
    NotYet(String),
    /// Two things that must be equal are not.
    #[error("{0}")]
    Differs(String),
    /// A number that the arguments gave is out of range.
    #[error(transparent)]
    Amount(#[from] fluxori_core::amount::AmountError),
    #[error("the answer cannot be written: {0}")]
    Output(#[from] serde_json::Error),
}

impl From<LedgerError> for CliError {
    fn from(error: LedgerError) -> Self {
        if error.is_missing_schema() {
            Self::NoLedger(error)
        } else if error.is_unavailable() {
            Self::Connect(error)
        } else {
            Self::Ledger(error)
        }
    }
}

impl CliError {
    /// An org that the ledger does not have.
    pub(crate) fn not_open(org: &OrgId) -> Self {
        Self::Refused(format!(
            "org {org} is not open in the ledger; open it with `credits grant` or `credits org open`"
        ))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Rejected(_) | Self::WouldBeRejected(_) => 3,
            Self::NotYet(_) => 4,
            Self::Connect(_) | Self::Analytics(AnalyticsError::Unreachable { .. }) => 69,
            Self::Stream(error) | Self::Archive(ArchiveError::Stream(error)) if error.is_transient() => 69,
            Self::Config(_) => 78,
            _ => 1,
        })
    }
}
