//! Pure: from a body to its items, each still the bytes of one JSON value.

use axum::http::{HeaderMap, StatusCode, header};
use fluxori_runtime::http::Problem;
use serde_json::value::RawValue;

/// The media type of a request, in lower case and without parameters; empty if it has none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Splits a body into items: of a JSON array its elements, of any other JSON the one value, of NDJSON its lines that are
/// not blank. A line need not be JSON; that is judged item by item.
///
/// # Errors
/// 415 for another media type, 400 for what is no JSON at all or holds nothing, 413 for more than `max_items`.
pub(super) fn split<'b>(
    media_type: &str,
    body: &'b [u8],
    max_items: usize,
) -> Result<Vec<&'b [u8]>, Problem> {
    let items = match media_type {
        "application/json" => json(body)?.unwrap_or_else(|| vec![body.trim_ascii()]),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines.filter(|line| !line.is_empty()).collect()
        }
        other => return Err(unsupported(other)),
    };
    check(items, max_items)
}

/// Whether a body is several lines of which the first is an object: not one JSON value, whatever it is declared as.
pub(super) fn is_lines(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let first = lines.next().filter(|line| line.starts_with(b"{"));
    lines.next().is_some() && first.is_some_and(|line| serde_json::from_slice::<&RawValue>(line).is_ok())
}

/// The elements of a JSON array.
///
/// # Errors
/// As [`split`], and 400 for JSON that is no array.
pub(super) fn elements(body: &[u8], max_items: usize) -> Result<Vec<&[u8]>, Problem> {
    let Some(items) = json(body)? else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-json", "The body is no JSON array")
            .detail("a batch is a JSON array of events"));
    };
    check(items, max_items)
}

fn check(items: Vec<&[u8]>, max_items: usize) -> Result<Vec<&[u8]>, Problem> {
    if items.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no-events", "The body holds no events")
            .detail("send at least one event"));
    }
    if items.len() > max_items {
        return Err(too_many(items.len(), max_items));
    }
    Ok(items)
}

/// The 413 problem of a request with more items than may be.
pub(super) fn too_many(items: usize, max_items: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-events", "Too many events in one request")
        .detail(format!("{items} events; send at most {max_items} in one request"))
}

/// The elements of a JSON array; none if it is another value.
fn json(body: &[u8]) -> Result<Option<Vec<&[u8]>>, Problem> {
    let no_json = |error: serde_json::Error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-json", "The body is no JSON").detail(error.to_string())
    };
    let body = body.trim_ascii();
    if !body.starts_with(b"[") {
        return serde_json::from_slice::<&RawValue>(body).map(|_| None).map_err(no_json);
    }
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(items) => Ok(Some(items.into_iter().map(|item| item.get().as_bytes()).collect())),
        // One element that is no JSON, such as Python's NaN in it, does not cost the others.
        Err(error) => split_array(body).map(Some).ok_or_else(|| no_json(error)),
    }
}

/// The elements of an array by brackets, commas and strings alone; none if these do not fit.
fn split_array(body: &[u8]) -> Option<Vec<&[u8]>> {
    let inside = body.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (mut items, mut begin, mut open) = (Vec::new(), 0, Vec::new());
    let (mut in_text, mut is_escaped) = (false, false);
    for (at, byte) in inside.iter().enumerate() {
        if in_text {
            in_text = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' => open.push(b']'),
            b'{' => open.push(b'}'),
            b']' | b'}' if open.pop() != Some(*byte) => return None,
            b',' if open.is_empty() => {
                items.push(inside.get(begin..at)?.trim_ascii());
                begin = at + 1;
            }
            _ => {}
        }
    }
    items.push(inside.get(begin..)?.trim_ascii());
    (open.is_empty() && !in_text).then_some(items)
}

/// The 415 problem of a body that is declared as something else, or as nothing.
pub(super) fn unsupported(media_type: &str) -> Problem {
    let given = match media_type {
        "" => "there is no Content-Type".to_owned(),
        other => format!("not {other}"),
    };
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "The body is not declared as JSON or NDJSON",
    )
    .detail(format!(
        "send Content-Type: application/json (an object or an array) or application/x-ndjson (one object a line); \
         {given}"
    ))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(media_type: &str, body: &str) -> Result<Vec<String>, StatusCode> {
        let items = split(media_type, body.as_bytes(), 10).map_err(|problem| problem.status())?;
        Ok(items.iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect())
    }

    #[test]
    fn an_object_an_array_and_lines_become_items() {
        let json = "application/json";
        assert_eq!(with(json, " {\"a\": 1} ").unwrap(), ["{\"a\": 1}"]);
        assert_eq!(with(json, "[{\"a\":1}, {\"b\":2}]").unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(with("application/x-ndjson", "{\"a\":1}\r\n\n  \nnope\n").unwrap(), ["{\"a\":1}", "nope"]);
    }

    #[test]
    fn lines_are_told_from_one_value_over_several_lines() {
        for lines in ["{\"a\":1}\n{\"b\":2}", "\n{}\r\n\r\nnope\n"] {
            assert!(is_lines(lines.as_bytes()), "{lines}");
        }
        for one in ["{\"a\":1}\n", "{\n\"a\":1\n}", "[{\"a\":1},\n{\"b\":2}]", "[\n{}\n]", ""] {
            assert!(!is_lines(one.as_bytes()), "{one}");
        }
    }

    #[test]
    fn an_element_that_is_no_json_costs_no_other() {
        let json = "application/json";
        let body = r#"[{"a": NaN}, {"b": "[,{\"\\"}, [1, {"c": [2]}] ]"#;
        assert_eq!(with(json, body).unwrap(), [r#"{"a": NaN}"#, r#"{"b": "[,{\"\\"}"#, r#"[1, {"c": [2]}]"#]);
        for broken in ["[{\"a\": NaN}", "[{]", "[\"a]", "[{\"a\": NaN}]]", "[[}]"] {
            assert_eq!(with(json, broken).unwrap_err(), StatusCode::BAD_REQUEST, "{broken}");
        }
    }

    #[test]
    fn what_is_no_json_at_all_is_refused_as_a_whole() {
        let json = "application/json";
        assert_eq!(with(json, "{\"a\": 1").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with(json, "").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with(json, "[]").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with("application/x-ndjson", "\n").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(with("text/plain", "{}").unwrap_err(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(with("", "{}").unwrap_err(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(
            with(json, &format!("[{}]", ["1"; 11].join(","))).unwrap_err(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[test]
    fn a_media_type_is_known_whatever_its_case_and_parameters() {
        let headers = |value| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
        assert_eq!(media_type(&headers("Application/JSON; charset=utf-8")), "application/json");
        assert_eq!(media_type(&HeaderMap::new()), "");
    }
}
