//! ClickHouse's HTTP interface, as far as its official clients and curl use it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::chdb::{Answer, EngineError};
use crate::engine::{Runner, Task, Work};
use crate::frames;
use crate::statement::{self, Statement};

/// The longest body that is taken, compressed or not.
const BODY_LIMIT: usize = 256 << 20;

/// Requests that may have their bodies and answers in memory at one time; others wait.
const IN_FLIGHT: usize = 16;

/// URL parameters that are not settings.
const NOT_SETTINGS: [&str; 16] = [
    "query",
    "database",
    "default_format",
    "user",
    "password",
    "quota_key",
    "query_id",
    "role",
    "stacktrace",
    "compress",
    "decompress",
    "buffer_size",
    "wait_end_of_query",
    "session_timeout",
    "session_check",
    "client_protocol_version",
];

#[derive(Clone)]
struct Server {
    runner: Runner,
    in_flight: Arc<Semaphore>,
}

/// The routes of the interface.
pub(crate) fn router(runner: Runner) -> Router {
    let server = Server { runner, in_flight: Arc::new(Semaphore::new(IN_FLIGHT)) };
    Router::new()
        .route("/ping", get(|| async { "Ok.\n" }))
        .route("/replicas_status", get(|| async { "Ok.\n" }))
        .route("/", get(handle).post(handle))
        .with_state(server)
}

async fn handle(State(server): State<Server>, request: Request) -> Response {
    let Ok(_permit) = server.in_flight.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let query_id = parameter_of(&request, "query_id").unwrap_or_default();
    let compress = parameter_of(&request, "compress").is_some_and(|value| value == "1");
    let (format, result) = match read(request).await {
        Ok(Read::Nothing) => return "Ok.\n".into_response(),
        Ok(Read::Task { task, format }) => (format, server.runner.run(task).await.map_err(Failure::from)),
        Err(failure) => (String::new(), Err(failure)),
    };
    let mut response = match result {
        Ok(answer) => success(answer, &format, compress),
        Err(failure) => failure.into_response(compress),
    };
    if let Ok(value) = HeaderValue::from_str(&query_id) {
        response.headers_mut().insert("x-clickhouse-query-id", value);
    }
    response
}

/// What a request asks for.
enum Read {
    /// No statement: ClickHouse answers that with `Ok.` as well.
    Nothing,
    /// A statement, and the format of its answer.
    Task { task: Task, format: String },
}

/// A request that fails: the status, and the text in ClickHouse's form.
struct Failure {
    status: StatusCode,
    text: String,
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: error.0 }
    }
}

impl Failure {
    fn bad_request(text: impl std::fmt::Display) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            text: format!("Code: 36. DB::Exception: {text}. (BAD_ARGUMENTS)"),
        }
    }

    fn unsupported(text: &str) -> Self {
        Self {
            status: StatusCode::NOT_IMPLEMENTED,
            text: format!("Code: 48. DB::Exception: {text}. (NOT_IMPLEMENTED)"),
        }
    }

    fn into_response(self, compress: bool) -> Response {
        let code = code_of(&self.text);
        let body = format!("{}\n", self.text).into_bytes();
        let mut response = Response::new(Body::from(if compress { frames::compress(&body) } else { body }));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        headers.insert("x-clickhouse-exception-code", HeaderValue::from(code));
        response
    }
}

/// The number in `Code: 60. DB::Exception: ..`; 1002 (UNKNOWN_EXCEPTION) where there is none.
fn code_of(text: &str) -> u32 {
    text.split_once("Code: ")
        .and_then(|(_, rest)| rest.split('.').next())
        .and_then(|code| code.trim().parse().ok())
        .unwrap_or(1002)
}

fn success(answer: Answer, format: &str, compress: bool) -> Response {
    let summary = serde_json::json!({
        "read_rows": answer.rows_read.to_string(),
        "read_bytes": answer.bytes_read.to_string(),
        "written_rows": answer.rows_written.to_string(),
        "written_bytes": answer.bytes_written.to_string(),
        "total_rows_to_read": "0",
        "result_rows": answer.rows_read.max(answer.rows_written).to_string(),
        "result_bytes": answer.body.len().to_string(),
        "elapsed_ns": std::time::Duration::try_from_secs_f64(answer.seconds)
            .unwrap_or_default()
            .as_nanos()
            .to_string(),
    });
    let body = if compress { frames::compress(&answer.body) } else { answer.body };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    for (name, value) in [
        ("x-clickhouse-format", format.to_owned()),
        ("x-clickhouse-summary", summary.to_string()),
        ("x-clickhouse-server-display-name", "clickhouse-engine".to_owned()),
        ("x-clickhouse-timezone", "UTC".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn content_type(format: &str) -> &'static str {
    match format {
        "JSONEachRow" | "JSONCompactEachRow" => "application/x-ndjson; charset=UTF-8",
        _ if format.starts_with("JSON") => "application/json; charset=UTF-8",
        _ if format.starts_with("CSV") => "text/csv; charset=UTF-8",
        _ if format.starts_with("TabSeparated") || format.starts_with("TSV") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        _ if format.starts_with("RowBinary") || format == "Native" => "application/octet-stream",
        _ => "text/plain; charset=UTF-8",
    }
}

/// The value of a URL parameter.
fn parameter_of(request: &Request, name: &str) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).ok()?;
    pairs.into_iter().rev().find_map(|(key, value)| (key == name).then_some(value))
}

