//! The HTTP surface that the services share: RFC 9457 problems, extractors that answer with them,
//! and a layer that counts and times requests.

mod body;
mod problem;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use serde::de::DeserializeOwned;
use tracing::Instrument;

pub use body::{BodyTooSlow, body_too_large, discard, read_body};
pub(crate) use problem::Chain;
pub use problem::Problem;

/// Finishes a router: unknown paths and methods answer with problems, bodies over `max_body_bytes`
/// are refused with 413 and those that take longer than `body_timeout` with 408, requests get a span and are counted and
/// timed by method, route and status.
pub fn finish(router: Router, max_body_bytes: usize, body_timeout: Duration) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(middleware::from_fn_with_state(body_timeout, body::in_time))
        .layer(middleware::from_fn(observe))
}

/// A JSON body. Refused with a problem: 400 no JSON, 408 too slow, 413 too large, 415 another content type,
/// 422 JSON of another shape.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(value) = axum::Json::from_request(request, state).await.map_err(json_problem)?;
        Ok(Self(value))
    }
}

/// The query's parameters, refused with a 400 problem.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(value) = query.map_err(|rejection: QueryRejection| {
            Problem::new(StatusCode::BAD_REQUEST, "bad-query", "The query is not as expected")
                .detail(rejection.body_text())
        })?;
        Ok(Self(value))
    }
}

/// The problem for a body that could not be read; 413 if it is too large, 408 if it did not end in time.
pub fn body_problem(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
                .detail("send fewer items in one request")
        }
        other => body::body_unreadable(other),
    }
}

fn json_problem(rejection: JsonRejection) -> Problem {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "The body is not declared as JSON")
                .detail("send the header Content-Type: application/json")
        }
        JsonRejection::JsonSyntaxError(error) => {
            Problem::new(StatusCode::BAD_REQUEST, "bad-json", "The body is no JSON").detail(cause(&error))
        }
        JsonRejection::JsonDataError(error) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad-shape",
            "The JSON has another shape than expected",
        )
        .detail(cause(&error)),
        JsonRejection::BytesRejection(rejection) => body_problem(&rejection),
        other => Problem::of_status(other.status()).detail(other.body_text()),
    }
}

/// The innermost words of a rejection: what serde said, with the place.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| Chain(source).to_string())
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::of_status(StatusCode::NOT_FOUND).detail(format!("there is nothing at {}", uri.path()))
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    Problem::of_status(StatusCode::METHOD_NOT_ALLOWED)
        .detail(format!("{} does not take {method}", uri.path()))
}

/// A method's name, if it is one of HTTP's own: every label is kept for good, so strangers may not invent them.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}

async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let method = known_method(request.method());
    let span = tracing::debug_span!("http.request", http.method = method, http.route = route);
    let started = Instant::now();
    let response = next.run(request).instrument(span).await;
    let status = response.status();
    let elapsed = started.elapsed();
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.as_u16().to_string())];
    metrics::histogram!("http_request_duration_seconds", &labels).record(elapsed.as_secs_f64());
    response
}

#[cfg(test)]
mod tests;
