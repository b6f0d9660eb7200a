use fluxori_core::id::{Label, Module, OrgId};
use fluxori_core::time::Timestamp;

/// What is known of a request beside its body: what the caller's API key says where the body says nothing.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// The org, where the key is for one org only.
    pub org: Option<&'a OrgId>,
    /// The module, where the key is for one module only.
    pub module: Option<&'a Module>,
    /// The source, where the key is for one source only.
    pub source: Option<&'a Label>,
    /// When the request came.
    pub now: Timestamp,
}

impl RequestContext<'_> {
    /// Of a request that nobody stands behind: its body says everything.
    #[must_use]
    pub const fn of_nobody(now: Timestamp) -> Self {
        Self { org: None, module: None, source: None, now }
    }
}