/// Reads a request to its end and makes a task of it.
async fn read(request: Request) -> Result<Read, Failure> {
    let Query(pairs) =
        Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map_err(Failure::bad_request)?;
    let mut parameters: Vec<(String, String)> = Vec::new();
    let mut settings = Vec::new();
    let mut named = HashMap::new();
    for (name, value) in pairs {
        if let Some(parameter) = name.strip_prefix("param_") {
            parameters.push((parameter.to_owned(), value));
        } else if NOT_SETTINGS.contains(&name.as_str()) {
            named.insert(name, value);
        } else if name == "session_id" {
            return Err(Failure::unsupported("Sessions are not supported by this server"));
        } else if is_identifier(&name) {
            settings.push((name, value));
        } else {
            return Err(Failure::bad_request(format!("The URL parameter {name} is no setting")));
        }
    }
    let headers = request.headers();
    let header = |name: &str| text_header(headers, name);
    if header(CONTENT_ENCODING.as_str()).is_some_and(|encoding| encoding != "identity") {
        return Err(Failure::unsupported(
            "Content-Encoding is not supported by this server; use native compression with decompress=1",
        ));
    }
    let database = named.remove("database").or_else(|| header("x-clickhouse-database"));
    let default_format = header("x-clickhouse-format")
        .or_else(|| named.remove("default_format"))
        .filter(|format| !format.is_empty())
        .unwrap_or_else(|| "TabSeparated".to_owned());
    let mut query = named.remove("query").unwrap_or_default();
    let compressed = named.get("decompress").is_some_and(|value| value == "1");
    let only_reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let is_form = header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("multipart/form-data"));

    let body = if is_form {
        read_form(request, &mut query, &mut parameters).await?;
        Bytes::new()
    } else {
        to_bytes(request.into_body(), BODY_LIMIT).await.map_err(|_| too_large())?
    };
    let work = work(query, body, compressed, &default_format, parameters, only_reads)?;
    let Some((work, format)) = work else {
        return Ok(Read::Nothing);
    };
    let database = database.filter(|database| !database.is_empty());
    let task = Task { database, settings, work };
    Ok(Read::Task { task, format })
}

/// The statement of a query and a body: the text of the query comes first, and an INSERT's data may follow in the body.
fn work(
    query: String,
    body: Bytes,
    compressed: bool,
    default_format: &str,
    parameters: Vec<(String, String)>,
    only_reads: bool,
) -> Result<Option<(Work, String)>, Failure> {
    // An INSERT whose data lies in the body, which is the only one that may be binary.
    if let Statement::Insert { sql, format, data } = statement::parse(&query)
        && !only_reads
        && parameters.is_empty()
    {
        let work = Work::Insert {
            sql: sql.to_owned(),
            format: format.to_owned(),
            inline: data.to_owned(),
            body,
            compressed,
        };
        return Ok(Some((work, default_format.to_owned())));
    }
    let body = if compressed { decompress(&body)? } else { body.to_vec() };
    let body = match String::from_utf8(body) {
        Ok(body) => body,
        // The data of an INSERT whose statement stands in the body too.
        Err(error) => return binary_insert(error.into_bytes(), default_format).map(Some),
    };
    let sql = match (query.trim().is_empty(), body.is_empty()) {
        (true, _) => body,
        (false, true) => query,
        (false, false) => format!("{query}\n{body}"),
    };
    if sql.trim().is_empty() {
        return Ok(None);
    }
    let format = match statement::parse(&sql) {
        Statement::Insert { sql, format, data } if !only_reads && parameters.is_empty() => {
            let work = Work::Insert {
                sql: sql.to_owned(),
                format: format.to_owned(),
                inline: data.to_owned(),
                body: Bytes::new(),
                compressed: false,
            };
            return Ok(Some((work, default_format.to_owned())));
        }
        Statement::Query { format: Some(format) } => format.to_owned(),
        _ => default_format.to_owned(),
    };
    let work = Work::Query { sql, format: default_format.to_owned(), parameters, only_reads };
    Ok(Some((work, format)))
}

/// An INSERT with its statement and binary data in one body.
fn binary_insert(body: Vec<u8>, default_format: &str) -> Result<(Work, String), Failure> {
    let not_text = || Failure::bad_request("The statement is not UTF-8");
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| not_text())?;
    let Statement::Insert { sql, format, data: "" } = statement::parse(line) else {
        return Err(not_text());
    };
    let work = Work::Insert {
        sql: sql.to_owned(),
        format: format.to_owned(),
        inline: String::new(),
        body: Bytes::copy_from_slice(body.get(line.len() + 1..).unwrap_or_default()),
        compressed: false,
    };
    Ok((work, default_format.to_owned()))
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    for block in frames::Frames::new(body) {
        text.extend_from_slice(&block.map_err(Failure::bad_request)?);
        if text.len() > BODY_LIMIT {
            return Err(too_large());
        }
    }
    Ok(text)
}

/// Reads `query` and `param_*` from a form.
async fn read_form(
    request: Request,
    query: &mut String,
    parameters: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| too_large())?;
    let request = Request::from_parts(parts, Body::from(body));
    let mut form = Multipart::from_request(request, &()).await.map_err(Failure::bad_request)?;
    while let Some(field) = form.next_field().await.map_err(Failure::bad_request)? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.text().await.map_err(Failure::bad_request)?;
        if name == "query" {
            query.push_str(&value);
        } else if let Some(parameter) = name.strip_prefix("param_") {
            parameters.push((parameter.to_owned(), value));
        } else {
            return Err(Failure::unsupported("External tables are not supported by this server"));
        }
    }
    Ok(())
}

fn too_large() -> Failure {
    Failure {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        text: format!(
            "Code: 307. DB::Exception: The body has over {} MiB, or is cut off. (TOO_MANY_BYTES)",
            BODY_LIMIT >> 20
        ),
    }
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
