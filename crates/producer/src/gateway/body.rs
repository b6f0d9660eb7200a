//! Pure: from a body to its items, each still the bytes of one JSON value.

use axum::http::{HeaderMap, StatusCode, header};
use fluxori_runtime::http::Problem;
use serde_json::value::RawValue;

/// Most items of a request.
pub(super) const MAX_ITEMS: usize = 10_000;

/// Splits a body into items: of a JSON array its elements, of any other JSON the one value, of NDJSON its lines that are
/// not blank. A line need not be JSON; that is judged item by item.
///
/// # Errors
/// 415 for another media type or an encoded body, 400 for what is no JSON at all or holds nothing, 413 for too many.
#[expect(clippy::result_large_err, reason = "the error is the answer; it is built once a request")]
pub(super) fn split<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Vec<&'b [u8]>, Problem> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = header(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(unsupported(format!(
            "Content-Encoding: {encoding} is not read here; send the body as it is"
        )));
    }
    let media_type = header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let items = match media_type.to_ascii_lowercase().as_str() {
        "application/json" => json(body)?,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines.filter(|line| !line.is_empty()).collect()
        }
        other => {
            let given =
                if other.is_empty() { "there is no Content-Type".to_owned() } else { format!("not {other}") };
            return Err(unsupported(format!(
                "send Content-Type: application/json (an object or an array) or application/x-ndjson (one object a \
                 line); {given}"
            )));
        }
    };
    if items.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no-events", "The body holds no events")
            .detail("send at least one event"));
    }
    if items.len() > MAX_ITEMS {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-many-events",
            "Too many events in one request",
        )
        .detail(format!("{} events; send at most {MAX_ITEMS} in one request", items.len())));
    }
    Ok(items)
}

#[expect(clippy::result_large_err, reason = "the error is the answer; it is built once a request")]
fn json(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let no_json = |error: serde_json::Error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-json", "The body is no JSON").detail(error.to_string())
    };
    let value: &RawValue = serde_json::from_slice(body).map_err(no_json)?;
    let text = value.get().trim_ascii();
    if !text.starts_with('[') {
        return Ok(vec![text.as_bytes()]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(no_json)?;
    Ok(items.into_iter().map(|item| item.get().as_bytes()).collect())
}

fn unsupported(detail: String) -> Problem {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Problem::new(status, "not-json", "The body is not declared as JSON or NDJSON").detail(detail)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(media_type: &'static str, body: &str) -> Result<Vec<String>, StatusCode> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        let items = split(&headers, body.as_bytes()).map_err(|problem| problem.status())?;
        Ok(items.iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect())
    }

    #[test]
    fn an_object_an_array_and_lines_become_items() {
        let json = "application/json; charset=utf-8";
        assert_eq!(with(json, " {\"a\": 1} ").unwrap(), ["{\"a\": 1}"]);
        assert_eq!(with(json, "[{\"a\":1}, {\"b\":2}]").unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(with("Application/X-NDJSON", "{\"a\":1}\r\n\n  \nnope\n").unwrap(), ["{\"a\":1}", "nope"]);
    }

    #[test]
    fn what_is_no_json_at_all_is_refused_as_a_whole() {
        let json = "application/json";
        assert_eq!(with(json, "{\"a\": 1").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with(json, "").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with(json, "[]").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with("application/x-ndjson", "\n").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with("text/plain", "{}").unwrap_err(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(split(&HeaderMap::new(), b"{}").unwrap_err().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let many = "{}\n".repeat(MAX_ITEMS + 1);
        assert_eq!(with("application/x-ndjson", &many).unwrap_err(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn an_encoded_body_is_refused_by_name() {
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        let problem = split(&headers, b"..").unwrap_err();
        assert!(problem.to_string().contains("gzip"), "{problem}");
    }
}
