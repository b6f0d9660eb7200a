//! From a request to what its protocol reads: who calls, and the whole body, unpacked, within its bounds.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use fluxori_core::id::{Label, Module, OrgId};
use fluxori_core::time::Timestamp;
use fluxori_ingest::RequestContext;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::http::{Problem, discard, read_body};
use fluxori_runtime::limit::{Left, too_many_requests};

use super::Gateway;
use super::encoding::Encoding;

/// A request as it came, its body still packed.
pub(super) struct Received {
    pub(super) caller: Caller,
    pub(super) headers: HeaderMap,
    pub(super) encoding: Encoding,
    pub(super) body: Bytes,
}

/// Lets a caller in and reads the body. What is left of the caller's requests is told in either case.
pub(super) async fn receive(
    gateway: &Gateway,
    request: Request,
) -> (Option<Left>, Result<Received, Problem>) {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let caller = match gateway.keys.authenticate(&headers, (gateway.clock)()) {
        Ok(caller) => caller.clone(),
        Err(problem) => {
            discard(body, gateway.max_body_bytes).await;
            return (None, Err(problem));
        }
    };
    let left = gateway.limits.take(&caller.name);
    let encoding = match left {
        Left::Nothing(seconds) => Err(too_many_requests(&caller.name, seconds)),
        Left::Requests(_) => Encoding::of(&headers),
    };
    let received = match encoding {
        Ok(encoding) => read_body(body, gateway.max_body_bytes).await.map(|body| Received {
            caller,
            headers,
            encoding,
            body,
        }),
        Err(problem) => {
            discard(body, gateway.max_body_bytes).await;
            Err(problem)
        }
    };
    (Some(left), received)
}

/// What the caller's key stands for, where an event says nothing.
pub(super) struct KeyStandsFor {
    org: Option<OrgId>,
    module: Option<Module>,
    source: Option<Label>,
}

impl KeyStandsFor {
    /// The one org, module or source that a key is for, where it is one.
    pub(super) fn of(caller: &Caller) -> Self {
        Self {
            org: caller.orgs.only_one().and_then(|org| OrgId::new(org).ok()),
            module: caller.modules.only_one().and_then(|module| Module::new(module).ok()),
            source: caller.sources.only_one().and_then(|source| Label::new(source).ok()),
        }
    }

    pub(super) fn context(&self, now: Timestamp) -> RequestContext<'_> {
        RequestContext {
            org: self.org.as_ref(),
            module: self.module.as_ref(),
            source: self.source.as_ref(),
            now,
        }
    }
}
