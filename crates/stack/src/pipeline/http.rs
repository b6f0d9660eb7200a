//! A few requests to our services.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::{Agent, RequestBuilder};

/// What a service answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header `content-type`.
    pub content_type: String,
    /// The header `location`.
    pub location: Option<String>,
    /// The body, if it was JSON; else null.
    pub body: Value,
}

fn agent() -> Agent {
    Agent::new_with_config(
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build(),
    )
}

fn with_key<B>(request: RequestBuilder<B>, key: Option<&str>) -> RequestBuilder<B> {
    match key {
        Some(key) => request.header("authorization", format!("Bearer {key}")),
        None => request,
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    };
    let (content_type, location) = (header("content-type").unwrap_or_default(), header("location"));
    let bytes = response.body_mut().read_to_vec()?;
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { status: response.status().as_u16(), content_type, location, body })
}

pub(super) fn get(url: &str, key: Option<&str>) -> Result<Answer> {
    answer(with_key(agent().get(url), key).call().with_context(|| format!("GET {url}"))?)
}

pub(super) fn post(url: &str, headers: &[(&str, &str)], body: &[u8], key: Option<&str>) -> Result<Answer> {
    let mut request = with_key(agent().post(url), key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body).with_context(|| format!("POST {url}"))?)
}

pub(super) fn post_text(url: &str, body: &[u8]) -> Result<String> {
    let mut response = agent().post(url).send(body).with_context(|| format!("POST {url}"))?;
    let text = response.body_mut().read_to_string()?;
    ensure!(response.status().is_success(), "ClickHouse: {}", text.trim());
    Ok(text)
}

pub(super) fn get_text(url: &str) -> Result<String> {
    let mut response = agent().get(url).call().with_context(|| format!("GET {url}"))?;
    Ok(response.body_mut().read_to_string()?)
}
