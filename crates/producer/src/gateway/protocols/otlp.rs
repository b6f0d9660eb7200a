//! OTLP/HTTP traces: spans that are calls of a model become usage, the others are none of our business.
//!
//! Rejected spans are a partial success, which an exporter must not send again. What the log did not acknowledge is 503,
//! which it must, all of it: what the log has already counts once. (OTLP 1.x, "OTLP/HTTP response")

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fluxori_ingest::otlp::{self, Encoding, RejectedSpan};
use fluxori_ingest::{Reason, Rejection};
use fluxori_runtime::http::Problem;
use prost::Message as _;
use serde_json::json;

use super::{Protocol, Reading, bad_body};
use crate::gateway::accept::{Item, Items, Outcome, Outcomes};
use crate::gateway::answer::problem;

/// The encoding of request and answer; none for a content type that is not OTLP's.
pub(super) struct Otlp(Option<Encoding>);

impl Otlp {
    pub(super) fn of(media_type: &str) -> Self {
        Self(match media_type {
            "application/x-protobuf" => Some(Encoding::Protobuf),
            "application/json" => Some(Encoding::Json),
            _ => None,
        })
    }

    fn respond(&self, status: StatusCode, body: Vec<u8>) -> Response {
        let media_type = match self.0 {
            Some(Encoding::Protobuf) => "application/x-protobuf",
            _ => "application/json",
        };
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], body).into_response()
    }
}

impl Protocol for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn read(&self, body: &[u8], reading: &Reading<'_>) -> Result<Items, Problem> {
        let Some(encoding) = self.0 else {
            let title = "The body is not declared as OTLP";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-otlp", title)
                .detail("send Content-Type: application/x-protobuf or application/json"));
        };
        let traces =
            otlp::read(body, encoding, &reading.context).map_err(|rejection| match rejection.reason {
                Reason::TooLarge => {
                    let title = "Too many spans or attributes in one request";
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-spans", title)
                        .detail(rejection.detail)
                }
                _ => bad_body(rejection.detail),
            })?;
        let events =
            traces.events.into_iter().map(|span| Item { name: Some(span.span), event: Ok(span.event) });
        let rejected = traces
            .rejected
            .into_iter()
            .map(|span| Item { name: Some(span.span), event: Err(span.rejection) });
        Ok(Items { items: events.chain(rejected).collect(), ignored: traces.ignored })
    }

    fn answer(&self, outcomes: &Outcomes) -> Response {
        let counts = outcomes.counts();
        if let (true, Some(problem)) = (counts.unacknowledged > 0, problem(outcomes)) {
            return self.refuse(problem);
        }
        let rejected = outcomes.items.iter().filter_map(|item| match &item.outcome {
            Outcome::Rejected(problem) => Some(RejectedSpan {
                span: item.name.clone().unwrap_or_default(),
                rejection: Rejection::new(Reason::Invalid, problem.detail.as_str()),
            }),
            _ => None,
        });
        let rejected: Vec<_> = rejected.collect();
        self.respond(StatusCode::OK, otlp::answer(&rejected, self.0.unwrap_or(Encoding::Json)))
    }

    /// A google.rpc.Status in the encoding of the request. Exporters try 429, 502, 503 and 504 again, and nothing else.
    fn refuse(&self, problem: Problem) -> Response {
        let (status, text) = (problem.status(), problem.text().to_owned());
        let code = grpc_code(status);
        let body = match self.0 {
            Some(Encoding::Protobuf) => RpcStatus { code, message: text }.encode_to_vec(),
            _ => json!({"code": code, "message": text}).to_string().into_bytes(),
        };
        let mut response = self.respond(status, body);
        // What the problem says in headers (when to come back, how to authenticate) holds here, too.
        for (name, value) in problem.into_response().headers() {
            if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// google.rpc.Code for an HTTP status.
fn grpc_code(status: StatusCode) -> i32 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 5,
        StatusCode::REQUEST_TIMEOUT => 4,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        status if status.is_server_error() => 13,
        _ => 3,
    }
}

/// google.rpc.Status, without details.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}
