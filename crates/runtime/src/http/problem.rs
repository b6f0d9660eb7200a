use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// An RFC 9457 problem, sent as `application/problem+json`.
///
/// The type is `urn:fluxori:problem:SLUG`, or `about:blank` where the status says it all. Extension
/// members lie beside the standard ones. It is small to pass around, because it is the error of much.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
#[must_use]
pub struct Problem(Box<Members>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Members {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(serialize_with = "status_code")]
    status: StatusCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(flatten)]
    extensions: Map<String, Value>,
    #[serde(skip)]
    retry_after_seconds: Option<u64>,
    /// The rest of the request may still come, and would be taken for the next one.
    #[serde(skip)]
    closes_connection: bool,
}

impl Problem {
    /// A problem of our own kind; `slug` is its stable name, `title` the same for all its instances.
    pub fn new(status: StatusCode, slug: &str, title: impl Into<String>) -> Self {
        Self(Box::new(Members {
            kind: format!("urn:fluxori:problem:{slug}"),
            title: title.into(),
            status,
            detail: None,
            instance: None,
            extensions: Map::new(),
            retry_after_seconds: None,
            closes_connection: status == StatusCode::REQUEST_TIMEOUT,
        }))
    }

    /// A problem that its status explains.
    pub fn of_status(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let mut problem = Self::new(status, "", title);
        problem.0.kind = "about:blank".into();
        problem
    }

    /// An error of ours (500): logged here with its chain of causes, and sent without them. `instance`
    /// is the name under which the log has it.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let instance = format!("urn:uuid:{}", uuid::Uuid::now_v7());
        tracing::error!(instance, error = %Chain(&*error.into()), "a request failed by our fault");
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            .detail("the request failed by our fault; the log has the reason under this instance")
            .instance(instance)
    }

    /// A server behind us that does not answer (503); `what` is named to the caller.
    pub fn unavailable(what: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "A service behind this one does not answer")
            .detail(format!("{what} does not answer at the moment; try again in a few seconds"))
    }

    /// Says what is wrong in this instance and how to mend it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names this instance by a URI.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.0.instance = Some(instance.into());
        self
    }

    /// Adds an extension member. A name of a standard member is ignored.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !matches!(name, "type" | "title" | "status" | "detail" | "instance") {
            self.0.extensions.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Says after how many seconds to try again, in the header `Retry-After`.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// Sends it with another status than those of its kind: for callers who know what to do about that one only.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// What is wrong in this instance, or else the title of its kind.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.detail.as_deref().unwrap_or(&self.0.title)
    }

    /// The name of its kind, as [`Self::new`] was given it; empty where the status says it all.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.0.kind.strip_prefix("urn:fluxori:problem:").unwrap_or_default()
    }

    /// The status that it is sent with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.status.as_u16(), self.0.title)?;
        self.0.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.0.closes_connection {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An error with its chain of causes on one line.
pub(crate) struct Chain<'e>(pub(crate) &'e (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        f.write_str(&text)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            let next = cause.to_string();
            // Many errors repeat their cause in their own words.
            if !text.contains(&next) {
                write!(f, ": {next}")?;
                text = next;
            }
            source = cause.source();
        }
        Ok(())
    }
}

fn status_code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
