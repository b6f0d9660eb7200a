//! Pure: the ledger as a fold over the log.
//!
//! [`Context::admit`] decides what a record is; [`OrgState`] burns what was admitted; [`PartitionFold::apply`] joins the two for
//! one partition. What the fold needs from the past (known ids, waiting usage, an org's state) is loaded first and
//! passed in, so that the same records give the same postings wherever and in whatever batches they are applied.

mod admit;
mod allocation;
mod burn;
mod context;
mod partition;
mod past;
mod state;

pub use admit::{
    Admission, AdmittedCommand, AdmittedCorrection, AdmittedUsage, CorrectedBy, Duplicate, GlobalOutcome,
    Quarantined, Rejection,
};
pub use allocation::{Allocation, AllocationStatus};
pub use burn::{Considered, Skipped, TracedDebit};
pub use context::{Context, Halt, IssuerKey, LogIdentity, RULES_VERSION};
pub use partition::{Applied, Counters, FoldError, Outcome, PartitionFold};
pub use past::{ChargedUsage, KnownEvent, Past, WaitingUsage};
pub use state::{OrgRecord, OrgState, OrgTotals, PlanState};
