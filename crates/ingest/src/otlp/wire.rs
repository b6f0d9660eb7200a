//! Pure: the parts of OTLP's trace messages that are read here, in protobuf and in JSON.
//!
//! Field numbers and names are those of `opentelemetry/proto/trace/v1/trace.proto` and its neighbours (version 1.9); what is
//! not named here (events, links, arrays, scopes) is passed over. In JSON ids are hexadecimal, 64-bit numbers may be texts
//! and enums are numbers (OTLP specification, "JSON Protobuf Encoding"). Texts are taken as bytes: one that is no UTF-8
//! must not cost the whole request.

use prost::Message;
use serde_json::Value;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    pub(super) spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) name: Vec<u8>,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Scalar", tags = "1, 2, 3, 4")]
    pub(super) value: Option<Scalar>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Scalar {
    #[prost(bytes, tag = "1")]
    Text(Vec<u8>),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Whole(i64),
    #[prost(double, tag = "4")]
    Float(f64),
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// `STATUS_CODE_ERROR`.
pub(super) const ERROR: i32 = 2;
/// `SPAN_KIND_CLIENT`.
pub(super) const CLIENT: i32 = 3;

/// A request in OTLP's JSON. What is missing or of another form than it should be is as if it were not there.
pub(super) fn of_json(request: &Value) -> Request {
    let resource_spans = list(request, "resourceSpans").map(|resource| ResourceSpans {
        resource: resource.get("resource").map(|resource| Resource { attributes: attributes(resource) }),
        scope_spans: list(resource, "scopeSpans")
            .chain(list(resource, "instrumentationLibrarySpans"))
            .map(|scope| ScopeSpans { spans: list(scope, "spans").map(span).collect() })
            .collect(),
    });
    Request { resource_spans: resource_spans.collect() }
}

fn span(span: &Value) -> Span {
    Span {
        trace_id: id(span, "traceId"),
        span_id: id(span, "spanId"),
        parent_span_id: id(span, "parentSpanId"),
        name: text(span, "name").as_bytes().to_vec(),
        kind: number(span.get("kind"), &[("SPAN_KIND_CLIENT", CLIENT)]),
        start_time_unix_nano: nanos(span.get("startTimeUnixNano")),
        end_time_unix_nano: nanos(span.get("endTimeUnixNano")),
        attributes: attributes(span),
        status: span
            .get("status")
            .map(|status| Status { code: number(status.get("code"), &[("STATUS_CODE_ERROR", ERROR)]) }),
    }
}

fn list<'v>(object: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    object.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: Option<&Value>, names: &[(&str, i32)]) -> i32 {
    match value {
        Some(Value::Number(number)) => {
            number.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
        }
        Some(Value::String(name)) => {
            names.iter().find(|(known, _)| known == name).map_or(0, |(_, number)| *number)
        }
        _ => 0,
    }
}

fn nanos(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Bytes in hexadecimal; none where it is something else.
fn id(span: &Value, name: &str) -> Vec<u8> {
    let digits = text(span, name).as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect::<Option<_>>().unwrap_or_default()
}

fn attributes(object: &Value) -> Vec<KeyValue> {
    let attribute = |attribute: &Value| KeyValue {
        key: text(attribute, "key").as_bytes().to_vec(),
        value: attribute.get("value").map(|value| AnyValue { value: scalar(value) }),
    };
    list(object, "attributes").map(attribute).collect()
}

fn scalar(value: &Value) -> Option<Scalar> {
    if let Some(text) = value.get("stringValue") {
        return text.as_str().map(|text| Scalar::Text(text.as_bytes().to_vec()));
    }
    if let Some(flag) = value.get("boolValue") {
        return flag.as_bool().map(Scalar::Flag);
    }
    let number = value.get("intValue").or_else(|| value.get("doubleValue"))?;
    let whole = |text: &str| value.get("intValue").and_then(|_| text.parse().ok()).map(Scalar::Whole);
    match number {
        Value::Number(number) => {
            number.as_i64().map(Scalar::Whole).or_else(|| number.as_f64().map(Scalar::Float))
        }
        // What is no number stays a text, and is refused where a number is needed.
        Value::String(text) => Some(whole(text).unwrap_or_else(|| Scalar::Text(text.as_bytes().to_vec()))),
        _ => None,
    }
}
