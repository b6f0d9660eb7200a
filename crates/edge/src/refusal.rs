//! What a request is answered with when it is not answered as asked.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fluxori_ledger::LedgerError;
use fluxori_runtime::http::Problem;

/// Why there is nothing to read in a database that answers.
pub(crate) const NO_LEDGER: &str = "the database holds no ledger that this role may read; `credits ledger migrate` makes it, and GRANT fluxori_reader \
     lets a role read it";

/// A problem, boxed because it is large and rare; says when to try again where trying again makes sense.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    /// A refusal of our own kind.
    pub(crate) fn new(status: StatusCode, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        Problem::new(status, slug, title).detail(detail).into()
    }

    /// 400 for a parameter of the query, the path or a header.
    pub(crate) fn parameter(name: &str, problem: impl std::fmt::Display) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter is not as expected")
            .detail(format!("{name}: {problem}"))
            .with("parameter", name)
            .into()
    }

    /// Says after how many seconds to try again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    #[cfg(test)]
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let later = matches!(problem.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
        Self { problem: Box::new(problem), retry_after_seconds: later.then_some(1) }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        of_ledger(&error).unwrap_or_else(|| Problem::internal(error).into())
    }
}

/// 503 for an error of the ledger that will pass, none for others.
pub(crate) fn of_ledger(error: &LedgerError) -> Option<Refusal> {
    if error.is_unavailable() {
        return Some(Problem::unavailable("Postgres").into());
    }
    error.is_missing_schema().then(|| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no-ledger", "There is no ledger yet", NO_LEDGER)
    })
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (*self.problem).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
